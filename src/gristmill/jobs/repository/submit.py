"""SQL of a submission: idempotency keys, payloads, and the number drawn last under the scope's advisory lock."""

import contextlib
import io
import json
import struct
import uuid
from collections.abc import Sequence
from typing import Any

import psycopg2
from sqlalchemy import Connection

# The number must be drawn while the scope's lock is held, so the statements run in this order in one round trip.
_LOCK = "SELECT pg_advisory_xact_lock{mode}(hashtextextended(%(scope)s, 0));"
_JOB = """
INSERT INTO gristmill.jobs (id, seq, type, scope, exclusive, dataset, state, queue, priority, args, labels,
    submitted_by, request_id, traceparent, max_attempts, chunks_total, records_total, records_rejected, run_at)
VALUES (%(id)s, {seq}, %(type)s, %(scope)s, %(exclusive)s, %(dataset)s, %(state)s, %(queue)s, %(priority)s, %(args)s,
    %(labels)s, %(submitted_by)s, %(request_id)s, %(traceparent)s, %(max_attempts)s, %(chunks_total)s,
    %(records_total)s, %(records_rejected)s, coalesce(%(run_at)s, now()));
"""
_ONE_CHUNK = """
INSERT INTO gristmill.chunks (job_id, number, state, queue, priority, seq, run_at, first_record, records)
VALUES (%(id)s, 0, 'waiting', %(queue)s, %(priority)s, {seq}, coalesce(%(run_at)s, now()), %(first)s, %(records)s);
"""
_MANY_CHUNKS = """
INSERT INTO gristmill.chunks (job_id, number, state, queue, priority, seq, run_at, first_record, records)
SELECT %(id)s, c.place - 1, 'waiting', %(queue)s, %(priority)s, {seq}, coalesce(%(run_at)s, now()), c.first, c.records
FROM unnest(%(first)s::bigint[], %(records)s::bigint[]) WITH ORDINALITY AS c (first, records, place);
"""
_PAYLOAD = """
INSERT INTO gristmill.payloads (job_id, number, bytes, data)
VALUES (%(id)s, {number}, octet_length(%(payload)s), %(payload)s);
"""
_NEXT = "nextval('gristmill.job_number')"
_SAME = "currval('gristmill.job_number')"

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

# A payload above this goes by binary COPY: as a parameter it would be doubled by the hex form of bytea.
COPY_FROM_BYTES = 64 * 1024


def insert_job(
    connection: Connection, values: dict[str, Any], chunks: Sequence[tuple[int, int]], payload: bytes | None
) -> None:
    """Draw the number and insert the job and its chunks; ``payload`` is chunk 0's when it was not staged before."""
    scheduled = values["state"] == "scheduled"
    seq = "NULL" if scheduled else _SAME
    sql = "" if scheduled else _LOCK.format(mode="" if values["exclusive"] else "_shared")
    sql += _JOB.format(seq="NULL" if scheduled else _NEXT)
    if len(chunks) == 1:
        sql += _ONE_CHUNK.format(seq=seq)
        first: Any = chunks[0][0]
        records: Any = chunks[0][1]
    else:
        sql += _MANY_CHUNKS.format(seq=seq)
        first, records = [c[0] for c in chunks], [c[1] for c in chunks]
    if payload is not None:
        sql += _PAYLOAD.format(number=0)
    parameters = {
        **values,
        "id": str(values["id"]),
        "args": json.dumps(values["args"]),
        "labels": json.dumps(values["labels"]),
        "first": first,
        "records": records,
        "payload": None if payload is None else psycopg2.Binary(payload),
    }
    connection.exec_driver_sql(sql, parameters)


def stage_payload(connection: Connection, job_id: uuid.UUID, number: int, payload: bytes) -> None:
    """Insert one payload ahead of its job."""
    if len(payload) < COPY_FROM_BYTES:
        parameters = {"id": str(job_id), "payload": psycopg2.Binary(payload), "number": number}
        connection.exec_driver_sql(_PAYLOAD.format(number="%(number)s"), parameters)
        return
    head = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0) + struct.pack("!h", 4)
    fields = struct.pack("!i16s", 16, job_id.bytes) + struct.pack("!iiii", 4, number, 4, len(payload))
    data = head + fields + struct.pack("!i", len(payload)) + payload + struct.pack("!h", -1)
    with contextlib.closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(
            "COPY gristmill.payloads (job_id, number, bytes, data) FROM STDIN (FORMAT binary)", io.BytesIO(data)
        )


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
