"""Statistics follow loads: a table of which half has changed since it was analysed is analysed now.

Autovacuum does so too, but only when it comes around, and until then the planner takes a table of a million records for
an empty one.
"""

from gristmill.core.database import Database
from gristmill.core.errors import Contended
from gristmill.core.logs import get_logger
from gristmill.datasets import repository

log = get_logger()
ANALYZE_EVERY = 5.0
# Fewer rows are read whole by any plan.
LEAST_CHANGES = 1000
CHANGED_PART = 0.5
# A table on which an index is being built, or that another session changes or analyses, is analysed later.
LOCK_TIMEOUT = "200ms"


class Analyzer:
    """Analyses one table at each run, the one that has changed most."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Tables that were locked at the last run come after the others.
        self._locked: list[str] = []

    def run(self) -> str | None:
        """Analyse a table that needs it and return its name; call it every few seconds."""
        with self._database.autocommit() as connection:
            due = repository.find_changed(connection, LEAST_CHANGES, CHANGED_PART, self._locked)
        self._locked = []
        if due is None:
            return None
        try:
            with self._database.transaction() as connection:
                repository.analyze(connection, due, LOCK_TIMEOUT)
        except Contended:
            self._locked = [due]
            return None
        log.info("table.analyzed", table=due)
        return due
