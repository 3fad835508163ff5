"""Prepared statements: the few that run for every job are parsed and planned once per connection, not each time.

psycopg2 sends every statement as text, so this is done in SQL: PREPARE at the first use on a connection, then EXECUTE.
Of the Postgres time that a small job costs, planning its statements was a third.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, CursorResult

_PARAMETER = re.compile(r"%\((\w+)\)s")
_READY = "gristmill.prepared"


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


def execute(
    connection: Connection, parameters: Mapping[str, Any], *statements: Prepared | str
) -> CursorResult[*tuple[Any, ...]]:
    """Run the statements in one round trip and return the result of the last one. A str is sent as it is."""
    ready: set[str] = connection.info.setdefault(_READY, set())
    for statement in statements:
        if isinstance(statement, Prepared) and statement.name not in ready:
            connection.exec_driver_sql(statement.prepare.replace("%", "%%"))
            # Prepared statements belong to the session: they outlive a rollback.
            ready.add(statement.name)
    texts = (statement.execute if isinstance(statement, Prepared) else statement for statement in statements)
    return connection.exec_driver_sql(";".join(texts), dict(parameters))
