"""Planner and index settings of single statements, sent along with them: one round trip to Postgres instead of four."""

import weakref
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, CursorResult, Engine, event

Settings = Mapping[str, str | int]

_OPTION = "gristmill_set_local"
_listening: "weakref.WeakSet[Engine]" = weakref.WeakSet()


def execute_with(
    connection: Connection, settings: Settings, statement: sa.Executable, parameters: Mapping[str, Any] | None = None
) -> CursorResult[Any]:
    """Execute ``statement`` under ``settings``, whose names and values must be constants.

    Statements sent in one message are one transaction, so on a connection in autocommit mode the settings end with the
    statement; in a transaction they last until its end.
    """
    if connection.engine not in _listening:
        event.listen(connection.engine, "before_cursor_execute", _prefix, retval=True)
        _listening.add(connection.engine)
    carried = "".join(f"SET LOCAL {name} = {value};" for name, value in settings.items())
    return connection.execute(statement, parameters, execution_options={_OPTION: carried})


def _prefix(_connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, _many: bool) -> Any:
    carried = context.execution_options.get(_OPTION) if context is not None else None
    return (f"{carried} {statement}" if carried else statement), parameters
