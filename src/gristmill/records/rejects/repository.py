"""SQL of rejects: stored by COPY, read in short keyset reads bounded in rows and bytes, deleted after their job."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gristmill.core.copy import copy_rows
from gristmill.jobs.repository import read
from gristmill.records.reject import Reject
from gristmill.records.rejects.spool import COLUMNS, copy_row, copy_start

_COPY = f"COPY gristmill.rejects ({COLUMNS}) FROM STDIN (FORMAT binary)"
# The first row is given whatever its size; those after it only as long as all of them together stay below the bound.
# The lengths are known without reading what is stored out of line.
_PAGE = """
SELECT record, line, raw, errors, errors_total FROM (
    SELECT *, sum(octet_length(raw) + octet_length(errors::text)) OVER (ORDER BY record) AS so_far,
        row_number() OVER (ORDER BY record) AS place
    FROM (
        SELECT record, line, raw, errors, errors_total FROM gristmill.rejects
        WHERE job_id = %(job_id)s AND record > %(after)s ORDER BY record LIMIT %(rows)s
    ) AS next_ones
) AS counted
WHERE so_far <= %(bytes)s OR place = 1 ORDER BY record
"""
# A loose index scan: one probe for each job that has rejects.
_NEXT_JOBS = """
WITH RECURSIVE walk AS (
    (SELECT job_id, 1 AS place FROM gristmill.rejects WHERE job_id > %(after)s ORDER BY job_id LIMIT 1)
    UNION ALL
    SELECT next.job_id, walk.place + 1 FROM walk, LATERAL (
        SELECT r.job_id FROM gristmill.rejects r WHERE r.job_id > walk.job_id ORDER BY r.job_id LIMIT 1) AS next
    WHERE walk.place < %(jobs)s
)
SELECT job_id FROM walk ORDER BY job_id
"""
_FORGET = """
DELETE FROM gristmill.rejects WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM gristmill.rejects WHERE job_id = %(job_id)s LIMIT %(rows)s))
"""


@dataclass(frozen=True, slots=True)
class StoredReject:
    """A row of the table. errors: violations as JSON objects, at most twenty; errors_total counts all."""

    record: int
    line: int | None
    raw: bytes
    errors: list[dict[str, Any]]
    errors_total: int


@dataclass(frozen=True, slots=True)
class RejectingJob:
    """What is known of the job whose rejects are asked for."""

    id: uuid.UUID
    dataset: str | None
    args: dict[str, Any]
    rejected: int


def store(connection: Connection, rows: Iterable[Sequence[bytes]]) -> None:
    """Insert rejects. rows: from ``RejectSpool.copy_data``."""
    copy_rows(connection, _COPY, rows)


def store_rejects(connection: Connection, job_id: uuid.UUID, rejects: Sequence[Reject]) -> None:
    """Insert the rejects of a chunk."""
    if rejects:
        start = copy_start(job_id)
        store(connection, ((start, copy_row(reject)) for reject in rejects))


def find_job(connection: Connection, job_id: uuid.UUID) -> RejectingJob | None:
    job = read.get_job(connection, job_id)
    return None if job is None else RejectingJob(job["id"], job["dataset"], job["args"], job["records_rejected"])


def page(connection: Connection, job_id: uuid.UUID, after: int, rows: int, max_bytes: int) -> Sequence[StoredReject]:
    """Return the rejects after record ``after``: at most ``rows``, and of more than one at most ``max_bytes``."""
    parameters = {"job_id": str(job_id), "after": after, "rows": rows, "bytes": max_bytes}
    found = connection.exec_driver_sql(_PAGE, parameters)
    return [StoredReject(row[0], row[1], bytes(row[2]), row[3], row[4]) for row in found]


def next_jobs(connection: Connection, after: uuid.UUID, jobs: int) -> list[tuple[uuid.UUID, bool]]:
    """Return the ids, after ``after``, of jobs that have rejects, and whether the job itself is still there."""
    found = list(connection.exec_driver_sql(_NEXT_JOBS, {"after": str(after), "jobs": jobs}).scalars())
    # Asked after: a job is there as soon as its rejects are.
    there = read.existing(connection, found)
    return [(job_id, job_id in there) for job_id in found]


def forget(connection: Connection, job_id: uuid.UUID, rows: int) -> int:
    """Delete up to ``rows`` rejects of a job; return how many."""
    return connection.exec_driver_sql(_FORGET, {"job_id": str(job_id), "rows": rows}).rowcount
