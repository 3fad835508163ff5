"""SQL of retrying a failed job: whether it may still run under its old number, and sending its chunks back."""

import uuid
from typing import Any

from sqlalchemy import Connection

from gristmill.jobs.repository.dispatch import DISPATCH_LOCK

_FOR_RETRY = "SELECT id, seq, scope, exclusive, state, chunks_failed FROM gristmill.jobs WHERE id = %(id)s FOR UPDATE"
_LATER_STARTED = """
SELECT l.id FROM gristmill.jobs l
WHERE l.scope = %(scope)s AND l.seq > %(seq)s AND (l.exclusive OR %(exclusive)s)
    AND EXISTS (SELECT FROM gristmill.chunks c
        WHERE c.job_id = l.id AND c.state IN ('sent', 'running', 'done', 'failed'))
ORDER BY l.seq LIMIT 1
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


def lock_for_retry(connection: Connection, job_id: uuid.UUID) -> dict[str, Any] | None:
    """Stop the dispatchers until commit and return the job."""
    connection.exec_driver_sql(DISPATCH_LOCK)
    row = connection.exec_driver_sql(_FOR_RETRY, {"id": str(job_id)}).mappings().first()
    return None if row is None else dict(row)


def find_later_started(connection: Connection, scope: str, seq: int, exclusive: bool) -> uuid.UUID | None:
    """Return a later job of the scope that the retry would have had to run before, if one has begun."""
    parameters = {"scope": scope, "seq": seq, "exclusive": exclusive}
    row = connection.exec_driver_sql(_LATER_STARTED, parameters).first()
    return None if row is None else row[0]


def requeue(connection: Connection, job_id: uuid.UUID) -> None:
    """Send the failed and cancelled chunks of a finished job back to waiting with all their attempts."""
    connection.exec_driver_sql(_RETRY_CHUNKS, {"id": str(job_id)})
    connection.exec_driver_sql(_RETRY_JOB, {"id": str(job_id)})
