"""SQL of questions that other domains have about a scope: what is unfinished in it, and what failed."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute
from gristmill.jobs.repository.submit import JobRow, locks_of

# Whoever has drawn a number holds the scope's lock until it commits; under the lock all of them are seen.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(scope)s, 0))"
_LOCK_BOTH = """
SELECT pg_advisory_xact_lock(hash) FROM (
    SELECT DISTINCT hashtextextended(scope, 0) AS hash FROM unnest(%(scopes)s) AS scope ORDER BY hash) AS ordered
"""
_MERGE = """
UPDATE gristmill.jobs SET scope = %(new)s, dataset = %(dataset)s
WHERE scope = %(old)s AND finished_at IS NULL AND id <> %(but)s
"""
_MERGE_FURTHER = """
UPDATE gristmill.further_scopes SET scope = %(new)s WHERE scope = %(old)s AND NOT finished AND job_id <> %(but)s
"""
# Whatever has its number already: what is scheduled draws a later one. Jobs of ``own`` change only what is theirs.
_CHANGED_BY_OTHERS = Prepared(
    """
SELECT EXISTS (SELECT FROM gristmill.jobs j
        WHERE j.scope = ANY(%(scopes)s) AND j.finished_at IS NULL AND j.seq IS NOT NULL)
    OR EXISTS (SELECT FROM gristmill.further_scopes f JOIN gristmill.jobs j ON j.id = f.job_id
        WHERE f.scope = ANY(%(scopes)s) AND NOT f.finished AND f.exclusive AND j.scope <> %(own)s
            AND j.seq IS NOT NULL)
""",
    scopes="text[]",
    own="text",
)
_HORIZON = """
SELECT coalesce((SELECT min(seq) FROM gristmill.scopes WHERE scope = %(scope)s AND finished_at IS NULL),
    (SELECT last_value + 1 FROM gristmill.job_number))
"""
_PENDING = """
SELECT coalesce(sum(records_total - records_succeeded - records_rejected - records_superseded - records_dropped), 0)
    ::bigint
FROM gristmill.jobs WHERE scope = %(scope)s AND finished_at IS NULL AND state <> 'scheduled'
"""
_FAILURES = """
SELECT j.id, j.type, j.state, e.error ->> 'code' AS code, e.error ->> 'detail' AS detail
FROM gristmill.jobs j, LATERAL (SELECT coalesce(
    j.error, (SELECT c.error FROM gristmill.chunks c WHERE c.job_id = j.id AND c.error IS NOT NULL LIMIT 1)) AS error) e
WHERE j.dataset = %(dataset)s AND j.scope = %(scope)s AND e.error IS NOT NULL
ORDER BY j.id DESC LIMIT %(limit)s
"""


def horizon(connection: Connection, scope: str) -> int:
    """Return a number: no job of the scope that is unfinished or still to come has a smaller one.

    Call it in a transaction of its own: it holds the lock of the scope, which submissions wait for, until that ends.
    """
    connection.exec_driver_sql(_LOCK, {"scope": scope})
    return int(connection.exec_driver_sql(_HORIZON, {"scope": scope}).scalar_one())


def merge(connection: Connection, old: str, new: str, *, dataset: str, but: uuid.UUID) -> None:
    """Move the unfinished jobs of a scope to another one, where they keep their numbers and are of ``dataset``.

    but: the job that does so, which is exclusive in both. Nobody draws a number in either until the transaction ends.
    """
    values = {"old": old, "new": new, "dataset": dataset, "but": str(but)}
    connection.exec_driver_sql(_LOCK_BOTH, {"scopes": [old, new]})
    connection.exec_driver_sql(_MERGE, values)
    connection.exec_driver_sql(_MERGE_FURTHER, values)


def may_be_changed(
    connection: Connection, scopes: Sequence[str], own: str, locks: Sequence[JobRow] = (), *, wait: bool = False
) -> bool:
    """Say whether an unfinished job may still change what one of the scopes stands for.

    own: jobs of this scope are exclusive in the others only because they depend on them. locks: jobs whose locks are
    taken before, in the same message. wait: for them.
    """
    values: dict[str, Any] = {"scopes": list(scopes), "own": own}
    before: Sequence[Prepared] = ()
    if locks:
        parameters, before = locks_of(locks, wait=wait)
        values |= parameters
    return bool(execute(connection, values, *before, _CHANGED_BY_OTHERS).scalar())


def pending_records(connection: Connection, scope: str) -> int:
    """Return how many records the unfinished jobs of a scope still have to write."""
    return int(connection.exec_driver_sql(_PENDING, {"scope": scope}).scalar_one())


def failures(connection: Connection, scope: str, dataset: str, limit: int) -> list[dict[str, Any]]:
    """Return the last jobs of a scope that failed or were tried again, newest first: job, type, state, code, detail."""
    values = {"scope": scope, "dataset": dataset, "limit": limit}
    return [
        {"job": str(row.id), "type": row.type, "state": row.state, "code": row.code, "detail": row.detail}
        for row in connection.exec_driver_sql(_FAILURES, values)
    ]
