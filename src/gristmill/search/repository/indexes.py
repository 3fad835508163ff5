"""SQL about indexes as Postgres' own catalogue has them: validity, sizes, what is being built and by whom."""

import uuid
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import data_relation
from gristmill.datasets.index_session import LOCK_KEY

_VALID = """
SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = to_regnamespace('data') AND c.relname = %(name)s
"""
_OF_SEGMENTS = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%(table)s) AND c.relname ~ '__seg[0-9]+$'
"""
# Those that no segment knows.
_ORPHANS = f"""{_OF_SEGMENTS}
    AND NOT EXISTS (SELECT FROM gristmill.segments s WHERE s.index_name = c.relname)
"""
_FACTS = """
SELECT c.relname AS name, pg_relation_size(c.oid) AS bytes, coalesce(
    (SELECT json_object_agg(option_name, option_value::int) FROM pg_options_to_table(c.reloptions)), '{}') AS parameters
FROM pg_class c WHERE c.relnamespace = to_regnamespace('data') AND c.relname = ANY(%(names)s)
"""
_CACHE_PAGES = "SELECT setting FROM pg_settings WHERE name = 'effective_cache_size'"
_PROGRESS = """
SELECT pid, phase, blocks_total, blocks_done, tuples_done, lockers_total, lockers_done
FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.index_relid
WHERE p.datid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND command LIKE 'CREATE%%'
    AND c.relname = %(name)s
"""
# The holder of the lock is the builder's own backend; a bigint lock shows up split into two halves.
_CANCEL = f"""
SELECT pg_cancel_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) = {LOCK_KEY}
"""  # noqa: S608 - constants


def cancel_builders(connection: Connection, dataset_id: uuid.UUID) -> int:
    """Cancel the statement of whoever builds an index of this dataset; return how many that were."""
    return len(connection.exec_driver_sql(_CANCEL, {"dataset_id": str(dataset_id)}).all())


def index_is_valid(connection: Connection, name: str) -> bool | None:
    """Say whether the index is complete; None if there is none of that name."""
    found: bool | None = connection.exec_driver_sql(_VALID, {"name": name}).scalar()
    return found


def orphans(connection: Connection, table: str) -> list[str]:
    """Return the names of indexes that look like segments of the table and that the catalogue does not know."""
    return [row[0] for row in connection.exec_driver_sql(_ORPHANS, {"table": data_relation(table)})]


def drop_all(connection: Connection, table: str) -> None:
    """Drop the indexes of all segments of a table, which the transaction has locked."""
    for (name,) in connection.exec_driver_sql(_OF_SEGMENTS, {"table": data_relation(table)}).all():
        connection.exec_driver_sql(f"DROP INDEX {data_relation(name)}")


def index_facts(connection: Connection, names: list[str]) -> list[Any]:
    """Return (name, bytes, parameters) of those of the indexes that exist."""
    return list(connection.exec_driver_sql(_FACTS, {"names": names}))


def cache_mb(connection: Connection) -> int:
    """Return the memory that Postgres is told to have for files, its own and the system's (effective_cache_size)."""
    return int(connection.exec_driver_sql(_CACHE_PAGES).scalar_one()) * 8 // 1024


def find_build(connection: Connection, name: str) -> Any:
    """Return a row of ``pg_stat_progress_create_index`` for the index of that name; None if it is not being built."""
    return connection.exec_driver_sql(_PROGRESS, {"name": name}).mappings().first()
