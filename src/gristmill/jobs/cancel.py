"""Cancelling a job, as clients ask for it."""

import json
import uuid

from gristmill.core.database import Database
from gristmill.jobs.errors import NotCancellable, UnknownJob
from gristmill.jobs.notifications import Notifier
from gristmill.jobs.repository import cancel as repository
from gristmill.jobs.repository import read
from gristmill.jobs.states import JobState


def cancel_job(database: Database, notifier: Notifier, job_id: uuid.UUID, asked_by: str) -> str:
    """Cancel what has not been claimed and ask running chunks to stop; return ``cancelled`` or ``cancelling``.

    Chunks that are done stay done. Raises UnknownJob, NotCancellable.
    """
    reason = {
        "type": "urn:gristmill:problem:cancelled",
        "title": "Cancelled",
        "status": 409,
        "code": "cancelled",
        "detail": f"cancelled at the request of {asked_by}",
    }
    with database.transaction() as connection:
        state = repository.cancel(connection, job_id, json.dumps(reason))
        if state is None:
            job = read.get_job(connection, job_id)
            if job is None:
                raise UnknownJob(f"There is no job {job_id}")
            raise NotCancellable(f"Job {job_id} has finished already: it is {job['state']}", state=job["state"])
    if state != JobState.CANCELLING:
        notifier.finished(job_id)
    return state
