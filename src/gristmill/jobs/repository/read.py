"""SQL of reading jobs: one by id, pages by filters, the counts for limits and metrics."""

import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute
from gristmill.jobs.tables import jobs

# By name: a column that a migration adds must not change what a statement returns that was prepared before it.
_COLUMNS = f"""
SELECT {", ".join(f"j.{column.name}" for column in jobs.columns)},
    (SELECT coalesce(max(c.attempts), 0) FROM gristmill.chunks c WHERE c.job_id = j.id) AS attempt,
    (SELECT coalesce(sum(l.progress), 0) FROM gristmill.leases l WHERE l.job_id = j.id) AS under_way,
    CASE WHEN j.records_rejected > 0 THEN ARRAY(
        SELECT r.id FROM gristmill.jobs r WHERE r.retry_of = j.id ORDER BY r.id DESC LIMIT 100) END AS retried_by
FROM gristmill.jobs j
"""  # noqa: S608 - names of columns
_GET_JOBS = Prepared(_COLUMNS + "WHERE j.id = ANY(%(ids)s)", ids="uuid[]")
_ORDER = " ORDER BY j.id DESC LIMIT %(limit)s"
_FILTERS = {
    "state": "j.state = ANY(%(state)s)",
    "type": "j.type = %(type)s",
    "dataset": "j.dataset = %(dataset)s",
    "labels": "j.labels @> %(labels)s::jsonb",
    "created_after": "j.created_at > %(created_after)s",
    "before": "j.id < %(before)s",
}
_EXISTING = "SELECT id FROM gristmill.jobs WHERE id = ANY(%(ids)s::uuid[])"
# Those that are not among the jobs any more, or that ended without having been carried out.
_IN_VAIN = """
SELECT w.id, j.error FROM unnest(%(ids)s::uuid[]) AS w (id) LEFT JOIN gristmill.jobs j ON j.id = w.id
WHERE j.id IS NULL OR j.state IN ('failed', 'cancelled')
"""
_FAILED_BEFORE = """
SELECT EXISTS (SELECT FROM gristmill.chunks WHERE job_id = %(job_id)s AND number < %(number)s AND state = 'failed')
"""
# The index has those that ended, whatever their end: few of them did not succeed.
_NEWEST_BATCH = """
SELECT id, seq, records_succeeded, result, finished_at FROM gristmill.jobs
WHERE scope = %(scope)s AND finished_at IS NOT NULL AND type IN ('records.ingest', 'records.merge')
    AND state = 'succeeded' AND args ->> 'dataset_id' = %(dataset_id)s
    AND (%(id)s::uuid IS NULL OR id = %(id)s::uuid)
ORDER BY seq DESC LIMIT 1
"""
_QUEUED = "SELECT count(*) FROM gristmill.jobs WHERE finished_at IS NULL"
_STAGED = "SELECT coalesce(sum(bytes), 0)::bigint FROM gristmill.payloads"
_LIVE_CHUNKS = """
SELECT queue, state, count(*), coalesce(extract(epoch FROM clock_timestamp()
    - min(run_at) FILTER (WHERE run_at <= clock_timestamp())), 0)::float
FROM gristmill.chunks WHERE state IN ('waiting', 'sent', 'running') GROUP BY queue, state
"""
_OLDEST_BEAT = """
SELECT kind, coalesce(queue, ''), count(*), coalesce(sum(slots), 0) FROM gristmill.processes
WHERE beat_at > now() - interval '60 seconds' GROUP BY 1, 2
"""

_LAST_FAILED = """
SELECT f.args FROM gristmill.jobs AS f
WHERE f.chunks_failed > 0 AND f.state = 'failed' AND f.type = %(type)s AND f.exclusive AND NOT EXISTS (
    SELECT FROM gristmill.jobs AS l WHERE l.scope = f.scope AND l.exclusive AND l.seq > f.seq)
ORDER BY f.id
"""
_UNFINISHED = "SELECT id FROM gristmill.jobs WHERE id = ANY (%(ids)s::uuid[]) AND finished_at IS NULL"


def newest_batch(
    connection: Connection, scope: str, dataset_id: uuid.UUID, job_id: uuid.UUID | None = None
) -> dict[str, Any] | None:
    """Return the succeeded job with the highest number that brought records to a dataset, or None.

    job_id: that job, if it is one of these.
    """
    given = None if job_id is None else str(job_id)
    parameters = {"scope": scope, "dataset_id": str(dataset_id), "id": given}
    row = connection.exec_driver_sql(_NEWEST_BATCH, parameters).mappings().first()
    return None if row is None else dict(row)


def get_job(connection: Connection, job_id: uuid.UUID) -> dict[str, Any] | None:
    return next(iter(get_jobs(connection, [job_id])), None)


def get_jobs(connection: Connection, job_ids: Sequence[uuid.UUID]) -> list[dict[str, Any]]:
    """Return those of the jobs that there are, in any order."""
    rows = execute(connection, {"ids": [str(job_id) for job_id in job_ids]}, _GET_JOBS)
    return [dict(row) for row in rows.mappings()]


def list_jobs(
    connection: Connection,
    *,
    state: list[str] | None,
    type_: str | None,
    dataset: str | None,
    labels: dict[str, str],
    created_after: datetime | None,
    before: uuid.UUID | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return jobs, newest first, that satisfy every given filter."""
    parameters: dict[str, Any] = {
        "state": state,
        "type": type_,
        "dataset": dataset,
        "labels": json.dumps(labels) if labels else None,
        "created_after": created_after,
        "before": str(before) if before else None,
    }
    conditions = [sql for name, sql in _FILTERS.items() if parameters[name] is not None]
    where = "WHERE " + " AND ".join(conditions) if conditions else ""
    rows = connection.exec_driver_sql(_COLUMNS + where + _ORDER, {**parameters, "limit": limit})
    return [dict(row) for row in rows.mappings()]


def existing(connection: Connection, job_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the ids that are ids of jobs."""
    return set(connection.exec_driver_sql(_EXISTING, {"ids": [str(id_) for id_ in job_ids]}).scalars())


def in_vain(connection: Connection, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, Any] | None]:
    """Return those of the ids whose job failed, was cancelled or is forgotten, each with the job's error."""
    rows = connection.exec_driver_sql(_IN_VAIN, {"ids": [str(id_) for id_ in job_ids]})
    return {row[0]: row[1] for row in rows}


def failed_before(connection: Connection, job_id: uuid.UUID, number: int) -> bool:
    """Say whether a chunk of the job before that one has failed."""
    return bool(connection.exec_driver_sql(_FAILED_BEFORE, {"job_id": str(job_id), "number": number}).scalar())


def list_last_failed(connection: Connection, type_: str) -> list[dict[str, Any]]:
    """Return the arguments of the exclusive jobs of a type that have failed and were the last one of their scope."""
    return [row[0] for row in connection.exec_driver_sql(_LAST_FAILED, {"type": type_})]


def count_queued(connection: Connection) -> int:
    return int(connection.exec_driver_sql(_QUEUED).scalar_one())


def sum_staged_bytes(connection: Connection) -> int:
    return int(connection.exec_driver_sql(_STAGED).scalar_one())


def live_chunks(connection: Connection) -> list[tuple[str, str, int, float]]:
    """Return (queue, state, count, age in seconds of the oldest due one) for live chunks."""
    return [(row[0], row[1], row[2], row[3]) for row in connection.exec_driver_sql(_LIVE_CHUNKS)]


def live_processes(connection: Connection) -> list[tuple[str, str, int, int]]:
    """Return (kind, queue, processes, slots) of what has beaten within the last minute."""
    return [(row[0], row[1], row[2], row[3]) for row in connection.exec_driver_sql(_OLDEST_BEAT)]


def unfinished(connection: Connection, job_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the jobs that have not ended."""
    if not job_ids:
        return set()
    return set(connection.exec_driver_sql(_UNFINISHED, {"ids": [str(one) for one in job_ids]}).scalars())
