"""Statistics follow loads: a table of which half has changed since it was analysed is analysed now.

Autovacuum does so too, but only when it comes around, and until then the planner takes a table of a million records for
an empty one.
"""

from sqlalchemy import Connection

from gristmill.core.database import DATA_SCHEMA, Database
from gristmill.core.errors import Contended
from gristmill.core.logs import get_logger
from gristmill.kit.identifiers import quote

log = get_logger()
ANALYZE_EVERY = 5.0
# Fewer rows are read whole by any plan.
LEAST_CHANGES = 1000
CHANGED_PART = 0.5
# A table on which an index is being built, or that another session changes or analyses, is analysed later.
LOCK_TIMEOUT = "200ms"
_DUE = """
SELECT relname FROM pg_stat_user_tables
WHERE schemaname = %(schema)s AND n_mod_since_analyze >= greatest(%(least)s, %(part)s * n_live_tup)
    AND NOT (relname = ANY(%(not_now)s))
ORDER BY n_mod_since_analyze DESC LIMIT 1
"""


class Analyzer:
    """Analyses one table at each run, the one that has changed most."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Tables that were locked at the last run come after the others.
        self._locked: list[str] = []

    def run(self) -> str | None:
        """Analyse a table that needs it and return its name; call it every few seconds."""
        with self._database.autocommit() as connection:
            due = _find_due(connection, self._locked)
        self._locked = []
        if due is None:
            return None
        try:
            with self._database.transaction() as connection:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                connection.exec_driver_sql(f"ANALYZE {quote(DATA_SCHEMA)}.{quote(due)}")
        except Contended:
            self._locked = [due]
            return None
        log.info("table.analyzed", table=due)
        return due


def _find_due(connection: Connection, not_now: list[str]) -> str | None:
    parameters = {"schema": DATA_SCHEMA, "least": LEAST_CHANGES, "part": CHANGED_PART, "not_now": not_now}
    found: str | None = connection.exec_driver_sql(_DUE, parameters).scalar()
    return found
