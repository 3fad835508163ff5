"""SQL of rescue: leases that ran out, and the chunks that they were for."""

import uuid
from typing import Any

from sqlalchemy import Connection

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
    j.exclusive, j.max_attempts, j.state AS job_state
FROM gristmill.chunks c JOIN gristmill.jobs j ON j.id = c.job_id
WHERE c.job_id = %(id)s AND c.number = %(number)s AND c.state = 'running'
"""


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
