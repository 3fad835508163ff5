"""SQL that reads indexes into memory by pg_prewarm, and notes for which start of Postgres that was done."""

from collections.abc import Sequence

from sqlalchemy import Connection

from gristmill.core.database import data_relation
from gristmill.kit.identifiers import quote

_SIGNATURE = "regclass, text, text, bigint, bigint"
# In whatever schema the extension was installed.
_FUNCTION = f"""
SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_prewarm'
    AND has_function_privilege(to_regprocedure(quote_ident(n.nspname) || '.pg_prewarm({_SIGNATURE})'), 'EXECUTE')
"""  # noqa: S608 - constants
_MEMORY = """
SELECT pg_size_bytes(current_setting('shared_buffers')), pg_size_bytes(current_setting('effective_cache_size')),
    current_setting('block_size')::int
"""
_BYTES = """
SELECT c.relname, pg_relation_size(c.oid) FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
WHERE c.relnamespace = to_regnamespace('data') AND c.relname = ANY(%(names)s) AND i.indisvalid
"""
# Every search of a dataset walks each of its segments: the one that was walked most tells how often it was searched.
_BY_USE = """
SELECT s.index_name FROM gristmill.segments s
LEFT JOIN pg_stat_user_indexes u ON u.schemaname = 'data' AND u.indexrelname = s.index_name
WHERE s.state = 'ready'
ORDER BY max(coalesce(u.idx_scan, 0)) OVER (PARTITION BY s.dataset_id) DESC, s.dataset_id, s.lo
"""
_IS_NOTED = "SELECT started_at = pg_postmaster_start_time() FROM gristmill.index_warmups"
_NOTE = """
INSERT INTO gristmill.index_warmups AS mine (started_at) VALUES (pg_postmaster_start_time())
ON CONFLICT (one) DO UPDATE SET started_at = EXCLUDED.started_at, noted_at = now()
WHERE mine.started_at <> EXCLUDED.started_at
"""


def find_function(connection: Connection) -> str | None:
    """Return the quoted name of the function that reads a relation; None if there is none that the user may call."""
    schema: str | None = connection.exec_driver_sql(_FUNCTION).scalar()
    return None if schema is None else f"{quote(schema)}.pg_prewarm"


def memory_bytes(connection: Connection) -> tuple[int, int, int]:
    """Return in bytes: shared_buffers, effective_cache_size, a block."""
    row = connection.exec_driver_sql(_MEMORY).one()
    return row[0], row[1], row[2]


def index_bytes(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return the size of those of the indexes that exist and are complete."""
    return {row[0]: row[1] for row in connection.exec_driver_sql(_BYTES, {"names": list(names)})}


def read(connection: Connection, function: str, index: str, mode: str, first: int, last: int) -> None:
    """Read the blocks ``first`` to ``last`` of an index of the data. function: as ``find_function`` returns it.

    mode: ``buffer``, into Postgres' own buffers, or ``read``, into the system's cache.
    """
    values = {"index": data_relation(index), "mode": mode, "first": first, "last": last}
    statement = f"SELECT {function}(%(index)s::regclass, %(mode)s, 'main', %(first)s, %(last)s)"
    connection.exec_driver_sql(statement, values)


def ready_by_use(connection: Connection) -> list[str]:
    """Return the indexes of all ready segments: those of the dataset that was searched most come first."""
    return list(connection.exec_driver_sql(_BY_USE).scalars())


def is_noted(connection: Connection) -> bool:
    """Say whether this start of Postgres was noted."""
    return bool(connection.exec_driver_sql(_IS_NOTED).scalar())


def note_start(connection: Connection) -> bool:
    """Note this start of Postgres; False if somebody else did. Others wait until the transaction ends."""
    return bool(connection.exec_driver_sql(_NOTE).rowcount)
