"""SQL of a submission: idempotency keys, payloads, and the number drawn last under the scope's advisory lock."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

import psycopg2
from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute
from gristmill.jobs.repository.read import GET_JOB

# The number must be drawn while the scope's lock is held, so these statements run in this order, in one round trip.
_LOCK = {
    exclusive: f"SELECT pg_advisory_xact_lock{mode}(hashtextextended(%(scope)s, 0))"
    for exclusive, mode in ((True, ""), (False, "_shared"))
}
_JOB = """
INSERT INTO gristmill.jobs (id, seq, type, scope, exclusive, dataset, state, queue, priority, args, labels,
    submitted_by, request_id, traceparent, retry_of, max_attempts, chunks_total, records_total, records_rejected,
    run_at)
VALUES (%(id)s, {seq}, %(type)s, %(scope)s, %(exclusive)s, %(dataset)s, %(state)s, %(queue)s, %(priority)s, %(args)s,
    %(labels)s, %(submitted_by)s, %(request_id)s, %(traceparent)s, %(retry_of)s, %(max_attempts)s,
    %(chunks_total)s, %(records_total)s, %(records_rejected)s, coalesce(%(run_at)s, now()))
"""
_CHUNKS = """
INSERT INTO gristmill.chunks (job_id, number, state, queue, priority, seq, run_at, first_record, records, shares)
SELECT %(id)s, c.place - 1, 'waiting', %(queue)s, %(priority)s, {seq}, coalesce(%(run_at)s, now()), c.first, c.records,
    %(shares)s
FROM unnest(%(first)s, %(records)s) WITH ORDINALITY AS c (first, records, place)
"""
_TYPES = {
    "id": "uuid",
    "type": "text",
    "scope": "text",
    "exclusive": "boolean",
    "dataset": "text",
    "state": "text",
    "queue": "text",
    "priority": "smallint",
    "args": "jsonb",
    "labels": "jsonb",
    "submitted_by": "text",
    "request_id": "text",
    "traceparent": "text",
    "retry_of": "uuid",
    "max_attempts": "smallint",
    "chunks_total": "int",
    "records_total": "bigint",
    "records_rejected": "bigint",
    "run_at": "timestamptz",
    "shares": "boolean",
    "first": "bigint[]",
    "records": "bigint[]",
}
# By whether the job is scheduled: it then has no number yet.
_INSERT_JOB = {
    False: Prepared(_JOB.format(seq="nextval('gristmill.job_number')"), **_TYPES),
    True: Prepared(_JOB.format(seq="NULL"), **_TYPES),
}
_INSERT_CHUNKS = {
    False: Prepared(_CHUNKS.format(seq="currval('gristmill.job_number')"), **_TYPES),
    True: Prepared(_CHUNKS.format(seq="NULL"), **_TYPES),
}
_INSERT_PAYLOAD = Prepared(
    """
INSERT INTO gristmill.payloads (job_id, number, bytes, data)
VALUES (%(id)s, %(number)s, octet_length(%(payload)s), %(payload)s)
""",
    id="uuid",
    number="int",
    payload="bytea",
)

_FIND_KEY = """
SELECT job_id, body_hash FROM gristmill.idempotency_keys
WHERE principal = %(principal)s AND key = %(key)s AND created_at > now() - %(hours)s * interval '1 hour'
"""
_TAKE_KEY = """
INSERT INTO gristmill.idempotency_keys AS k (principal, key, body_hash, job_id)
VALUES (%(principal)s, %(key)s, %(body_hash)s, %(job_id)s)
ON CONFLICT (principal, key) DO UPDATE
    SET body_hash = EXCLUDED.body_hash, job_id = EXCLUDED.job_id, created_at = now()
    WHERE k.created_at <= now() - %(hours)s * interval '1 hour'
RETURNING job_id
"""
_UNFINISHED = """
SELECT EXISTS (SELECT FROM gristmill.jobs WHERE scope = %(scope)s AND finished_at IS NULL)
"""


def insert_job(
    connection: Connection,
    values: dict[str, Any],
    chunks: Sequence[tuple[int, int]],
    payload: bytes | memoryview | None,
) -> dict[str, Any]:
    """Draw the number, insert the job and its chunks, and return the job as ``read.get_job`` would.

    payload: chunk 0's, when it was not staged before.
    """
    scheduled = values["state"] == "scheduled"
    statements: list[Prepared | str] = [] if scheduled else [_LOCK[values["exclusive"]]]
    statements += [_INSERT_JOB[scheduled], _INSERT_CHUNKS[scheduled]]
    if payload is not None:
        statements.append(_INSERT_PAYLOAD)
    parameters = {
        **values,
        "id": str(values["id"]),
        "args": json.dumps(values["args"]),
        "labels": json.dumps(values["labels"]),
        "first": [first for first, _ in chunks],
        "records": [records for _, records in chunks],
        "number": 0,
        "payload": None if payload is None else psycopg2.Binary(payload),
    }
    return dict(execute(connection, parameters, *statements, GET_JOB).mappings().one())


def find_key(connection: Connection, principal: str, key: str, hours: float) -> tuple[uuid.UUID, str] | None:
    """Return (job id, body hash) of the request that used the key first."""
    row = connection.exec_driver_sql(_FIND_KEY, {"principal": principal, "key": key, "hours": hours}).first()
    return None if row is None else (row[0], row[1])


def take_key(connection: Connection, principal: str, key: str, body_hash: str, job_id: uuid.UUID, hours: float) -> bool:
    """Claim the key for ``job_id``; waits for a concurrent request with the same key. False: somebody had it."""
    parameters = {"principal": principal, "key": key, "body_hash": body_hash, "job_id": str(job_id), "hours": hours}
    return connection.exec_driver_sql(_TAKE_KEY, parameters).first() is not None


def unfinished_in_scope(connection: Connection, scope: str) -> bool:
    return bool(connection.exec_driver_sql(_UNFINISHED, {"scope": scope}).scalar())
