"""SQL of a submission: one set of statements inserts one job or many, whatever their scopes, keys and times."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg2
from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute

# Keys and scopes of all jobs. A batch only tries their locks: whoever holds one, or waits for it, must not hold up
# everybody else in the batch. The jobs that miss one are named to the next statement, whose snapshot is taken when the
# locks are held.
_TRY_LOCKS = Prepared(
    """
SELECT set_config('gristmill.missed', coalesce(array_agg(place) FILTER (WHERE NOT got), '{}')::text, true)
FROM (
    SELECT l.place, CASE
        WHEN l.key IS NOT NULL THEN pg_try_advisory_xact_lock(hashtext(l.principal), hashtext(l.key))
        WHEN l.exclusive THEN pg_try_advisory_xact_lock(hashtextextended(l.scope, 0))
        ELSE pg_try_advisory_xact_lock_shared(hashtextextended(l.scope, 0)) END AS got
    FROM jsonb_to_recordset(%(locks)s) AS l (place int, principal text, key text, scope text, exclusive boolean)
) AS tried
""",
    locks="jsonb",
)
# Scopes of one job, in the order of their hashes: two jobs over the same scopes cannot wait for each other.
_WAIT_FOR_SCOPES = Prepared(
    """
SELECT CASE WHEN exclusive THEN pg_advisory_xact_lock(hash) ELSE pg_advisory_xact_lock_shared(hash) END
FROM (
    SELECT hashtextextended(l.scope, 0) AS hash, bool_or(l.exclusive) AS exclusive
    FROM jsonb_to_recordset(%(locks)s) AS l (scope text, exclusive boolean)
    WHERE l.scope IS NOT NULL GROUP BY 1 ORDER BY 1
) AS ordered
""",
    locks="jsonb",
)
_WAIT_FOR_KEY = "SELECT pg_advisory_xact_lock(hashtext(%(principal)s), hashtext(%(key)s))"
# What stands in the way of each job. guard: a condition of the domain on g, the job.
_GIVEN = """
WITH given AS MATERIALIZED (
    SELECT g.*, held.job_id AS held_job, held.body_hash AS held_hash,
        g.place = ANY (coalesce(nullif(current_setting('gristmill.missed', true), ''), '{{}}')::int[]) AS missed,
        NOT ({guard}) AS moved,
        g.checked AND NOT EXISTS (
            SELECT FROM gristmill.scopes s WHERE s.scope = g.scope AND s.finished_at IS NULL) AS idle
    FROM jsonb_to_recordset(%(jobs)s) AS g (place int, id uuid, type text, scope text, exclusive boolean,
        further jsonb, serial boolean, dataset text, queue text, priority smallint, args jsonb, labels jsonb,
        submitted_by text, request_id text, traceparent text, retry_of uuid, max_attempts smallint, chunks_total int,
        records_total bigint, records_rejected bigint, run_at timestamptz, shares boolean, key text, body_hash text,
        hours float, checked boolean)
    LEFT JOIN LATERAL (
        SELECT k.job_id, k.body_hash FROM gristmill.idempotency_keys k
        WHERE k.principal = g.submitted_by AND k.key = g.key AND k.created_at > now() - g.hours * interval '1 hour'
        OFFSET 0) AS held ON true
)
"""
_LOOK = "SELECT g.place, g.missed, g.moved, g.idle, g.held_job, g.held_hash FROM given g ORDER BY g.place"
# Keys go in sorted, as two statements that wait for each other's keys would deadlock. The numbers are drawn in the
# order of the places, under the locks of all scopes; a scheduled job has none yet.
_INSERT = """
, ready AS (
    SELECT * FROM given WHERE NOT missed AND NOT moved AND NOT idle AND held_job IS NULL
), taken AS (
    INSERT INTO gristmill.idempotency_keys AS k (principal, key, body_hash, job_id)
    SELECT submitted_by, key, body_hash, id FROM ready WHERE key IS NOT NULL ORDER BY submitted_by, key
    ON CONFLICT (principal, key) DO UPDATE
        SET body_hash = EXCLUDED.body_hash, job_id = EXCLUDED.job_id, created_at = now()
        WHERE k.created_at <= now() - %(hours)s * interval '1 hour'
    RETURNING job_id
), numbered AS (
    SELECT *, CASE WHEN run_at IS NULL THEN nextval('gristmill.job_number') END AS seq
    FROM (SELECT * FROM ready WHERE key IS NULL OR id IN (SELECT job_id FROM taken) ORDER BY place) AS placed
), job AS (
    INSERT INTO gristmill.jobs (id, seq, type, scope, exclusive, serial, dataset, state, queue, priority, args, labels,
        submitted_by, request_id, traceparent, retry_of, max_attempts, chunks_total, records_total, records_rejected,
        run_at)
    SELECT id, seq, type, scope, exclusive, serial, dataset,
        CASE WHEN run_at IS NULL THEN 'queued' ELSE 'scheduled' END, queue, priority, args, labels,
        submitted_by, request_id, traceparent, retry_of, max_attempts, chunks_total, records_total, records_rejected,
        coalesce(run_at, now())
    FROM numbered RETURNING id, seq, created_at, run_at
), chunk AS (
    INSERT INTO gristmill.chunks (job_id, number, state, queue, priority, seq, run_at, first_record, records, shares)
    SELECT job.id, c.number, 'waiting', g.queue, g.priority, job.seq, job.run_at, c.first_record, c.records, g.shares
    FROM unnest(%(chunk_places)s, %(chunk_numbers)s, %(chunk_firsts)s, %(chunk_records)s)
        AS c (place, number, first_record, records)
    JOIN given g USING (place) JOIN job ON job.id = g.id
), payload AS (
    INSERT INTO gristmill.payloads (job_id, number, bytes, data)
    SELECT job.id, 0, octet_length(p.payload), p.payload
    FROM unnest(%(payload_places)s, %(payloads)s) AS p (place, payload)
    JOIN given g USING (place) JOIN job ON job.id = g.id
), further AS (
    INSERT INTO gristmill.further_scopes (job_id, scope, exclusive)
    SELECT job.id, s.key, s.value::boolean
    FROM job JOIN given g USING (id) CROSS JOIN LATERAL jsonb_each_text(g.further) AS s
)
SELECT g.place, g.missed, g.moved, g.idle, g.held_job, g.held_hash, job.id, job.created_at, job.run_at
FROM given g LEFT JOIN job ON job.id = g.id ORDER BY g.place
"""
_TYPES = {
    "jobs": "jsonb",
    "hours": "float",
    "chunk_places": "int[]",
    "chunk_numbers": "int[]",
    "chunk_firsts": "bigint[]",
    "chunk_records": "bigint[]",
    "payload_places": "int[]",
    "payloads": "bytea[]",
}
_FIND_KEY = """
SELECT job_id, body_hash FROM gristmill.idempotency_keys
WHERE principal = %(principal)s AND key = %(key)s AND created_at > now() - %(hours)s * interval '1 hour'
"""
_UNFINISHED = """
SELECT EXISTS (SELECT FROM gristmill.scopes WHERE scope = %(scope)s AND finished_at IS NULL)
"""


class Guard:
    """A condition under which jobs may be submitted, asked once the locks of their scopes are held.

    sql: on ``g``, the job, of which it may read ``args``.
    """

    def __init__(self, sql: str = "true") -> None:
        # The condition is a constant of the domain that asks.
        given = _GIVEN.format(guard=sql)
        self.look = Prepared(given + _LOOK, **_TYPES)
        self.insert = Prepared(given + _INSERT, **_TYPES)


_UNGUARDED = Guard()


@dataclass(slots=True)
class JobRow:
    """A job that is to be inserted.

    columns: of ``gristmill.jobs``, as JSON has them, with ``further`` (the scopes but the first), ``shares``, ``key``,
    ``body_hash``, ``hours`` and ``checked``: whether it may only go in while its first scope has an unfinished job.
    chunks: (first record, records) of each. payload: chunk 0's, when it was not staged before.
    """

    columns: dict[str, Any]
    chunks: Sequence[tuple[int, int]]
    payload: bytes | memoryview | None

    @property
    def scopes(self) -> dict[str, bool]:
        """Each scope, and whether the job is exclusive in it."""
        return {**self.columns["further"], self.columns["scope"]: self.columns["exclusive"]}


class Obstacle(StrEnum):
    """Why a job was not inserted."""

    MISSED = "a lock is held by somebody else"
    MOVED = "the guard says no"
    IDLE = "its scope has no unfinished job, so what is there has to be checked first"
    HELD = "its idempotency key was used before"


@dataclass(frozen=True, slots=True)
class Insertion:
    """What became of one job. row: what ``read.get_job`` would return. held: the key's first job and body hash."""

    row: dict[str, Any] | None = None
    obstacle: Obstacle | None = None
    held: tuple[uuid.UUID, str] | None = None


def insert_jobs(
    connection: Connection, jobs: Sequence[JobRow], guard: Guard = _UNGUARDED, *, wait: bool = False
) -> list[Insertion]:
    """Insert the jobs with all that is theirs in one message; return what became of each.

    wait: for the locks of their scopes, which is for one job alone; a batch leaves those out that cannot have theirs.
    The keys of a batch are different ones. Over a connection in autocommit mode this is one transaction.
    """
    parameters = _parameters(jobs)
    lock = _WAIT_FOR_SCOPES if wait else _TRY_LOCKS
    found = execute(connection, parameters, lock, guard.insert)
    return [_insertion(job, row) for job, row in zip(jobs, found, strict=True)]


def look(connection: Connection, jobs: Sequence[JobRow], guard: Guard) -> list[Insertion]:
    """Take the locks as ``insert_jobs`` does and return what it would find in the way of each, inserting nothing."""
    parameters = {"jobs": _json(jobs), "locks": _locks(jobs)}
    found = execute(connection, parameters, _TRY_LOCKS, guard.look)
    return [_insertion(job, row) for job, row in zip(jobs, found, strict=True)]


def _parameters(jobs: Sequence[JobRow]) -> Mapping[str, Any]:
    chunks = [
        (place, number, *chunk) for place, job in enumerate(jobs) for number, chunk in enumerate(job.chunks)
    ]  # fmt: skip
    payloads = [(place, job.payload) for place, job in enumerate(jobs) if job.payload]
    return {
        "jobs": _json(jobs),
        "locks": _locks(jobs),
        "hours": jobs[0].columns["hours"],
        "chunk_places": [chunk[0] for chunk in chunks],
        "chunk_numbers": [chunk[1] for chunk in chunks],
        "chunk_firsts": [chunk[2] for chunk in chunks],
        "chunk_records": [chunk[3] for chunk in chunks],
        "payload_places": [place for place, _ in payloads],
        "payloads": [psycopg2.Binary(payload) for _, payload in payloads],
    }


def _json(jobs: Sequence[JobRow]) -> str:
    return json.dumps([{"place": place, **job.columns} for place, job in enumerate(jobs)])


def _locks(jobs: Sequence[JobRow]) -> str:
    locks: list[dict[str, Any]] = []
    for place, job in enumerate(jobs):
        if job.columns["key"] is not None:
            locks.append({"place": place, "principal": job.columns["submitted_by"], "key": job.columns["key"]})
        if job.columns["run_at"] is None:
            locks += [
                {"place": place, "scope": scope, "exclusive": exclusive} for scope, exclusive in job.scopes.items()
            ]
    return json.dumps(locks)


def _insertion(job: JobRow, row: Any) -> Insertion:
    if row[4] is not None:
        return Insertion(obstacle=Obstacle.HELD, held=(row[4], row[5]))
    if row[1] or row[2] or row[3]:
        return Insertion(obstacle=Obstacle.MISSED if row[1] else Obstacle.MOVED if row[2] else Obstacle.IDLE)
    if len(row) == 6:
        return Insertion()
    if row[6] is None:
        # Somebody took the key without its lock: a process of the release before.
        return Insertion(obstacle=Obstacle.MISSED)
    return Insertion({**_NEW, **job.columns, "id": row[6], "created_at": row[7], "run_at": row[8],
                      "state": "queued" if job.columns["run_at"] is None else "scheduled"})  # fmt: skip


# What a job that was just submitted looks like.
_NEW: dict[str, Any] = {
    **dict.fromkeys(("chunks_done", "chunks_failed", "chunks_cancelled", "records_succeeded"), 0),
    **dict.fromkeys(("records_superseded", "records_dropped", "attempt", "under_way"), 0),
    **dict.fromkeys(("error", "result", "started_at", "finished_at", "cancelled_at", "retried_by")),
}


def find_key(connection: Connection, principal: str, key: str, hours: float) -> tuple[uuid.UUID, str] | None:
    """Return (job id, body hash) of the request that used the key first."""
    row = connection.exec_driver_sql(_FIND_KEY, {"principal": principal, "key": key, "hours": hours}).first()
    return None if row is None else (row[0], row[1])


def hold_key(connection: Connection, principal: str, key: str, hours: float) -> tuple[uuid.UUID, str] | None:
    """Keep the key from others until the transaction ends, once they let go of it; return as ``find_key`` does."""
    connection.exec_driver_sql(_WAIT_FOR_KEY, {"principal": principal, "key": key})
    return find_key(connection, principal, key, hours)


def unfinished_in_scope(connection: Connection, scope: str) -> bool:
    return bool(connection.exec_driver_sql(_UNFINISHED, {"scope": scope}).scalar())
