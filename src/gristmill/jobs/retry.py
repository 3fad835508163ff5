"""Retrying a failed job, as clients ask for it."""

import uuid

from gristmill.core.database import Database
from gristmill.jobs.errors import NotRetryable, UnknownJob
from gristmill.jobs.idempotency import IdempotencyKey, once
from gristmill.jobs.notifications import Notifier
from gristmill.jobs.repository import retry as repository
from gristmill.jobs.states import JobState


def retry_job(database: Database, notifier: Notifier, job_id: uuid.UUID, key: IdempotencyKey | None = None) -> None:
    """Run the failed chunks of a failed job again, under the job's old number.

    key: a request that had it before has done it, and nothing is done. Raises UnknownJob, IdempotencyKeyReused, and
    NotRetryable when the job did not fail or when a later job that depends on its outcome has
    begun: an exclusive one, or, if this job is exclusive, any.
    """
    with once(database, key, job_id) as connection:
        if connection is None:
            return
        job = repository.lock_for_retry(connection, job_id)
        if job is None:
            raise UnknownJob(f"There is no job {job_id}")
        if job["state"] != JobState.FAILED:
            raise NotRetryable(f"Job {job_id} is {job['state']}; only a failed job can be retried", state=job["state"])
        later = repository.find_later_started(connection, job_id)
        if later is not None:
            raise NotRetryable(
                f"Job {later}, submitted after job {job_id}, has run since, and its outcome depends on the order; "
                "submit the records anew instead",
                blocked_by=str(later),
            )
        repository.requeue(connection, job_id)
    notifier.due()
