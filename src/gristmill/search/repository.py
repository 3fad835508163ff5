"""SQL of the segment catalogue. Statements are constants; values are always bound."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.core.database import DATA_SCHEMA
from gristmill.kit.identifiers import quote

# The lock that a builder holds for as long as its backend lives. Its text differs from every scope of a job, whose
# locks are made the same way.
LOCK_KEY = "hashtextextended('gristmill index build ' || %(dataset_id)s, 0)"

_COLUMNS = "id, dataset_id, lo, hi, index_name, state, rows, job_id, built_at"
_READY = "SELECT lo, hi FROM gristmill.segments WHERE dataset_id = %(dataset_id)s AND state = 'ready' ORDER BY lo"
_ALL = f"SELECT {_COLUMNS} FROM gristmill.segments WHERE dataset_id = %(dataset_id)s ORDER BY lo, id"  # noqa: S608 - constants
_INSERT = f"""
WITH drawn AS (SELECT nextval(pg_get_serial_sequence('gristmill.segments', 'id')) AS id)
INSERT INTO gristmill.segments (id, dataset_id, lo, hi, index_name, state, job_id)
SELECT id, %(dataset_id)s, %(lo)s, %(hi)s, %(table)s || '__seg' || id, 'building', %(job_id)s FROM drawn
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants
_FINISH = """
UPDATE gristmill.segments SET state = %(state)s, rows = %(rows)s, built_at = now()
WHERE id = %(id)s AND state = 'building'
"""
_ABSORB = """
UPDATE gristmill.segments s SET state = 'dropping' FROM gristmill.segments mine
WHERE mine.id = %(id)s AND s.dataset_id = mine.dataset_id AND s.id <> mine.id AND s.state = 'ready'
    AND s.lo >= mine.lo AND s.hi <= mine.hi
"""
# A rebuild ends here: everything that it built becomes ready at once, in place of everything that was.
_REPLACE = """
UPDATE gristmill.segments SET state = 'dropping'
WHERE dataset_id = %(dataset_id)s AND state = 'ready' AND lo < %(end)s
"""
_SWAP = """
UPDATE gristmill.segments SET state = 'ready'
WHERE dataset_id = %(dataset_id)s AND state = 'built' AND job_id = %(job_id)s
"""
_RETIRE = """
UPDATE gristmill.segments SET state = 'dropping'
WHERE dataset_id = %(dataset_id)s AND state = 'ready' AND lo >= %(lo)s AND hi <= %(hi)s
"""
_GIVE_UP = "UPDATE gristmill.segments SET state = 'dropping' WHERE id = %(id)s AND state IN ('building', 'built')"
_DELETE = "DELETE FROM gristmill.segments WHERE id = %(id)s"
_DELETE_ALL = "DELETE FROM gristmill.segments WHERE dataset_id = %(dataset_id)s"
_VALID = """
SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = to_regnamespace('data') AND c.relname = %(name)s
"""
_LAST_ID = """
SELECT pg_sequence_last_value(pg_get_serial_sequence(%(table)s, '_id')::regclass)
"""
# Indexes of the table that are named like segments, and that no segment knows.
_ORPHANS = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%(table)s) AND c.relname ~ '__seg[0-9]+$'
    AND NOT EXISTS (SELECT FROM gristmill.segments s WHERE s.index_name = c.relname)
"""
_LEFTOVERS = "SELECT DISTINCT dataset_id FROM gristmill.segments WHERE state <> 'ready'"
# Rows that were replaced or deleted since Postgres' statistics began: tells that segments may hold dead ones.
_CHANGES = """
SELECT coalesce(n_tup_upd + n_tup_del, 0) FROM pg_stat_user_tables WHERE relid = to_regclass(%(table)s)
"""
# Records that jobs of the dataset still have to write.
_PENDING = """
SELECT coalesce(sum(records_total - records_succeeded - records_rejected - records_superseded), 0)::bigint
FROM gristmill.jobs WHERE scope = %(scope)s AND finished_at IS NULL AND state <> 'scheduled'
"""
_FACTS = """
SELECT c.relname AS name, pg_relation_size(c.oid) AS bytes, coalesce(
    (SELECT json_object_agg(option_name, option_value::int) FROM pg_options_to_table(c.reloptions)), '{}') AS parameters
FROM pg_class c WHERE c.relnamespace = to_regnamespace('data') AND c.relname = ANY(%(names)s)
"""
_FAILURES = """
SELECT j.id, j.type, j.state, e.error ->> 'code' AS code, e.error ->> 'detail' AS detail
FROM gristmill.jobs j, LATERAL (SELECT coalesce(
    j.error, (SELECT c.error FROM gristmill.chunks c WHERE c.job_id = j.id AND c.error IS NOT NULL LIMIT 1)) AS error) e
WHERE j.dataset = %(dataset)s AND j.scope = %(scope)s AND e.error IS NOT NULL
ORDER BY j.id DESC LIMIT %(limit)s
"""
_CACHE_PAGES = "SELECT setting FROM pg_settings WHERE name = 'effective_cache_size'"
_HELD = "SELECT hold FROM gristmill.index_settings WHERE dataset_id = %(dataset_id)s"
_SET_HOLD = """
INSERT INTO gristmill.index_settings (dataset_id, hold, changed_by) VALUES (%(dataset_id)s, %(hold)s, %(principal)s)
ON CONFLICT (dataset_id) DO UPDATE SET hold = EXCLUDED.hold, changed_by = EXCLUDED.changed_by, changed_at = now()
"""
_DATASET = """
SELECT name, state, contract -> 'embedding' AS embedding FROM gristmill.datasets WHERE id = %(dataset_id)s
"""
_SEARCHABLE = """
SELECT d.id, d.name, coalesce(max(s.hi), 1) AS sealed_to, coalesce(sum(s.id), 0)::bigint AS signature,
    coalesce(h.hold, false) AS hold
FROM gristmill.datasets d LEFT JOIN gristmill.index_settings h ON h.dataset_id = d.id
    LEFT JOIN gristmill.segments s ON s.dataset_id = d.id AND s.state = 'ready'
WHERE d.state = 'ready' AND d.contract -> 'embedding' IS NOT NULL
GROUP BY d.id, d.name, h.hold
"""
# The holder of the lock is the builder's own backend; a bigint lock shows up split into two halves.
_CANCEL = f"""
SELECT pg_cancel_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) = {LOCK_KEY}
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Segment:
    """A row of the catalogue: the records with ``lo <= _id < hi``."""

    id: int
    dataset_id: uuid.UUID
    lo: int
    hi: int
    index_name: str
    state: str
    rows: int
    job_id: uuid.UUID | None = None
    built_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Searchable:
    """A dataset with an embedding, as the builder sees it."""

    name: str
    state: str
    metric: str
    dimensions: int
    storage: str = "vector"


def ready_ranges(connection: Connection, dataset_id: uuid.UUID) -> tuple[tuple[int, int], ...]:
    """Return (lo, hi) of every ready segment, in order."""
    rows = connection.exec_driver_sql(_READY, {"dataset_id": str(dataset_id)})
    return tuple((row[0], row[1]) for row in rows)


def all_segments(connection: Connection, dataset_id: uuid.UUID) -> list[Segment]:
    rows = connection.exec_driver_sql(_ALL, {"dataset_id": str(dataset_id)})
    return [_segment(row) for row in rows]


def insert_building(
    connection: Connection, dataset_id: uuid.UUID, table: str, lo: int, hi: int, job_id: uuid.UUID
) -> Segment:
    """Add a segment in the state ``building``; its index is named after the table and the segment's id."""
    values = {"dataset_id": str(dataset_id), "table": table, "lo": lo, "hi": hi, "job_id": str(job_id)}
    return _segment(connection.exec_driver_sql(_INSERT, values).one())


def finish(connection: Connection, segment_id: int, rows: int) -> bool:
    """Make the segment ready in place of those within its range; False if it is gone, with its dataset."""
    connection.exec_driver_sql(_ABSORB, {"id": segment_id})
    return bool(connection.exec_driver_sql(_FINISH, {"id": segment_id, "rows": rows, "state": "ready"}).rowcount)


def finish_part(connection: Connection, segment_id: int, rows: int) -> bool:
    """Note that the segment's index is complete and waits for the other parts of a rebuild; False if it is gone."""
    return bool(connection.exec_driver_sql(_FINISH, {"id": segment_id, "rows": rows, "state": "built"}).rowcount)


def swap(connection: Connection, dataset_id: uuid.UUID, job_id: uuid.UUID, end: int) -> int:
    """Make what the job has built ready in place of every segment before ``end``; return how many became ready."""
    connection.exec_driver_sql(_REPLACE, {"dataset_id": str(dataset_id), "end": end})
    return connection.exec_driver_sql(_SWAP, {"dataset_id": str(dataset_id), "job_id": str(job_id)}).rowcount


def retire(connection: Connection, dataset_id: uuid.UUID, lo: int, hi: int) -> None:
    """Give up the ready segments within [lo, hi): their records are compared one by one from now on."""
    connection.exec_driver_sql(_RETIRE, {"dataset_id": str(dataset_id), "lo": lo, "hi": hi})


def give_up(connection: Connection, segment_id: int) -> None:
    """Leave a segment that was not finished, and its index, to be removed by the next build."""
    connection.exec_driver_sql(_GIVE_UP, {"id": segment_id})


def delete(connection: Connection, segment_id: int) -> None:
    connection.exec_driver_sql(_DELETE, {"id": segment_id})


def delete_all(connection: Connection, dataset_id: uuid.UUID) -> None:
    connection.exec_driver_sql(_DELETE_ALL, {"dataset_id": str(dataset_id)})


def cancel_builders(connection: Connection, dataset_id: uuid.UUID) -> int:
    """Cancel the statement of whoever builds an index of this dataset; return how many that were."""
    return len(connection.exec_driver_sql(_CANCEL, {"dataset_id": str(dataset_id)}).all())


def index_is_valid(connection: Connection, name: str) -> bool | None:
    """Say whether the index is complete; None if there is none of that name."""
    found: bool | None = connection.exec_driver_sql(_VALID, {"name": name}).scalar()
    return found


def find_searchable(connection: Connection, dataset_id: uuid.UUID) -> Searchable | None:
    """Return what the builder needs to know of a dataset; None if there is none, or it has no embedding."""
    row = connection.exec_driver_sql(_DATASET, {"dataset_id": str(dataset_id)}).first()
    if row is None or row.embedding is None:
        return None
    embedding = row.embedding
    return Searchable(
        row.name, row.state, embedding["metric"], embedding["dimensions"], embedding.get("storage", "vector")
    )


def searchable_datasets(connection: Connection) -> list[Any]:
    """Return (id, name, sealed_to, signature, hold) of every ready dataset with an embedding.

    sealed_to: first _id of the tail; signature: changes with every ready segment; hold: its builds are held back.
    """
    return list(connection.exec_driver_sql(_SEARCHABLE))


def count_records(connection: Connection, table: str, lo: int, hi: int | None = None, limit: int | None = None) -> int:
    """Count the records with ``lo <= _id < hi``, by the index on ``_id`` alone; stop at ``limit``."""
    column = sa.column("_id", sa.BigInteger)
    picked = sa.select(sa.literal(1)).select_from(sa.table(table, column, schema=DATA_SCHEMA)).where(column >= lo)
    if hi is not None:
        picked = picked.where(column < hi)
    counted = picked.limit(limit).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(counted)).scalar_one())


def id_after(connection: Connection, table: str, start: int, rows: int) -> int | None:
    """Return the ``_id`` of the record after the first ``rows`` from ``start`` on; None if there are no more."""
    column = sa.column("_id", sa.BigInteger)
    picked = sa.select(column).select_from(sa.table(table, column, schema=DATA_SCHEMA)).where(column >= start)
    found: int | None = connection.execute(picked.order_by(column).offset(rows).limit(1)).scalar()
    return found


def orphans(connection: Connection, table: str) -> list[str]:
    """Return the names of indexes that look like segments of the table and that the catalogue does not know."""
    return [row[0] for row in connection.exec_driver_sql(_ORPHANS, {"table": _qualified(table)})]


def leftovers(connection: Connection) -> set[uuid.UUID]:
    """Return the datasets with segments that are being built, or that wait to be removed."""
    return {uuid.UUID(str(row[0])) for row in connection.exec_driver_sql(_LEFTOVERS)}


def changes(connection: Connection, table: str) -> int:
    """Return how many records of the table were replaced or deleted, as far as Postgres has counted."""
    return int(connection.exec_driver_sql(_CHANGES, {"table": _qualified(table)}).scalar() or 0)


def pending_records(connection: Connection, scope: str) -> int:
    """Return how many records the unfinished jobs of a dataset's scope still have to write."""
    return int(connection.exec_driver_sql(_PENDING, {"scope": scope}).scalar_one())


def take_time(connection: Connection) -> None:
    """Lift the time limit of statements for this transaction: counting a very large table takes longer."""
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def cache_mb(connection: Connection) -> int:
    """Return the memory that Postgres is told to have for files, its own and the system's (effective_cache_size)."""
    return int(connection.exec_driver_sql(_CACHE_PAGES).scalar_one()) * 8 // 1024


def index_facts(connection: Connection, names: list[str]) -> list[Any]:
    """Return (name, bytes, parameters) of those of the indexes that exist."""
    return list(connection.exec_driver_sql(_FACTS, {"names": names}))


def failures(connection: Connection, scope: str, dataset: str, limit: int) -> list[dict[str, Any]]:
    """Return the last jobs of a scope that failed or were tried again, newest first: job, type, state, error, at."""
    values = {"scope": scope, "dataset": dataset, "limit": limit}
    return [
        {"job": str(row.id), "type": row.type, "state": row.state, "code": row.code, "detail": row.detail}
        for row in connection.exec_driver_sql(_FAILURES, values)
    ]


def is_held(connection: Connection, dataset_id: uuid.UUID) -> bool:
    """Say whether the dataset's builds are held back."""
    return bool(connection.exec_driver_sql(_HELD, {"dataset_id": str(dataset_id)}).scalar())


def set_hold(connection: Connection, dataset_id: uuid.UUID, hold: bool, principal: str) -> None:
    values = {"dataset_id": str(dataset_id), "hold": hold, "principal": principal}
    connection.exec_driver_sql(_SET_HOLD, values)


def highest_id(connection: Connection, table: str) -> int:
    """Return the highest ``_id`` that is visible now; 0 in an empty table."""
    column = sa.column("_id", sa.BigInteger)
    highest = sa.select(sa.func.max(column)).select_from(sa.table(table, column, schema=DATA_SCHEMA))
    return connection.execute(highest).scalar() or 0


def last_drawn_id(connection: Connection, table: str) -> int:
    """Return the last ``_id`` that any transaction has drawn, committed or not; 0 if none was."""
    drawn: int | None = connection.exec_driver_sql(_LAST_ID, {"table": _qualified(table)}).scalar()
    return drawn or 0


def _qualified(table: str) -> str:
    return f"{quote(DATA_SCHEMA)}.{quote(table)}"


def _segment(row: Any) -> Segment:
    return Segment(row[0], uuid.UUID(str(row[1])), *row[2:])
