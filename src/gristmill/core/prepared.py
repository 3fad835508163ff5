"""Prepared statements: those that run for every job, or search, are planned once per connection, not each time.

psycopg2 sends every statement as text, so this is done in SQL: PREPARE at the first use on a connection, then EXECUTE.
Of the Postgres time that a small job costs, planning its statements was a third.
"""

import contextlib
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import psycopg2
from sqlalchemy import Connection, CursorResult
from sqlalchemy.exc import DBAPIError

_PARAMETER = re.compile(r"%\((\w+)\)s")
_READY = "gristmill.prepared"
# Statements that come and go, of which a connection keeps so many. The plan of a search over four segments holds
# 200 KiB of the session's memory.
MOST_PASSING = 32
_PASSING = "gristmill.passing"
# feature_not_supported: "cached plan must not change result type", after a column got another type.
_CHANGED_RESULT = "0A000"


class Prepared:
    """A statement with named parameters, ``%(name)s``, as psycopg2 writes them.

    types: the Postgres type of every parameter. Raises ValueError when one is missing.
    """

    def __init__(self, sql: str, **types: str) -> None:
        names = list(dict.fromkeys(_PARAMETER.findall(sql)))
        missing = [name for name in names if name not in types]
        if missing:
            raise ValueError(f"no type for the parameters {', '.join(missing)}")
        numbered = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", sql).replace("%%", "%")
        self.name = "gm_" + hashlib.sha256(numbered.encode()).hexdigest()[:16]
        self.types = [types[name] for name in names]
        declared = f" ({', '.join(self.types)})" if names else ""
        # Postgres finds the type of a single value by itself, that of an array it does not.
        casts = {name: f"::{types[name]}" if types[name].endswith("[]") else "" for name in names}
        given = f" ({', '.join(f'%({name})s{casts[name]}' for name in names)})" if names else ""
        self.prepare = f"PREPARE {self.name}{declared} AS {numbered.strip().rstrip(';')}"
        self.execute = f"EXECUTE {self.name}{given}"


class Passing(Prepared):
    """A statement of one dataset and one shape: a connection keeps those that it used last."""


def execute(
    connection: Connection, parameters: Mapping[str, Any], *statements: Prepared | str
) -> CursorResult[*tuple[Any, ...]]:
    """Run the statements in one round trip and return the result of the last one. A str is sent as it is."""
    return connection.exec_driver_sql(_message(connection, statements), dict(parameters))


def fetch(connection: Connection, parameters: Mapping[str, Any], *statements: Prepared | str) -> list[tuple[Any, ...]]:
    """Run the statements as ``execute`` does and return the rows of the last one, as the driver gives them.

    ``connection`` is in autocommit mode. Raises DBAPIError.
    """
    try:
        return _fetch(connection, parameters, statements)
    except DBAPIError as error:
        passing = [one for one in statements if isinstance(one, Passing)]
        if not passing or getattr(error.orig, "pgcode", None) != _CHANGED_RESULT:
            raise
    for one in passing:
        _forget(connection, one.name)
    return _fetch(connection, parameters, statements)


def _fetch(
    connection: Connection, parameters: Mapping[str, Any], statements: tuple[Prepared | str, ...]
) -> list[tuple[Any, ...]]:
    message, values = _message(connection, statements), dict(parameters)
    try:
        # On the driver's cursor: SQLAlchemy's result, which works out anew what each column is, took 150 of the 370 µs
        # of CPU that the statement of a search and its ten rows cost the API.
        with contextlib.closing(connection.connection.cursor()) as cursor:
            cursor.execute(message, values)
            return list(cursor.fetchall())
    except psycopg2.Error as error:
        raise _of_sqlalchemy(connection, message, values, error) from error


def _of_sqlalchemy(connection: Connection, message: str, values: dict[str, Any], error: psycopg2.Error) -> Exception:
    """Return the error that SQLAlchemy would have raised; as it does, give the pool up when a connection was lost."""
    engine, driver = connection.engine, connection.connection.dbapi_connection
    lost = bool(engine.dialect.is_disconnect(error, driver, None))
    if lost:
        connection.invalidate(error)
        engine.dispose()
    found = DBAPIError.instance(
        message, values, error, psycopg2.Error, connection_invalidated=lost, dialect=engine.dialect
    )
    assert isinstance(found, Exception)
    return found


def _message(connection: Connection, statements: tuple[Prepared | str, ...]) -> str:
    """Return the text to send, once everything in it is prepared."""
    ready: set[str] = connection.info.setdefault(_READY, set())
    for statement in statements:
        if not isinstance(statement, Prepared):
            continue
        if isinstance(statement, Passing):
            _keep(connection, statement)
        elif statement.name not in ready:
            connection.exec_driver_sql(statement.prepare.replace("%", "%%"))
            # Prepared statements belong to the session: they outlive a rollback.
            ready.add(statement.name)
    return ";".join(one if isinstance(one, str) else one.execute for one in statements)


def _keep(connection: Connection, statement: Passing) -> None:
    """Prepare the statement, unless it is, in place of the one that was used longest ago."""
    passing: dict[str, None] = connection.info.setdefault(_PASSING, {})
    if statement.name not in passing:
        if len(passing) >= MOST_PASSING:
            _forget(connection, next(iter(passing)))
        connection.exec_driver_sql(statement.prepare.replace("%", "%%"))
    else:
        del passing[statement.name]
    # The order of a dict is that of insertion.
    passing[statement.name] = None


def _forget(connection: Connection, name: str) -> None:
    # Where preparing it was what failed there is nothing to give back.
    if name in connection.info[_PASSING]:
        del connection.info[_PASSING][name]
        connection.exec_driver_sql(f"DEALLOCATE {name}")
