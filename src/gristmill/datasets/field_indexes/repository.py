"""SQL of the indexes of fields and members: which the table has not, and the statements that make them."""

import re
from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.schema import CreateIndex

from gristmill.core.database import data_relation
from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import record_table

_INDEXES = """
SELECT c.relname, i.indisvalid FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass(%(relation)s)
"""
_OF_FIELD = re.compile(r"f\d+(m[0-9a-f]{8})?")


def list_of_fields(table: str, indexes: Iterable[str]) -> list[str]:
    """Return those of the indexes that are named as the ones of fields and members of the table are."""
    start = f"{table}__"
    return [name for name in indexes if name.startswith(start) and _OF_FIELD.fullmatch(name[len(start) :])]


def list_wanted(contract: Contract) -> dict[str, sa.Index]:
    """Return the indexes, by their names, that a table of the contract has besides its primary key."""
    return {str(index.name): index for index in record_table(contract).indexes}


def list_built(connection: Connection, table: str) -> Mapping[str, bool]:
    """Return the names of the indexes that the table has, and whether they are complete."""
    rows = connection.exec_driver_sql(_INDEXES, {"relation": data_relation(table)})
    return {row[0]: row[1] for row in rows}


def create_index(connection: Connection, index: sa.Index) -> str:
    """Return the statement that builds an index while the table is written to, for a cursor without parameters."""
    statement = str(CreateIndex(index).compile(dialect=connection.dialect))
    # The driver's escape, which it undoes only where there are parameters.
    return statement.replace("%%", "%").replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1)


def analyze(table: str) -> str:
    """Return the statement that gives the planner its statistics."""
    return f"ANALYZE {data_relation(table)}"
