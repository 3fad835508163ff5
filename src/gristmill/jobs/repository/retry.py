"""SQL of retrying a failed job: whether it may still run under its old number, and sending its chunks back."""

import uuid
from typing import Any

from sqlalchemy import Connection

from gristmill.jobs.repository.dispatch import DISPATCH_LOCK

_FOR_RETRY = "SELECT id, seq, state FROM gristmill.jobs WHERE id = %(id)s FOR UPDATE"
_LATER_STARTED = """
SELECT job_id FROM (
    SELECT later.job_id, later.seq FROM gristmill.scopes mine JOIN gristmill.scopes later
        ON later.scope = mine.scope AND later.seq > mine.seq AND later.exclusive
    WHERE mine.job_id = %(id)s
    UNION ALL
    SELECT later.job_id, later.seq FROM gristmill.scopes mine JOIN gristmill.scopes later
        ON later.scope = mine.scope AND later.seq > mine.seq
    WHERE mine.job_id = %(id)s AND mine.exclusive
) AS later
WHERE EXISTS (SELECT FROM gristmill.chunks c
    WHERE c.job_id = later.job_id AND c.state IN ('sent', 'running', 'done', 'failed'))
ORDER BY seq LIMIT 1
"""
_RETRY_CHUNKS = """
UPDATE gristmill.chunks SET state = 'waiting', attempts = 0, resends = 0, run_at = clock_timestamp()
WHERE job_id = %(id)s AND state IN ('failed', 'cancelled')
"""
_RETRY_JOB = """
UPDATE gristmill.jobs SET state = 'queued', chunks_failed = 0, chunks_cancelled = 0, error = NULL, finished_at = NULL,
    cancelled_at = NULL
WHERE id = %(id)s
"""
_RETURN_TO_SCOPES = "UPDATE gristmill.further_scopes SET finished = false WHERE job_id = %(id)s"


def lock_for_retry(connection: Connection, job_id: uuid.UUID) -> dict[str, Any] | None:
    """Stop the dispatchers until commit and return the job."""
    connection.exec_driver_sql(DISPATCH_LOCK)
    row = connection.exec_driver_sql(_FOR_RETRY, {"id": str(job_id)}).mappings().first()
    return None if row is None else dict(row)


def find_later_started(connection: Connection, job_id: uuid.UUID) -> uuid.UUID | None:
    """Return a later job that conflicts in a scope, which the retry would have had to run before, if one has begun."""
    row = connection.exec_driver_sql(_LATER_STARTED, {"id": str(job_id)}).first()
    return None if row is None else row[0]


def requeue(connection: Connection, job_id: uuid.UUID) -> None:
    """Send the failed and cancelled chunks of a finished job back to waiting with all their attempts."""
    for statement in (_RETRY_CHUNKS, _RETRY_JOB, _RETURN_TO_SCOPES):
        connection.exec_driver_sql(statement, {"id": str(job_id)})
