"""SQL of cancelling: chunks that nobody has claimed end at once, the job when nothing of it runs."""

import uuid

from sqlalchemy import Connection

from gristmill.jobs.repository.settle import LEAVE_SCOPES

_STATE = "gristmill.end_state(chunks_total, chunks_done, chunks_failed, chunks_cancelled + n)"
# Chunks first, then the job: the same order of locks as in the claim and in settling.
_CANCEL = f"""
WITH chunk AS (
    UPDATE gristmill.chunks SET state = 'cancelled' WHERE job_id = %(id)s AND state IN ('waiting', 'sent')
    RETURNING number
), counted AS (SELECT count(*)::int AS n FROM chunk
), job AS (
    UPDATE gristmill.jobs j SET
        chunks_cancelled = chunks_cancelled + n,
        cancelled_at = coalesce(cancelled_at, clock_timestamp()),
        error = CASE WHEN error ? 'waiting' THEN %(reason)s::jsonb ELSE coalesce(error, %(reason)s::jsonb) END,
        state = coalesce({_STATE}, 'cancelling'),
        finished_at = CASE WHEN {_STATE} IS NOT NULL THEN clock_timestamp() END
    FROM counted WHERE j.id = %(id)s AND j.state IN ('scheduled', 'queued', 'running', 'cancelling')
    RETURNING j.id, j.state, j.finished_at
), further AS ({LEAVE_SCOPES})
SELECT state FROM job
"""  # noqa: S608 - constants of this package
_DROP_PAYLOADS = "DELETE FROM gristmill.payloads WHERE job_id = %(id)s"
_CANCELLING = "SELECT id FROM gristmill.jobs WHERE cancelled_at IS NOT NULL AND finished_at IS NULL"


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
