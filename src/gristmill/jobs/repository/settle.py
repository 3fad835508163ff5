"""SQL of how a running chunk ends: done, failed, cancelled, or back to waiting. Whoever reaches the total ends the job.

Counting happens in the job's row: two last chunks that commit together queue up on it, so exactly one sees the total.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Any

import psycopg2.extras
from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute

# {xact} and {condition} are constants of this file.
_SETTLE = """
WITH chunk AS (
    UPDATE gristmill.chunks c SET state = %(state)s, error = %(error)s, xact = {xact}
    WHERE job_id = %(job_id)s AND number = %(number)s AND fence = %(fence)s AND state = 'running' {condition}
    RETURNING job_id, number
), lease AS (
    DELETE FROM gristmill.leases l USING chunk WHERE l.job_id = chunk.job_id AND l.number = chunk.number
), payload AS (
    DELETE FROM gristmill.payloads p USING chunk
    WHERE p.job_id = chunk.job_id AND p.number = chunk.number AND %(state)s = 'done'
), job AS (
    UPDATE gristmill.jobs j SET
        chunks_done = chunks_done + (%(state)s = 'done')::int,
        chunks_failed = chunks_failed + (%(state)s = 'failed')::int,
        chunks_cancelled = chunks_cancelled + (%(state)s = 'cancelled')::int,
        records_succeeded = records_succeeded + %(succeeded)s,
        records_rejected = records_rejected + %(rejected)s,
        records_superseded = records_superseded + %(superseded)s,
        result = CASE WHEN %(result)s::jsonb IS NULL THEN result ELSE coalesce(result, '{{}}') || %(result)s::jsonb END,
        -- A request to cancel that came too late leaves no trace, and a failure counts for more than that request.
        error = CASE WHEN %(state)s = 'done' THEN CASE WHEN chunks_done + 1 < chunks_total THEN error END
            WHEN %(state)s = 'failed' AND error ->> 'code' = 'cancelled' THEN %(error)s
            ELSE coalesce(error, %(error)s) END,
        state = CASE
            WHEN chunks_done + chunks_failed + chunks_cancelled + 1 < chunks_total THEN state
            WHEN chunks_failed > 0 OR %(state)s = 'failed' THEN 'failed'
            WHEN chunks_cancelled > 0 OR %(state)s = 'cancelled' THEN 'cancelled'
            ELSE 'succeeded' END,
        finished_at = CASE WHEN chunks_done + chunks_failed + chunks_cancelled + 1 < chunks_total THEN NULL
            ELSE clock_timestamp() END
    FROM chunk WHERE j.id = chunk.job_id
    RETURNING j.id, j.state, j.finished_at, j.created_at, j.exclusive
)
SELECT job.state, job.finished_at IS NOT NULL AS finished,
    extract(epoch FROM clock_timestamp() - job.created_at)::float AS took
FROM job
"""
_TYPES = {
    "job_id": "uuid",
    "number": "int",
    "fence": "int",
    "state": "text",
    "succeeded": "bigint",
    "rejected": "bigint",
    "superseded": "bigint",
    "result": "jsonb",
    "error": "jsonb",
}
_DONE = Prepared(
    _SETTLE.format(
        xact="pg_current_xact_id()::text::bigint",
        condition="AND NOT EXISTS (SELECT FROM gristmill.jobs x WHERE x.id = c.job_id AND x.state = 'cancelling')",
    ),
    **_TYPES,
)
_ENDED = Prepared(_SETTLE.format(xact="NULL", condition=""), **_TYPES)

_BACK = """
WITH chunk AS (
    UPDATE gristmill.chunks SET state = 'waiting', error = coalesce(%(error)s, error),
        attempts = attempts - %(refund)s, run_at = clock_timestamp() + %(delay)s * interval '1 second'
    WHERE job_id = %(job_id)s AND number = %(number)s AND fence = %(fence)s AND state = 'running'
    RETURNING job_id, number
), lease AS (
    DELETE FROM gristmill.leases l USING chunk WHERE l.job_id = chunk.job_id AND l.number = chunk.number
)
SELECT count(*) FROM chunk
"""


@dataclass(frozen=True, slots=True)
class Settled:
    """How the job stands after a chunk ended."""

    job_state: str
    finished: bool
    took: float
    """Seconds since the job was created."""


def settle(
    connection: Connection,
    job_id: uuid.UUID,
    number: int,
    fence: int,
    state: str,
    *,
    succeeded: int = 0,
    rejected: int = 0,
    superseded: int = 0,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> Settled | None:
    """End the chunk as ``state`` if it is still running under ``fence`` (and, for done, not being cancelled)."""
    parameters = {
        "job_id": str(job_id),
        "number": number,
        "fence": fence,
        "state": state,
        "succeeded": succeeded,
        "rejected": rejected,
        "superseded": superseded,
        "result": None if result is None else json.dumps(result),
        "error": None if error is None else psycopg2.extras.Json(error),
    }
    row = execute(connection, parameters, _DONE if state == "done" else _ENDED).first()
    return None if row is None else Settled(row[0], row[1], row[2])


def put_back(
    connection: Connection,
    job_id: uuid.UUID,
    number: int,
    fence: int,
    *,
    delay: float = 0,
    refund: bool = False,
    error: dict[str, Any] | None = None,
) -> bool:
    """Send a running chunk back to waiting; ``refund`` gives the attempt back. False: it was not ours any more."""
    parameters = {
        "job_id": str(job_id),
        "number": number,
        "fence": fence,
        "delay": delay,
        "refund": int(refund),
        "error": None if error is None else psycopg2.extras.Json(error),
    }
    return bool(connection.exec_driver_sql(_BACK, parameters).scalar())
