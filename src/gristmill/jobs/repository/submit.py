"""SQL of a submission: one set of statements inserts one job or many, whatever their scopes, keys and times."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg2
from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute
from gristmill.jobs.repository.locks import TRY_LOCKS, WAIT_FOR_KEY, WAIT_FOR_SCOPES

# What stands in the way of each job. guard: a condition of the domain on g, the job. Each job's scope and key are
# looked up by themselves (LIMIT, OFFSET): for a batch Postgres might read all unfinished jobs and all keys instead.
_GIVEN = """
WITH given AS MATERIALIZED (
    SELECT g.*, held.job_id AS held_job, held.body_hash AS held_hash,
        CASE WHEN g.place = ANY (current_setting('gristmill.missed_keys')::int[]) THEN 'key'
            WHEN g.place = ANY (current_setting('gristmill.missed_scopes')::int[]) THEN 'scope' END AS missed,
        NOT ({guard}) AS moved,
        g.checked AND (
            SELECT 1 FROM gristmill.scopes s WHERE s.scope = g.scope AND s.finished_at IS NULL LIMIT 1) IS NULL AS idle
    FROM jsonb_to_recordset(%(jobs)s) AS g (place int, id uuid, type text, scope text, exclusive boolean,
        serial boolean, dataset text, queue text, priority smallint, args jsonb, labels jsonb,
        submitted_by text, request_id text, traceparent text, retry_of uuid, max_attempts smallint, chunks_total int,
        records_total bigint, records_rejected bigint, run_at timestamptz, key text, body_hash text,
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
    SELECT * FROM given WHERE missed IS NULL AND NOT moved AND NOT idle AND held_job IS NULL
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
    FROM numbered RETURNING id, seq, queue, priority, created_at, run_at
), chunk AS (
    INSERT INTO gristmill.chunks (job_id, number, state, queue, priority, seq, run_at, first_record, records, shares)
    SELECT job.id, c.number, 'waiting', job.queue, job.priority, job.seq, job.run_at, c.first_record, c.records,
        c.shares
    FROM unnest(%(chunk_jobs)s, %(chunk_numbers)s, %(chunk_firsts)s, %(chunk_records)s, %(chunk_shares)s)
        AS c (id, number, first_record, records, shares) JOIN job USING (id)
), payload AS (
    INSERT INTO gristmill.payloads (job_id, number, bytes, data)
    SELECT job.id, 0, octet_length(p.payload), p.payload
    FROM unnest(%(payload_jobs)s, %(payloads)s) AS p (id, payload) JOIN job USING (id)
), further AS (
    INSERT INTO gristmill.further_scopes (job_id, scope, exclusive)
    SELECT job.id, f.scope, f.exclusive
    FROM unnest(%(further_jobs)s, %(further_scopes)s, %(further_exclusive)s) AS f (id, scope, exclusive)
    JOIN job USING (id)
)
SELECT g.place, g.missed, g.moved, g.idle, g.held_job, g.held_hash, job.id, job.created_at, job.run_at
FROM given g LEFT JOIN job ON job.id = g.id ORDER BY g.place
"""
_TYPES = {
    "jobs": "jsonb",
    "hours": "float",
    "chunk_jobs": "uuid[]",
    "chunk_numbers": "int[]",
    "chunk_firsts": "bigint[]",
    "chunk_records": "bigint[]",
    "chunk_shares": "boolean[]",
    "payload_jobs": "uuid[]",
    "payloads": "bytea[]",
    "further_jobs": "uuid[]",
    "further_scopes": "text[]",
    "further_exclusive": "boolean[]",
}
_FIND_KEY = """
SELECT job_id, body_hash FROM gristmill.idempotency_keys
WHERE principal = %(principal)s AND key = %(key)s AND created_at > now() - %(hours)s * interval '1 hour'
"""
# Whoever has the key's lock has seen that nobody used it, unless that was too long ago.
_KEEP_KEY = """
INSERT INTO gristmill.idempotency_keys AS k (principal, key, body_hash, job_id)
VALUES (%(principal)s, %(key)s, %(body_hash)s, %(job_id)s)
ON CONFLICT (principal, key) DO UPDATE
    SET body_hash = EXCLUDED.body_hash, job_id = EXCLUDED.job_id, created_at = now()
"""
_NOW = "SELECT clock_timestamp()"
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

    columns: of ``gristmill.jobs``, as JSON has them, with ``key``, ``body_hash``, ``hours`` and ``checked``: whether it
    may only go in while its first scope has an unfinished job. chunks: (first record, records) of each. payload: chunk
    0's, when it was not staged before. shares: of its chunks. further: the scopes but the first, and whether the job is
    exclusive in each.
    """

    columns: dict[str, Any]
    chunks: Sequence[tuple[int, int]]
    payload: bytes | memoryview | None
    shares: bool
    further: Mapping[str, bool]

    @property
    def scopes(self) -> dict[str, bool]:
        """Each scope, and whether the job is exclusive in it."""
        return {**self.further, self.columns["scope"]: self.columns["exclusive"]}


class Obstacle(StrEnum):
    """Why a job was not inserted."""

    KEY = "its key is held by somebody else"
    SCOPE = "one of its scopes is held by somebody else"
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

    wait: for the locks of their scopes, where jobs are left out otherwise that cannot have theirs. Nobody waits for a
    key here. The keys of a batch are different ones. Over a connection in autocommit mode this is one transaction.
    """
    parameters, locks = locks_of(jobs, wait=wait)
    found = execute(connection, {**_parameters(jobs), **parameters}, *locks, guard.insert)
    return [_insertion(job, row) for job, row in zip(jobs, found, strict=True)]


def locks_of(jobs: Sequence[JobRow], *, wait: bool) -> tuple[dict[str, str], Sequence[Prepared]]:
    """Return parameters and statements that take the locks of jobs as ``insert_jobs`` does."""
    return {"locks": _locks(jobs)}, (WAIT_FOR_SCOPES, TRY_LOCKS) if wait else (TRY_LOCKS,)


def look(connection: Connection, jobs: Sequence[JobRow], guard: Guard, *, wait: bool) -> list[Insertion]:
    """Take the locks as ``insert_jobs`` does and return what it would find in the way of each, inserting nothing."""
    parameters, locks = locks_of(jobs, wait=wait)
    found = execute(connection, {"jobs": _json(jobs), **parameters}, *locks, guard.look)
    return [_insertion(job, row) for job, row in zip(jobs, found, strict=True)]


def _parameters(jobs: Sequence[JobRow]) -> Mapping[str, Any]:
    chunks = [
        (job.columns["id"], number, *chunk, job.shares) for job in jobs for number, chunk in enumerate(job.chunks)
    ]
    payloads = [(job.columns["id"], job.payload) for job in jobs if job.payload]
    further = [(job.columns["id"], scope, exclusive) for job in jobs for scope, exclusive in job.further.items()]
    return {
        "jobs": _json(jobs),
        "hours": jobs[0].columns["hours"],
        "chunk_jobs": [chunk[0] for chunk in chunks],
        "chunk_numbers": [chunk[1] for chunk in chunks],
        "chunk_firsts": [chunk[2] for chunk in chunks],
        "chunk_records": [chunk[3] for chunk in chunks],
        "chunk_shares": [chunk[4] for chunk in chunks],
        "payload_jobs": [job_id for job_id, _ in payloads],
        "payloads": [psycopg2.Binary(payload) for _, payload in payloads],
        "further_jobs": [row[0] for row in further],
        "further_scopes": [row[1] for row in further],
        "further_exclusive": [row[2] for row in further],
    }


def _json(jobs: Sequence[JobRow]) -> str:
    return json.dumps([{"place": place, **job.columns} for place, job in enumerate(jobs)])


def _locks(jobs: Sequence[JobRow]) -> str:
    locks: list[dict[str, Any]] = []
    for place, job in enumerate(jobs):
        if job.columns["key"] is not None:
            locks.append({"place": place, "principal": job.columns["submitted_by"], "key": job.columns["key"]})
        # A scheduled job draws no number yet, but it is not to miss that its scope becomes another one meanwhile.
        numbered = job.columns["run_at"] is None
        locks += [
            {"place": place, "scope": scope, "exclusive": exclusive and numbered}
            for scope, exclusive in job.scopes.items()
        ]
    return json.dumps(locks)


def _insertion(job: JobRow, row: Any) -> Insertion:
    if row[4] is not None:
        return Insertion(obstacle=Obstacle.HELD, held=(row[4], row[5]))
    if row[1] is not None:
        return Insertion(obstacle=Obstacle[row[1].upper()])
    if row[2] or row[3]:
        return Insertion(obstacle=Obstacle.MOVED if row[2] else Obstacle.IDLE)
    if len(row) == 6:
        return Insertion()
    if row[6] is None:
        # Somebody took the key without its lock: a process of the release before.
        return Insertion(obstacle=Obstacle.KEY)
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
    connection.exec_driver_sql(WAIT_FOR_KEY, {"principal": principal, "key": key})
    return find_key(connection, principal, key, hours)


def keep_key(connection: Connection, principal: str, key: str, body_hash: str, job_id: uuid.UUID) -> None:
    """Note the job of the request that has the key; call it while ``hold_key`` keeps others away."""
    values = {"principal": principal, "key": key, "body_hash": body_hash, "job_id": str(job_id)}
    connection.exec_driver_sql(_KEEP_KEY, values)


def unfinished_in_scope(connection: Connection, scope: str) -> bool:
    return bool(connection.exec_driver_sql(_UNFINISHED, {"scope": scope}).scalar())


def now(connection: Connection) -> datetime:
    """Return the time by Postgres' clock, which all times are compared with."""
    found: datetime = connection.exec_driver_sql(_NOW).scalar_one()
    return found
