"""When a dataset's recall is due to be learnt or measured: after new segments, and when many records have changed."""

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.database import Database, is_undefined_table
from gristmill.datasets import repository as datasets
from gristmill.datasets.lookup import scope_of as records_of
from gristmill.jobs.submit import submit_system_job, unfinished_in_scope
from gristmill.search.index.tasks import scope_of as builds_of
from gristmill.search.recall.tasks import index_recall, recall_scope_of
from gristmill.search.repository import curves, recall, record_ids
from gristmill.search.repository.searchable import list_sealed

# Everything else on the queue goes first.
LOWEST_PRIORITY = 0
# A part of the records that, added or replaced since, makes the last measurement an old one.
CHANGED_SHARE = 0.1
# Seconds between two measurements of a dataset that keeps changing.
LEAST_PAUSE = 600.0
# Between two jobs of a dataset so many times pass as the first one took: they take less than 2 % of a processor.
PAUSES = 60.0


class RecallKeeper:
    """Checks every dataset that has segments regularly, and submits what is due."""

    def __init__(self, database: Database, samples: int, pause: float = LEAST_PAUSE, pauses: float = PAUSES) -> None:
        """samples: 0 measures nothing. pause, pauses: as the constants."""
        self._database = database
        self._samples = samples
        self._pause = pause
        self._pauses = pauses

    def run(self) -> int:
        """Submit what is due and return the number of jobs."""
        self._forget_queries()
        if not self._samples:
            return 0
        with self._database.autocommit() as connection:
            found = [row for row in list_sealed(connection) if row.signature]
            last = recall.last_measured(connection)
            unlearnt = curves.unlearnt(connection, self._pauses)
        return sum(self._look(row, last.get(row.id), *unlearnt.get(row.id, (0, 0.0))) for row in found)

    def _forget_queries(self) -> None:
        """Delete the vectors that were searched by where the contract does not allow to keep them any more."""
        with self._database.autocommit() as connection:
            for dataset_id in curves.datasets_with_queries(connection):
                row = datasets.find(connection, dataset_id)
                if row is None or not (row["contract"].get("embedding") or {}).get("keep_queries"):
                    curves.forget_queries(connection, dataset_id)

    def _look(self, row: Any, last: Any, unlearnt: int, wait: float) -> bool:
        try:
            with self._database.transaction() as connection:
                every = last is None or self._is_old(connection, row, last)
                if not every and not (unlearnt and wait <= 0):
                    return False
                # What is being built or loaded now would be measured again right after.
                scopes = (recall_scope_of(row.id), builds_of(row.id), records_of(row.name))
                if any(unfinished_in_scope(connection, scope) for scope in scopes):
                    return False
                submit_system_job(connection, index_recall(row.id, row.name, every), LOWEST_PRIORITY)
        except DBAPIError as error:
            if not is_undefined_table(error):
                raise
            return False
        return True

    def _is_old(self, connection: Connection, row: Any, last: Any) -> bool:
        if last.age < max(self._pause, self._pauses * last.took_ms / 1000):
            return False
        if last.segments != row.signature:
            return True
        moved = record_ids.highest_id(connection, row.name) - last.highest
        # Postgres begins to count anew after a crash.
        changed = max(0, record_ids.changes(connection, row.name) - last.changes)
        return bool(max(moved, changed) > CHANGED_SHARE * last.highest)
