"""Cancelling a job, as clients ask for it."""

import json
import uuid

from gristmill.core.database import Database
from gristmill.jobs.errors import NotCancellable, UnknownJob
from gristmill.jobs.idempotency import IdempotencyKey, once
from gristmill.jobs.notifications import Notifier
from gristmill.jobs.repository import cancel as repository
from gristmill.jobs.repository import read
from gristmill.jobs.states import JobState


def cancel_job(
    database: Database, notifier: Notifier, job_id: uuid.UUID, asked_by: str, key: IdempotencyKey | None = None
) -> str | None:
    """Cancel what has not been claimed and ask running chunks to stop; return ``cancelled`` or ``cancelling``.

    Chunks that are done stay done. key: a request that had it before has done it, and None is returned.
    Raises UnknownJob, NotCancellable, IdempotencyKeyReused.
    """
    reason = {
        "type": "urn:gristmill:problem:cancelled",
        "title": "Cancelled",
        "status": 409,
        "code": "cancelled",
        "detail": f"cancelled at the request of {asked_by}",
    }
    with once(database, key, job_id) as connection:
        if connection is None:
            return None
        state = repository.cancel(connection, job_id, json.dumps(reason))
        if state is None:
            job = read.get_job(connection, job_id)
            if job is None:
                raise UnknownJob(f"There is no job {job_id}")
            raise NotCancellable(f"Job {job_id} has finished already: it is {job['state']}", state=job["state"])
    if state != JobState.CANCELLING:
        notifier.finished(job_id)
    return state
