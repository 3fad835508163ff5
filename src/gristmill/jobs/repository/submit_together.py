"""SQL of many small submissions at once: one statement, one commit, a job for each."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute

# The scope's lock is only tried: whoever holds it, or waits for it, must not hold up everybody in the batch. Sent in
# one message, both statements are one transaction, and the second one looks at the data after the lock was taken.
_TRY_LOCK = """
SELECT set_config('gristmill.locked', pg_try_advisory_xact_lock_shared(hashtextextended(%(scope)s, 0))::text, true)
"""
_INSERT = """
WITH given AS (
    SELECT * FROM unnest(%(ids)s, %(priorities)s, %(labels)s, %(submitted_by)s, %(request_ids)s, %(traceparents)s,
        %(firsts)s, %(records)s, %(payloads)s)
        AS g (id, priority, labels, submitted_by, request_id, traceparent, first_record, records, payload)
    WHERE current_setting('gristmill.locked') = 'true' AND ({guard})
), job AS (
    INSERT INTO gristmill.jobs (id, seq, type, scope, exclusive, dataset, state, queue, priority, args, labels,
        submitted_by, request_id, traceparent, max_attempts, chunks_total, records_total)
    SELECT id, nextval('gristmill.job_number'), %(type)s, %(scope)s, false, %(dataset)s, 'queued', %(queue)s, priority,
        %(args)s, labels, submitted_by, request_id, traceparent, %(max_attempts)s, 1, records
    FROM given RETURNING *
), chunk AS (
    INSERT INTO gristmill.chunks (job_id, number, state, queue, priority, seq, first_record, records, shares)
    SELECT id, 0, 'waiting', queue, job.priority, seq, given.first_record, given.records, true
    FROM job JOIN given USING (id)
), payload AS (
    INSERT INTO gristmill.payloads (job_id, number, bytes, data)
    SELECT id, 0, octet_length(payload), payload FROM given
)
SELECT job.*, 0 AS attempt, 0 AS under_way, NULL::uuid[] AS retried_by FROM job
"""
_TYPES = {
    "ids": "uuid[]",
    "priorities": "smallint[]",
    "labels": "jsonb[]",
    "submitted_by": "text[]",
    "request_ids": "text[]",
    "traceparents": "text[]",
    "firsts": "bigint[]",
    "records": "bigint[]",
    "payloads": "bytea[]",
    "scope": "text",
    "type": "text",
    "dataset": "text",
    "queue": "text",
    "args": "jsonb",
    "max_attempts": "smallint",
}
_LOCK = Prepared(_TRY_LOCK, scope="text")


@dataclass(frozen=True, slots=True)
class SmallJob:
    """What differs between the jobs of one batch."""

    id: uuid.UUID
    priority: int
    labels: dict[str, str]
    submitted_by: str
    request_id: str
    traceparent: str | None
    first_record: int
    records: int
    payload: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Kind:
    """What is the same in all jobs of one batch. ``args``: JSON."""

    type: str
    scope: str
    dataset: str | None
    queue: str
    max_attempts: int
    args: str


class Guard:
    """A condition, in SQL, under which jobs may be submitted; asked once the scope's lock is held.

    sql: with named parameters, as for ``Prepared``, whose ``types`` follow. The names must not be those used here.
    """

    def __init__(self, sql: str, **types: str) -> None:
        # The condition is a constant of the domain that asks.
        self.insert = Prepared(_INSERT.format(guard=sql), **_TYPES, **types)


def insert_together(
    connection: Connection, kind: Kind, jobs: Sequence[SmallJob], guard: Guard, parameters: dict[str, Any]
) -> dict[uuid.UUID, dict[str, Any]]:
    """Submit the jobs in one commit of ``connection``, which is in autocommit mode; return their rows by id.

    Returns none, and submits nothing, when the guard says no or an exclusive job of the scope is being submitted.
    """
    rows = execute(
        connection,
        {
            "ids": [str(job.id) for job in jobs],
            "priorities": [job.priority for job in jobs],
            "labels": [json.dumps(job.labels) for job in jobs],
            "submitted_by": [job.submitted_by for job in jobs],
            "request_ids": [job.request_id for job in jobs],
            "traceparents": [job.traceparent for job in jobs],
            "firsts": [job.first_record for job in jobs],
            "records": [job.records for job in jobs],
            "payloads": [psycopg2.Binary(job.payload) for job in jobs],
            "scope": kind.scope,
            "type": kind.type,
            "dataset": kind.dataset,
            "queue": kind.queue,
            "args": kind.args,
            "max_attempts": kind.max_attempts,
            **parameters,
        },
        _LOCK,
        guard.insert,
    )
    return {row["id"]: dict(row) for row in rows.mappings()}
