"""SQL of how a running chunk ends: done, failed, cancelled, or back to waiting. Whoever reaches the total ends the job.

Counting happens in the job's row: two last chunks that commit together queue up on it, so exactly one sees the total.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import psycopg2.extras
from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute

# The index of live scopes lets go of a job that has finished. For a job with one scope this finds nothing.
LEAVE_SCOPES = """
    UPDATE gristmill.further_scopes f SET finished = true FROM job
    WHERE f.job_id = job.id AND job.finished_at IS NOT NULL
"""
# What the job's state becomes when one more chunk has ended; null while others have not.
_AFTER_END = """gristmill.end_state(chunks_total, chunks_done, chunks_failed + (%(state)s = 'failed')::int,
            chunks_cancelled + (%(state)s = 'cancelled')::int)"""
_AFTER_DONE = "gristmill.end_state(chunks_total, chunks_done + 1, chunks_failed, chunks_cancelled)"
_END = Prepared(
    f"""
WITH chunk AS (
    UPDATE gristmill.chunks c SET state = %(state)s, error = %(error)s, xact = NULL
    WHERE job_id = %(job_id)s AND number = %(number)s AND fence = %(fence)s AND state = 'running'
    RETURNING job_id, number
), lease AS (
    DELETE FROM gristmill.leases l USING chunk WHERE l.job_id = chunk.job_id AND l.number = chunk.number
), job AS (
    UPDATE gristmill.jobs j SET
        chunks_failed = chunks_failed + (%(state)s = 'failed')::int,
        chunks_cancelled = chunks_cancelled + (%(state)s = 'cancelled')::int,
        -- A failure counts for more than a request to cancel, and either for more than what was waited for.
        error = CASE WHEN %(state)s = 'failed' AND error ->> 'code' = 'cancelled' OR error ? 'waiting' THEN %(error)s
            ELSE coalesce(error, %(error)s) END,
        state = coalesce({_AFTER_END}, state),
        finished_at = CASE WHEN {_AFTER_END} IS NOT NULL THEN clock_timestamp() END
    FROM chunk WHERE j.id = chunk.job_id
    RETURNING j.id, j.state, j.finished_at, j.created_at
), further AS ({LEAVE_SCOPES})
SELECT job.id, job.state, job.finished_at IS NOT NULL AS finished,
    extract(epoch FROM clock_timestamp() - job.created_at)::float AS took
FROM job
""",  # noqa: S608 - constants of this package
    job_id="uuid",
    number="int",
    fence="int",
    state="text",
    error="jsonb",
)

# Any number of chunks of as many jobs: each is done only if it still runs under its own fence and is not being
# cancelled. A request to cancel that came too late leaves no trace.
_DONE = Prepared(
    f"""
WITH mine AS (
    SELECT * FROM unnest(%(job_ids)s, %(numbers)s, %(fences)s, %(succeeded)s, %(rejected)s, %(superseded)s,
        %(dropped)s, %(rows)s, %(results)s)
        AS m (job_id, number, fence, succeeded, rejected, superseded, dropped, rows, result)
), chunk AS (
    UPDATE gristmill.chunks c SET state = 'done', error = NULL, xact = pg_current_xact_id()::text::bigint
    FROM mine m WHERE c.job_id = m.job_id AND c.number = m.number AND c.fence = m.fence AND c.state = 'running'
        AND NOT EXISTS (SELECT FROM gristmill.jobs x WHERE x.id = c.job_id AND x.state = 'cancelling')
    RETURNING c.job_id, c.number, m.succeeded, m.rejected, m.superseded, m.dropped, m.rows, m.result
), lease AS (
    DELETE FROM gristmill.leases l USING chunk WHERE l.job_id = chunk.job_id AND l.number = chunk.number
), payload AS (
    DELETE FROM gristmill.payloads p USING chunk WHERE p.job_id = chunk.job_id AND p.number = chunk.number
), job AS (
    UPDATE gristmill.jobs j SET
        chunks_done = chunks_done + 1,
        records_succeeded = records_succeeded + chunk.succeeded,
        records_rejected = records_rejected + chunk.rejected,
        records_superseded = records_superseded + chunk.superseded,
        records_dropped = records_dropped + chunk.dropped,
        result = CASE WHEN chunk.result IS NULL AND chunk.rows IS NULL THEN j.result
            ELSE coalesce(j.result, '{{}}') || coalesce(chunk.result, '{{}}')
                || CASE WHEN chunk.rows IS NULL THEN '{{}}'
                ELSE jsonb_build_object('rows', coalesce((j.result ->> 'rows')::bigint, 0) + chunk.rows) END END,
        -- What a chunk waited for has come; what another one failed of stays until the job has ended.
        error = CASE WHEN chunks_done + 1 < chunks_total AND NOT coalesce(error ? 'waiting', false) THEN error END,
        state = coalesce({_AFTER_DONE}, state),
        finished_at = CASE WHEN {_AFTER_DONE} IS NOT NULL THEN clock_timestamp() END
    FROM chunk WHERE j.id = chunk.job_id
    RETURNING j.id, j.state, j.finished_at, j.created_at
), further AS ({LEAVE_SCOPES})
SELECT job.id, job.state, job.finished_at IS NOT NULL AS finished,
    extract(epoch FROM clock_timestamp() - job.created_at)::float AS took
FROM job
""",  # noqa: S608 - constants of this package
    job_ids="uuid[]",
    numbers="int[]",
    fences="int[]",
    succeeded="bigint[]",
    rejected="bigint[]",
    superseded="bigint[]",
    dropped="bigint[]",
    rows="bigint[]",
    results="jsonb[]",
)

_BACK = """
WITH chunk AS (
    UPDATE gristmill.chunks SET state = 'waiting', error = coalesce(%(error)s, error),
        attempts = attempts - %(refund)s, run_at = clock_timestamp() + %(delay)s * interval '1 second'
    WHERE job_id = %(job_id)s AND number = %(number)s AND fence = %(fence)s AND state = 'running'
    RETURNING job_id, number
), lease AS (
    DELETE FROM gristmill.leases l USING chunk WHERE l.job_id = chunk.job_id AND l.number = chunk.number
), job AS (
    UPDATE gristmill.jobs j SET error = %(error)s::jsonb || '{"waiting": true}'::jsonb
    FROM chunk WHERE j.id = chunk.job_id AND %(shown)s AND (j.error IS NULL OR j.error ? 'waiting')
)
SELECT count(*) FROM chunk
"""


@dataclass(frozen=True, slots=True)
class Settled:
    """How the job stands after a chunk ended."""

    job_id: uuid.UUID
    job_state: str
    finished: bool
    took: float
    """Seconds since the job was created."""


@dataclass(frozen=True, slots=True)
class Done:
    """A chunk that did its work under ``fence``, and the counts of its records. ``result`` is merged into the job's."""

    job_id: uuid.UUID
    number: int
    fence: int
    succeeded: int = 0
    rejected: int = 0
    superseded: int = 0
    dropped: int = 0
    rows: int | None = None
    result: dict[str, Any] | None = None


def settle_done(connection: Connection, done: Sequence[Done]) -> list[Settled]:
    """End chunks of different jobs as ``done``, in any order.

    Those that no longer run under their fence, or whose job is being cancelled, are left as they are and out of the
    answer: what they wrote must then be rolled back.
    """
    results = [None if one.result is None else json.dumps(one.result) for one in done]
    parameters = {
        "job_ids": [str(one.job_id) for one in done],
        "numbers": [one.number for one in done],
        "fences": [one.fence for one in done],
        "succeeded": [one.succeeded for one in done],
        "rejected": [one.rejected for one in done],
        "superseded": [one.superseded for one in done],
        "dropped": [one.dropped for one in done],
        "rows": [one.rows for one in done],
        "results": results,
    }
    return [Settled(*row) for row in execute(connection, parameters, _DONE)]


def settle(
    connection: Connection,
    job_id: uuid.UUID,
    number: int,
    fence: int,
    state: Literal["failed", "cancelled"],
    *,
    error: dict[str, Any] | None = None,
) -> Settled | None:
    """End the chunk as ``state`` if it is still running under ``fence``."""
    parameters = {
        "job_id": str(job_id),
        "number": number,
        "fence": fence,
        "state": state,
        "error": None if error is None else psycopg2.extras.Json(error),
    }
    row = execute(connection, parameters, _END).first()
    return None if row is None else Settled(*row)


def put_back(
    connection: Connection,
    job_id: uuid.UUID,
    number: int,
    fence: int,
    *,
    delay: float = 0,
    refund: bool = False,
    error: dict[str, Any] | None = None,
    shown: bool = False,
) -> None:
    """Send a running chunk back to waiting; ``refund`` gives the attempt back. Nothing if it is not ours any more.

    shown: the job shows the error, marked ``waiting``, for as long as nothing else happens to it.
    """
    parameters = {
        "job_id": str(job_id),
        "number": number,
        "fence": fence,
        "delay": delay,
        "refund": int(refund),
        "error": None if error is None else psycopg2.extras.Json(error),
        "shown": shown and error is not None,
    }
    connection.exec_driver_sql(_BACK, parameters)
