"""SQL of primary keys: which tables have none, and the exchange of a unique constraint or an index for one."""

import uuid
from collections.abc import Sequence

from sqlalchemy import Connection

from gristmill.core.database import DATA_SCHEMA, data_relation
from gristmill.kit.identifiers import quote

_WITHOUT = """
SELECT d.id, d.name FROM gristmill.datasets AS d JOIN pg_class AS c
    ON c.relname = d.name AND c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind = 'r'
WHERE d.state = 'ready' AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.conrelid = c.oid AND p.contype = 'p')
ORDER BY d.name
"""
_HAS = "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass(%(relation)s) AND contype = 'p')"
_VALID = """
SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relname = %(name)s
"""


def list_without(connection: Connection) -> list[tuple[uuid.UUID, str]]:
    """Return (id, name) of the ready datasets whose tables have no primary key."""
    return [(row[0], row[1]) for row in connection.exec_driver_sql(_WITHOUT, {"schema": DATA_SCHEMA})]


def has_primary_key(connection: Connection, table: str) -> bool:
    return bool(connection.exec_driver_sql(_HAS, {"relation": data_relation(table)}).scalar())


def is_valid(connection: Connection, index: str) -> bool | None:
    """Say whether the index is complete; None if there is none of that name."""
    found: bool | None = connection.exec_driver_sql(_VALID, {"schema": DATA_SCHEMA, "name": index}).scalar()
    return found


def create_index(index: str, table: str, columns: Sequence[str]) -> str:
    """Return the statement that builds a unique index while the table is written to."""
    listed = ", ".join(quote(name) for name in columns)
    return f"CREATE UNIQUE INDEX CONCURRENTLY {quote(index)} ON {data_relation(table)} ({listed})"


def exchange(connection: Connection, table: str, index: str, old: str, *, constraint: bool) -> None:
    """Make ``index`` the primary key, under the name of what it replaces; call it within ``ddl.limited``.

    old: a unique constraint, or a plain index. ADD PRIMARY KEY takes no index that belongs to a constraint already.
    """
    relation = data_relation(table)
    dropped = f", DROP CONSTRAINT IF EXISTS {quote(old)}" if constraint else ""
    added = f"ADD CONSTRAINT {quote(index)} PRIMARY KEY USING INDEX {quote(index)}"
    connection.exec_driver_sql(f"ALTER TABLE {relation} {added}{dropped}")
    if not constraint:
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {data_relation(old)}")
    connection.exec_driver_sql(f"ALTER TABLE {relation} RENAME CONSTRAINT {quote(index)} TO {quote(old)}")
