"""Finds the datasets whose index is due for something, and submits the jobs that do it."""

import time
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.database import Database, is_undefined_table
from gristmill.core.logs import get_logger
from gristmill.datasets.lookup import scope_of as records_of
from gristmill.jobs.repository import scopes
from gristmill.jobs.submit import submit_system_job, unfinished_in_scope
from gristmill.search.index.policy import next_step
from gristmill.search.index.settings import SETTLED_PART, BuildSettings, limits_of
from gristmill.search.index.state import read_index_state
from gristmill.search.index.tasks import index_build, scope_of
from gristmill.search.repository import catalogue, record_ids
from gristmill.search.repository.searchable import find_searchable, list_sealed

log = get_logger()
# Seconds without a write after which a load has ended.
SETTLE_SECONDS = 10.0
# After a build that changed nothing the next one waits, twice as long each time.
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0
# The records of segments are counted when so many were replaced or deleted since, and not more often than this.
RECOUNT_SECONDS = 30.0
RECOUNT_CHANGES = 1000


@dataclass(slots=True)
class _Watched:
    """What the scheduler remembers of a dataset between two runs.

    highest, since: the end of its table, and since when. arrived: how much the end moved in the last settling time, and
    from where it is counted. counted: what the segments were when they were last counted. state: what the last build
    found; a build that leaves it as it was is followed by a pause.
    """

    highest: int = 0
    since: float = 0.0
    mark: int = 0
    marked_at: float = 0.0
    arrived: int = 0
    counted: tuple[int, int] = (-1, -1)
    counted_at: float = 0.0
    state: tuple[Any, ...] = ()
    pause: float = 0.0
    not_before: float = 0.0


class IndexScheduler:
    """Checks every searchable dataset regularly, and submits ``index.build`` jobs.

    A check is cheap: one or two reads of the index on ``_id``, never of the table. The records of segments are counted
    only when the result may have changed.
    """

    def __init__(
        self, database: Database, settings: BuildSettings | None = None, settle_seconds: float = SETTLE_SECONDS
    ) -> None:
        self._database = database
        self._settings = settings or BuildSettings()
        self._rows = self._settings.seal_rows
        self._settle_seconds = settle_seconds
        self._watched: dict[uuid.UUID, _Watched] = {}

    def run(self) -> int:
        """Submit what is due and return the number of jobs; call it every few seconds."""
        if not self._rows:
            return 0
        with self._database.autocommit() as connection:
            found = list_sealed(connection)
            leftovers = catalogue.leftovers(connection)
        self._watched = {row.id: self._watched.get(row.id, _Watched()) for row in found}
        return sum(self._look(row, row.id in leftovers) for row in found if not row.hold)

    def _look(self, row: Any, left: bool) -> bool:
        try:
            return self._look_at(row, left, self._watched[row.id])
        except DBAPIError as error:
            if not is_undefined_table(error):
                raise
            return False

    def _look_at(self, row: Any, left: bool, watched: _Watched) -> bool:
        now = time.monotonic()
        with self._database.autocommit() as connection:
            self._note_end(watched, record_ids.highest_id(connection, row.name), now)
            if now < watched.not_before:
                return False
            loading = self._is_loading(connection, row.name, watched)
            settled = now - watched.since >= self._settle_seconds
            needed = max(self._settings.min_rows, self._rows // SETTLED_PART if settled else self._rows)
            # Numbers have gaps where records were replaced, so only a count tells.
            due = watched.highest - row.sealed_to + 1 >= needed and (
                record_ids.count_records(connection, row.name, row.sealed_to, limit=needed) >= needed
            )
            if not due and not left and not (not loading and self._is_mending_due(connection, row, watched, now)):
                return False
        with self._database.transaction() as connection:
            if unfinished_in_scope(connection, scope_of(row.id)):
                return False
            self._note_submitted(watched, (row.sealed_to, row.signature, left), now)
            job_id = submit_system_job(connection, index_build(row.id, row.name, needed, loading))
        log.info("segment.due", dataset=row.name, job=str(job_id), loading=loading)
        return True

    def _note_end(self, watched: _Watched, highest: int, now: float) -> None:
        if highest != watched.highest:
            watched.highest, watched.since = highest, now
        if now - watched.marked_at >= self._settle_seconds:
            watched.arrived = highest - watched.mark if watched.marked_at else 0
            watched.mark, watched.marked_at = highest, now

    def _is_loading(self, connection: Connection, name: str, watched: _Watched) -> bool:
        """Say whether a load goes on: more records arrive, or wait to be written, than are worth a build by themselves.

        A slow stream of records is no load: segments are merged while it goes on.
        """
        arrived = max(watched.arrived, watched.highest - watched.mark)
        return arrived >= self._rows or scopes.pending_records(connection, records_of(name)) >= self._rows

    def _is_mending_due(self, connection: Connection, row: Any, watched: _Watched, now: float) -> bool:
        """Say whether segments are due to be merged or built anew."""
        changes = record_ids.changes(connection, row.name)
        same_segments = watched.counted[0] == row.signature
        if not row.signature or (same_segments and changes - watched.counted[1] < RECOUNT_CHANGES):
            return False
        if now - watched.counted_at < RECOUNT_SECONDS and watched.counted_at and same_segments:
            return False
        watched.counted, watched.counted_at = (row.signature, changes), now
        # A tail that is due is the other condition: here it counts as empty.
        dataset = find_searchable(connection, row.id)
        if dataset is None:
            return False
        found = read_index_state(connection, row.id, dataset, self._settings, longest_tail=0)
        return next_step(found, limits_of(connection, dataset, self._settings).policy, needed=1) is not None

    def _note_submitted(self, watched: _Watched, state: tuple[Any, ...], now: float) -> None:
        failed = watched.state == state
        watched.pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, 2 * watched.pause)) if failed else 0.0
        watched.not_before = now + watched.pause
        watched.state = state
        watched.counted_at = 0.0
        watched.counted = (-1, -1)
