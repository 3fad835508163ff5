"""SQL of the claim and of the heartbeat. Both take any number of chunks at once; each stands for itself."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute
from gristmill.jobs.repository.order import is_first
from gristmill.jobs.repository.payloads import COPY_FROM_BYTES

# One statement, one round trip: chunks, leases and jobs change together or not at all. Only the holder of the current
# dispatch number gets a row; every other message finds nothing and is dropped. ``stop`` is the first chunk of a message
# with exclusive jobs that has to wait for a job which is not claimed here: from there on all goes back.
_CLAIM = Prepared(
    f"""
WITH addressed AS MATERIALIZED (
    SELECT j.id, c.number, c.dispatch, c.state = 'sent' AND c.dispatch = m.dispatch AS valid, j.type, j.seq, j.args,
        j.dataset, j.scope, j.exclusive, j.state AS job_state, j.max_attempts, j.submitted_by, j.request_id,
        j.traceparent, j.labels, j.created_at
    FROM unnest(%(job_ids)s, %(numbers)s, %(dispatches)s) AS m (job_id, number, dispatch)
    JOIN gristmill.chunks c ON c.job_id = m.job_id AND c.number = m.number
    JOIN gristmill.jobs j ON j.id = c.job_id
), stop AS MATERIALIZED (
    SELECT min(j.seq) AS seq FROM addressed j
    WHERE j.valid AND (SELECT bool_or(exclusive) FROM addressed)
        AND NOT ({is_first("AND e.id NOT IN (SELECT id FROM addressed WHERE valid)")})
), changed AS (
    -- Found by key: what looks for ``state = 'sent'`` would read the whole index of what is sent.
    UPDATE gristmill.chunks c SET state = CASE WHEN a.due THEN 'running' ELSE 'waiting' END,
        fence = fence + a.due::int, attempts = attempts + a.due::int, resends = 0,
        claimed_at = clock_timestamp(), worker = %(worker)s
    FROM (SELECT id, number, dispatch, stop.seq IS NULL OR addressed.seq < stop.seq AS due
        FROM addressed CROSS JOIN stop WHERE valid) a
    WHERE c.job_id = a.id AND c.number = a.number AND c.state || '' = 'sent' AND c.dispatch = a.dispatch
    RETURNING c.job_id, c.number, c.fence, c.attempts, c.first_record, c.records, c.state = 'running' AS claimed
), leased AS (
    INSERT INTO gristmill.leases (job_id, number, fence, expires_at)
    SELECT job_id, number, fence, clock_timestamp() + %(lease)s * interval '1 second' FROM changed WHERE claimed
    ON CONFLICT (job_id, number) DO UPDATE SET fence = EXCLUDED.fence, expires_at = EXCLUDED.expires_at, progress = 0
), started AS (
    UPDATE gristmill.jobs j SET state = 'running', started_at = coalesce(j.started_at, clock_timestamp())
    FROM changed WHERE claimed AND j.id = changed.job_id AND j.state = 'queued'
)
SELECT a.id AS job_id, a.number, a.type, a.seq, a.args, a.dataset, a.scope, a.exclusive, a.job_state, a.max_attempts,
    a.submitted_by, a.request_id, a.traceparent, a.labels, a.created_at, c.fence, c.attempts, c.first_record, c.records,
    CASE WHEN p.bytes < %(inline)s THEN p.data END AS data, p.bytes >= %(inline)s AS large,
    extract(epoch FROM clock_timestamp() - a.created_at)::float AS waited,
    coalesce(c.claimed, false) AS claimed, a.valid AND c.job_id IS NULL AS missed
FROM addressed a LEFT JOIN changed c ON c.job_id = a.id AND c.number = a.number
LEFT JOIN gristmill.payloads p ON p.job_id = c.job_id AND p.number = c.number
ORDER BY a.seq, a.number
""",  # noqa: S608 - constants of this package
    job_ids="uuid[]",
    numbers="int[]",
    dispatches="int[]",
    lease="float8",
    worker="text",
    inline="int",
)
_BEAT = """
WITH held AS MATERIALIZED (
    -- Locked rows of chunks that are being settled are passed over: they end, and to wait for them could be a deadlock.
    SELECT l.job_id, l.number, l.fence, m.progress
    FROM unnest(%(job_ids)s::uuid[], %(numbers)s::int[], %(fences)s::int[], %(progress)s::real[])
        AS m (job_id, number, fence, progress)
    JOIN gristmill.leases l ON l.job_id = m.job_id AND l.number = m.number AND l.fence = m.fence
    FOR UPDATE OF l SKIP LOCKED
)
UPDATE gristmill.leases l SET expires_at = clock_timestamp() + %(lease)s * interval '1 second',
    progress = coalesce(held.progress, l.progress)
FROM held WHERE l.job_id = held.job_id AND l.number = held.number
RETURNING l.job_id::text, l.number, l.fence
"""
_LOOK = """
SELECT c.state = 'running' AND c.fence = %(fence)s AS mine, j.state = 'cancelling' AS cancelling
FROM gristmill.chunks c JOIN gristmill.jobs j ON j.id = c.job_id
WHERE c.job_id = %(job_id)s AND c.number = %(number)s
"""
_HOLD = """
SELECT 1 FROM gristmill.chunks
WHERE job_id = %(job_id)s AND number = %(number)s AND fence = %(fence)s AND state = 'running' FOR SHARE
"""

Address = tuple[uuid.UUID, int, int]
"""What a message says: job, chunk number, dispatch number."""


def parameters_of(addresses: Sequence[Address]) -> dict[str, Any]:
    """Return the addresses as the lists that statements unnest: job_ids, numbers, dispatches."""
    return {
        "job_ids": [str(job_id) for job_id, _, _ in addresses],
        "numbers": [number for _, number, _ in addresses],
        "dispatches": [dispatch for _, _, dispatch in addresses],
    }


def claim_all(connection: Connection, addresses: Sequence[Address], lease: float, worker: str) -> list[dict[str, Any]]:
    """Take those chunks for which the message is still the one that counts; return them in the order of their jobs.

    Each is taken by its own dispatch number and has a fence and a lease of its own. Where ``large`` is true the
    payload is not in ``data``: ``payloads.fetch`` reads it. Chunks that were not taken are among the rows, not
    ``claimed``; ``missed`` says that somebody else changed the chunk in the same moment.
    """
    parameters = {**parameters_of(addresses), "lease": lease, "worker": worker, "inline": COPY_FROM_BYTES}
    return [dict(row) for row in execute(connection, parameters, _CLAIM).mappings()]


def beat(
    cursor: Any,
    held: Sequence[tuple[uuid.UUID, int, int]],
    progress: Sequence[float | None],
    lease: float,
) -> set[tuple[uuid.UUID, int, int]]:
    """Extend the leases of these (job, chunk, fence) on the heartbeat's own psycopg2 cursor; return those it still had.

    progress: shares of the chunks that are done, from 0 to 1; None leaves what was written before.
    """
    cursor.execute(
        _BEAT,
        {
            "job_ids": [str(job_id) for job_id, _, _ in held],
            "numbers": [number for _, number, _ in held],
            "fences": [fence for _, _, fence in held],
            "progress": list(progress),
            "lease": lease,
        },
    )
    return {(uuid.UUID(row[0]), row[1], row[2]) for row in cursor.fetchall()}


def look(connection: Connection, job_id: uuid.UUID, number: int, fence: int) -> tuple[bool, bool]:
    """Return (still mine, cancelling) for a running chunk."""
    parameters = {"job_id": str(job_id), "number": number, "fence": fence}
    row = connection.exec_driver_sql(_LOOK, parameters).first()
    return (False, False) if row is None else (bool(row[0]), bool(row[1]))


def hold(connection: Connection, job_id: uuid.UUID, number: int, fence: int) -> bool:
    """Keep a running chunk from being given to another worker until the transaction ends; false if it was."""
    parameters = {"job_id": str(job_id), "number": number, "fence": fence}
    return connection.exec_driver_sql(_HOLD, parameters).first() is not None
