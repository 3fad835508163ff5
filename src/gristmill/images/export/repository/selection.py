"""SQL of the selection: the keys of all matching records, in the order of the keys."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.parents.above import attach_above
from gristmill.datasets.where import compile_where

_FETCHED = 5000


def read_keys(connection: Connection, contract: Contract, where: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the keys as of one moment; a few thousand of them are in memory. Raises Invalid for a bad filter."""
    table = record_table(contract)
    columns = [table.c[name] for name in contract.key]
    statement = sa.select(*columns).order_by(*columns)
    if where is not None:
        statement = statement.where(compile_where(where, attach_above(connection, contract, where), table))
    # A cursor of Postgres: the client reads the rows as it needs them.
    options = {"stream_results": True, "yield_per": _FETCHED}
    with connection.execute(statement, execution_options=options) as rows:
        for row in rows:
            yield tuple(row)
