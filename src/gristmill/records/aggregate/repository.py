"""Runs the statements of aggregates, all of one in one read-only snapshot."""

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from gristmill.core.database import UNDEFINED_TABLE
from gristmill.datasets.describe import shorten
from gristmill.datasets.errors import UnknownDataset
from gristmill.records.aggregate.errors import NumberTooLarge, TakesTooLong

_DIALECT = postgresql.psycopg2.dialect()  # type: ignore[no-untyped-call]
# numeric_value_out_of_range, query_canceled.
_OUT_OF_RANGE, _CANCELLED = "22003", "57014"


def render(connection: Connection, clause: sa.ClauseElement) -> str:
    """Return a query or an expression as text with its values written in: COPY takes no parameters."""
    compiled = clause.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    with contextlib.closing(connection.connection.cursor()) as cursor:
        return str(cursor.mogrify(str(compiled), compiled.params).decode())


def read_row(connection: Connection, select: sa.Select[Any]) -> Any:
    return connection.execute(select).one()


def read_value(connection: Connection, sql: str) -> Any:
    """Return the one value of a query whose values are written in."""
    return read_values(connection, sql)[0]


def read_values(connection: Connection, sql: str) -> list[Any]:
    """Return the values of the first column."""
    with contextlib.closing(connection.connection.cursor()) as cursor:
        cursor.execute(sql)
        return [row[0] for row in cursor.fetchall()]


def copy_rows(connection: Connection, sql: str, file: Any) -> int:
    """Write what a COPY gives to ``file`` and return the number of rows."""
    with contextlib.closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(sql, file)
        return int(cursor.rowcount)


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Raise what Postgres refuses within the block in the words of aggregates. name: that of the dataset.

    Raises NumberTooLarge, TakesTooLong, UnknownDataset where its table is gone.
    """
    try:
        yield
    except (DBAPIError, psycopg2.Error) as error:
        code = getattr(error.orig if isinstance(error, DBAPIError) else error, "pgcode", None)
        if code == _OUT_OF_RANGE:
            raise NumberTooLarge(
                "A number of the answer leaves the range of its type: integers and durations have 64 bits, floats end "
                "at 1.8e308. Sum fewer records, or measure a decimal"
            ) from error
        if code == _CANCELLED:
            raise TakesTooLong(
                "Postgres was not done within its time limit (database_statement_timeout): narrow the window (start, "
                "end) or the filter, or ask for fewer groups"
            ) from error
        if code == UNDEFINED_TABLE:
            raise UnknownDataset(f"There is no dataset {shorten(name)}") from error
        raise
