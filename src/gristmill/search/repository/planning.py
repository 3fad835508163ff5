"""SQL that asks Postgres' planner what it expects: of a statement, and of a table."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

_ROWS = "SELECT reltuples FROM pg_class WHERE oid = to_regclass(%(table)s)"


def explain(connection: Connection, query: str, parameters: Mapping[str, Any]) -> str:
    """Return the first line of the plan, which has the cost and the rows of the whole; nothing is read."""
    return str(connection.exec_driver_sql(f"EXPLAIN {query}", dict(parameters)).scalar())


def estimated_rows(connection: Connection, table: str) -> int:
    """Return how many rows the table had when it was last analysed, about; 0 if it is not there. table: quoted."""
    return int(connection.exec_driver_sql(_ROWS, {"table": table}).scalar() or 0)
