"""SQL of rescue: leases that ran out or whose process has ended, and the chunks that they were for."""

import uuid
from typing import Any, NamedTuple

from sqlalchemy import Connection

# No lease could be renewed while Postgres was away. The writer of the log is started when recovery is over, also after
# the end of a backend that ended all others; whoever may not see it has the postmaster's own start.
_EXPIRED = """
SELECT job_id, number FROM gristmill.leases
WHERE expires_at < clock_timestamp() AND clock_timestamp() - %(grace)s * interval '1 second' > coalesce(
    (SELECT max(backend_start) FROM pg_stat_activity WHERE backend_type = 'walwriter'), pg_postmaster_start_time())
LIMIT 200
"""
# Only chunks under a lease run, and those are few.
_HELD = """
SELECT c.job_id, c.number, c.fence, c.worker
FROM gristmill.leases l JOIN gristmill.chunks c ON c.job_id = l.job_id AND c.number = l.number
WHERE c.state = 'running' AND starts_with(c.worker, %(prefix)s)
"""
# Chunk before lease, the order of settling; a chunk that somebody holds is about to end, or comes up again next time.
_LOCK_CHUNK = """
SELECT FROM gristmill.chunks WHERE job_id = %(id)s AND number = %(number)s FOR UPDATE SKIP LOCKED
"""
_TAKE = """
DELETE FROM gristmill.leases WHERE job_id = %(id)s AND number = %(number)s
    AND (fence = %(lost)s OR %(lost)s IS NULL AND expires_at < clock_timestamp())
RETURNING fence
"""
_CHUNK = """
SELECT c.fence, c.attempts, c.first_record, c.records, c.worker, j.type, j.seq, j.args, j.dataset, j.scope,
    j.exclusive, j.max_attempts, j.state AS job_state
FROM gristmill.chunks c JOIN gristmill.jobs j ON j.id = c.job_id
WHERE c.job_id = %(id)s AND c.number = %(number)s AND c.state = 'running'
"""


class Held(NamedTuple):
    """A running chunk and the worker that holds it, under ``fence``."""

    job_id: uuid.UUID
    number: int
    fence: int
    worker: str


def list_expired(connection: Connection, grace: float) -> list[tuple[uuid.UUID, int]]:
    """Return the chunks whose leases have run out; none in the first ``grace`` seconds after a start of Postgres."""
    return [(row[0], row[1]) for row in connection.exec_driver_sql(_EXPIRED, {"grace": grace})]


def list_held(connection: Connection, prefix: str) -> list[Held]:
    """Return the running chunks of the workers whose names begin with ``prefix``."""
    return [Held(*row) for row in connection.exec_driver_sql(_HELD, {"prefix": prefix})]


def take(connection: Connection, job_id: uuid.UUID, number: int, lost: int | None = None) -> dict[str, Any] | None:
    """Remove the chunk's lease and return the chunk, if it still runs and the lease has expired.

    lost: the fence under which a process held it that has ended; its lease is taken whatever is left of it.
    None: a beat, the chunk's end or another attempt came first. Never waits for the chunk: a frozen worker may hold its
    row, and the others must not wait for that.
    """
    parameters = {"id": str(job_id), "number": number, "lost": lost}
    if connection.exec_driver_sql(_LOCK_CHUNK, parameters).first() is None:
        return None
    lease = connection.exec_driver_sql(_TAKE, parameters).first()
    if lease is None:
        return None
    row = connection.exec_driver_sql(_CHUNK, parameters).mappings().first()
    return dict(row) if row is not None and row["fence"] == lease[0] else None
