"""SQL of the claim and of the heartbeat."""

import uuid
from typing import Any

from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute

# One statement, one round trip: chunk, lease and job change together or not at all. Only the holder of the current
# dispatch number gets a row; every other message finds nothing and is dropped.
_CLAIM = Prepared(
    """
WITH claimed AS (
    UPDATE gristmill.chunks SET state = 'running', fence = fence + 1, attempts = attempts + 1,
        claimed_at = clock_timestamp(), worker = %(worker)s, resends = 0
    WHERE job_id = %(job_id)s AND number = %(number)s AND state = 'sent' AND dispatch = %(dispatch)s
    RETURNING job_id, number, fence, attempts, first_record, records
), leased AS (
    INSERT INTO gristmill.leases (job_id, number, fence, expires_at)
    SELECT job_id, number, fence, clock_timestamp() + %(lease)s * interval '1 second' FROM claimed
    ON CONFLICT (job_id, number) DO UPDATE SET fence = EXCLUDED.fence, expires_at = EXCLUDED.expires_at
), started AS (
    UPDATE gristmill.jobs j SET state = 'running', started_at = coalesce(j.started_at, clock_timestamp())
    FROM claimed WHERE j.id = claimed.job_id AND j.state = 'queued'
)
SELECT j.type, j.seq, j.args, j.dataset, j.scope, j.state AS job_state, j.max_attempts, j.submitted_by, j.request_id,
    j.traceparent, j.created_at, c.fence, c.attempts, c.first_record, c.records, p.data,
    extract(epoch FROM clock_timestamp() - j.created_at)::float AS waited
FROM claimed c
JOIN gristmill.jobs j ON j.id = c.job_id
LEFT JOIN gristmill.payloads p ON p.job_id = c.job_id AND p.number = c.number
""",
    job_id="uuid",
    number="int",
    dispatch="int",
    lease="float8",
    worker="text",
)
_BEAT = """
UPDATE gristmill.leases SET expires_at = clock_timestamp() + %(lease)s * interval '1 second'
WHERE job_id = %(job_id)s AND number = %(number)s AND fence = %(fence)s
"""
_LOOK = """
SELECT c.state = 'running' AND c.fence = %(fence)s AS mine, j.state = 'cancelling' AS cancelling
FROM gristmill.chunks c JOIN gristmill.jobs j ON j.id = c.job_id
WHERE c.job_id = %(job_id)s AND c.number = %(number)s
"""


def claim(
    connection: Connection, job_id: uuid.UUID, number: int, dispatch: int, lease: float, worker: str
) -> dict[str, Any] | None:
    """Take the chunk if the message with this dispatch number is still the one that counts; else return None."""
    parameters = {"job_id": str(job_id), "number": number, "dispatch": dispatch, "lease": lease, "worker": worker}
    row = execute(connection, parameters, _CLAIM).mappings().first()
    return None if row is None else dict(row)


def beat(cursor: Any, job_id: uuid.UUID, number: int, fence: int, lease: float) -> bool:
    """Extend the lease on the heartbeat's own psycopg2 cursor; False: the lease is gone or somebody else's."""
    cursor.execute(_BEAT, {"job_id": str(job_id), "number": number, "fence": fence, "lease": lease})
    return bool(cursor.rowcount)


def look(connection: Connection, job_id: uuid.UUID, number: int, fence: int) -> tuple[bool, bool]:
    """Return (still mine, cancelling) for a running chunk."""
    parameters = {"job_id": str(job_id), "number": number, "fence": fence}
    row = connection.exec_driver_sql(_LOOK, parameters).first()
    return (False, False) if row is None else (bool(row[0]), bool(row[1]))
