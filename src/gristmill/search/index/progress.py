"""How far an index build is, from ``pg_stat_progress_create_index``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.search.repository import indexes

# The graph takes nearly all of the time; before and after it a build waits for older transactions and reads the table
# once more for rows that came meanwhile.
_GRAPH, _WAITED, _VALIDATED = 0.96, 0.97, 0.99


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """phase: as Postgres calls it. fraction: of this index, 0 to 1."""

    phase: str
    fraction: float


def read_progress(connection: Connection, index_name: str, rows: int) -> BuildProgress | None:
    """Return how far the build of an index is; None if it is not being built now. rows: how many it will have."""
    row = indexes.find_build(connection, index_name)
    return None if row is None else BuildProgress(row["phase"], fraction_of(row, rows))


def fraction_of(row: Any, rows: int) -> float:
    """Return the part of a build that is done, from a row of the view.

    A partial index reads the whole table: its tuples tell more than its blocks.
    """
    phase = row["phase"]
    if phase == "waiting for writers before build" or phase == "initializing":
        return 0.0
    if phase.startswith("building index"):
        return _GRAPH * min(1.0, row["tuples_done"] / rows) if rows > 0 else 0.0
    if phase.startswith("waiting for writers before validation"):
        return _GRAPH
    if phase.startswith("index validation"):
        return _WAITED
    return _VALIDATED


class ProgressReport:
    """Tells a job how far its builds are: several indexes of known rows, one after the other."""

    def __init__(self, database: Database, report: Callable[[float], None]) -> None:
        self._database = database
        self._report = report
        self._total = 0
        self._done = 0
        self._rows = 0
        self._index: str | None = None

    def expect(self, rows: int, done: int = 0) -> None:
        """Say how many rows all builds of the job will have together, and how many an earlier attempt has built in."""
        self._total, self._done = max(rows, 1), done

    def begin(self, index_name: str, rows: int) -> None:
        self._index, self._rows = index_name, rows
        self._total = max(self._total, self._done + rows)

    def end(self) -> None:
        self._done += self._rows
        self._index, self._rows = None, 0

    def tick(self) -> None:
        """Report what Postgres shows now; call it now and then while a build runs."""
        if self._index is None:
            return
        with self._database.autocommit() as connection:
            found = read_progress(connection, self._index, self._rows)
        if found is not None:
            self._report(min(1.0, (self._done + found.fraction * self._rows) / self._total))
