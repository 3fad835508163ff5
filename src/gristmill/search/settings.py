"""Planner and index settings of single statements, sent along with them: one round trip to Postgres instead of four."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, event

_OPTION = "gristmill_set_local"


def carry_settings(engine: Engine) -> None:
    """Let statements on ``engine`` carry settings; calling it again changes nothing."""
    if not event.contains(engine, "before_cursor_execute", _prefix):
        event.listen(engine, "before_cursor_execute", _prefix, retval=True)


def with_settings(settings: Mapping[str, str | int]) -> dict[str, str]:
    """Return the execution options of a statement that runs under ``settings`` (names and values are constants).

    Statements sent in one message are one transaction, so the settings end with the statement, in autocommit mode too.
    """
    return {_OPTION: "".join(f"SET LOCAL {name} = {value};" for name, value in settings.items())}


def _prefix(_connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, _many: bool) -> Any:
    carried = context.execution_options.get(_OPTION) if context is not None else None
    return (f"{carried} {statement}" if carried else statement), parameters
