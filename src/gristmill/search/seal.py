"""When a tail is sealed: as soon as it is long, or once it has stopped growing and is worth a graph."""

import time
import uuid
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.jobs.submit import Request, submit, unfinished_in_scope
from gristmill.kit.ids import uuid7
from gristmill.search import repository
from gristmill.search.build import MIN_ROWS
from gristmill.search.tasks import index_build, scope_of

log = get_logger()
PRINCIPAL = "gristmill"
# A dataset that nothing was written to for so long has settled.
SETTLE_SECONDS = 10.0
# After a build that did not seal anything the next one waits, twice as long each time.
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 3600.0


@dataclass(slots=True)
class _Watched:
    """What the sealer remembers of a dataset: the end of its table and since when; its last build, and the pause."""

    highest: int = 0
    since: float = 0.0
    submitted_at_seal: int = -1
    pause: float = 0.0
    not_before: float = 0.0


class Sealer:
    """Looks at every searchable dataset now and then, and submits ``index.build`` jobs.

    A look is cheap: one or two reads of the index on ``_id``, never of the table.
    """

    def __init__(self, database: Database, rows: int, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._database = database
        self._rows = rows
        self._settled_rows = max(MIN_ROWS, rows // 10)
        self._settle_seconds = settle_seconds
        self._watched: dict[uuid.UUID, _Watched] = {}

    def run(self) -> int:
        """Submit what is due and return the number of jobs; call it every few seconds."""
        with self._database.autocommit() as connection:
            found = repository.searchable_datasets(connection)
        self._watched = {row.id: self._watched.get(row.id, _Watched()) for row in found}
        return sum(self._look(row.id, row.name, row.sealed_to) for row in found)

    def _look(self, dataset_id: uuid.UUID, name: str, sealed_to: int) -> bool:
        try:
            if not self._is_due(self._watched[dataset_id], name, sealed_to):
                return False
            with self._database.transaction() as connection:
                if unfinished_in_scope(connection, scope_of(dataset_id)):
                    return False
                self._note(self._watched[dataset_id], sealed_to)
                request = Request(principal=PRINCIPAL, request_id=str(uuid7()))
                job_id = submit(connection, index_build(dataset_id, name), request)
        except DBAPIError as error:
            # 42P01, undefined_table: the dataset was dropped in between.
            if getattr(error.orig, "pgcode", None) != "42P01":
                raise
            return False
        log.info("segment.due", dataset=name, job=str(job_id))
        return True

    def _is_due(self, watched: _Watched, name: str, sealed_to: int) -> bool:
        now = time.monotonic()
        with self._database.autocommit() as connection:
            highest = repository.highest_id(connection, name)
            if highest != watched.highest:
                watched.highest, watched.since = highest, now
            settled = now - watched.since >= self._settle_seconds
            needed = self._settled_rows if settled else self._rows
            if now < watched.not_before or highest - sealed_to + 1 < needed:
                return False
            # Numbers have gaps where records were replaced, so only a count tells.
            return repository.count_records(connection, name, sealed_to, limit=needed) >= needed

    def _note(self, watched: _Watched, sealed_to: int) -> None:
        failed = watched.submitted_at_seal == sealed_to
        watched.pause = min(LONGEST_PAUSE, max(FIRST_PAUSE, 2 * watched.pause)) if failed else 0.0
        watched.not_before = time.monotonic() + watched.pause
        watched.submitted_at_seal = sealed_to
