"""SQL of cancel and retry, of schedules falling due, and of rescue."""

import uuid
from typing import Any

from sqlalchemy import Connection

from gristmill.jobs.repository.dispatch import DISPATCH_LOCK

# Chunks first, then the job: the same order of locks as in the claim and in settling.
_CANCEL = """
WITH chunk AS (
    UPDATE gristmill.chunks SET state = 'cancelled' WHERE job_id = %(id)s AND state IN ('waiting', 'sent')
    RETURNING number
), counted AS (SELECT count(*)::int AS n FROM chunk)
UPDATE gristmill.jobs j SET
    chunks_cancelled = chunks_cancelled + n,
    cancelled_at = coalesce(cancelled_at, clock_timestamp()),
    error = CASE WHEN error ? 'waiting' THEN %(reason)s::jsonb ELSE coalesce(error, %(reason)s::jsonb) END,
    state = CASE WHEN chunks_done + chunks_failed + chunks_cancelled + n < chunks_total THEN 'cancelling'
        WHEN chunks_failed > 0 THEN 'failed' ELSE 'cancelled' END,
    finished_at = CASE WHEN chunks_done + chunks_failed + chunks_cancelled + n < chunks_total THEN NULL
        ELSE clock_timestamp() END
FROM counted WHERE j.id = %(id)s AND j.state IN ('scheduled', 'queued', 'running', 'cancelling')
RETURNING j.state
"""
_DROP_PAYLOADS = "DELETE FROM gristmill.payloads WHERE job_id = %(id)s"
_CANCELLING = "SELECT id FROM gristmill.jobs WHERE cancelled_at IS NOT NULL AND finished_at IS NULL"

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

_DUE_SCHEDULED = """
SELECT id, scope, exclusive FROM gristmill.jobs
WHERE seq IS NULL AND finished_at IS NULL AND run_at <= clock_timestamp()
ORDER BY run_at, id LIMIT 1000
"""
_LOCK = "SELECT pg_advisory_xact_lock{mode}(hashtextextended(%(scope)s, 0))"
_PROMOTE = """
WITH job AS (
    UPDATE gristmill.jobs SET state = 'queued', seq = nextval('gristmill.job_number')
    WHERE id = %(id)s AND state = 'scheduled' RETURNING id, seq
)
UPDATE gristmill.chunks c SET seq = job.seq FROM job WHERE c.job_id = job.id
"""

# No lease could be renewed while Postgres was away: after its start workers get a moment to give their chunks back.
_EXPIRED = """
SELECT job_id, number FROM gristmill.leases
WHERE expires_at < clock_timestamp() AND clock_timestamp() > pg_postmaster_start_time() + interval '3 seconds'
LIMIT 200
"""
# Chunk before lease, the order of settling; a chunk that somebody holds is about to end, or comes up again next time.
_LOCK_CHUNK = """
SELECT FROM gristmill.chunks WHERE job_id = %(id)s AND number = %(number)s FOR UPDATE SKIP LOCKED
"""
_TAKE_EXPIRED = """
DELETE FROM gristmill.leases WHERE job_id = %(id)s AND number = %(number)s AND expires_at < clock_timestamp()
RETURNING fence
"""
_CHUNK = """
SELECT c.fence, c.attempts, c.first_record, c.records, c.worker, j.type, j.seq, j.args, j.dataset, j.scope,
    j.max_attempts, j.state AS job_state
FROM gristmill.chunks c JOIN gristmill.jobs j ON j.id = c.job_id
WHERE c.job_id = %(id)s AND c.number = %(number)s AND c.state = 'running'
"""


def cancel(connection: Connection, job_id: uuid.UUID, reason: str | None = None) -> str | None:
    """Cancel what has not been claimed; return the job's new state, or None if it had finished already."""
    row = connection.exec_driver_sql(_CANCEL, {"id": str(job_id), "reason": reason}).first()
    if row is not None and row[0] == "cancelled":
        drop_payloads(connection, job_id)
    return None if row is None else str(row[0])


def drop_payloads(connection: Connection, job_id: uuid.UUID) -> None:
    """Delete what a cancelled job had staged: it is never run again."""
    connection.exec_driver_sql(_DROP_PAYLOADS, {"id": str(job_id)})


def list_cancelling(connection: Connection) -> list[uuid.UUID]:
    return [row[0] for row in connection.exec_driver_sql(_CANCELLING)]


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


def list_due_scheduled(connection: Connection) -> list[tuple[uuid.UUID, str, bool]]:
    return [(row[0], row[1], row[2]) for row in connection.exec_driver_sql(_DUE_SCHEDULED)]


def promote(connection: Connection, job_id: uuid.UUID, scope: str, exclusive: bool) -> None:
    """Give a scheduled job its number: its place in the order is when it fell due."""
    connection.exec_driver_sql(_LOCK.format(mode="" if exclusive else "_shared"), {"scope": scope})
    connection.exec_driver_sql(_PROMOTE, {"id": str(job_id)})


def list_expired(connection: Connection) -> list[tuple[uuid.UUID, int]]:
    return [(row[0], row[1]) for row in connection.exec_driver_sql(_EXPIRED)]


def take_expired(connection: Connection, job_id: uuid.UUID, number: int) -> dict[str, Any] | None:
    """Remove the lease if it is still expired and return its running chunk; None if a beat or the end came first.

    Never waits for the chunk: a frozen worker may hold its row, and the other expired leases must not wait for that.
    """
    parameters = {"id": str(job_id), "number": number}
    if connection.exec_driver_sql(_LOCK_CHUNK, parameters).first() is None:
        return None
    lease = connection.exec_driver_sql(_TAKE_EXPIRED, parameters).first()
    if lease is None:
        return None
    row = connection.exec_driver_sql(_CHUNK, parameters).mappings().first()
    return dict(row) if row is not None and row["fence"] == lease[0] else None
