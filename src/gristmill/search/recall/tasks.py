"""The job ``index.recall``, and when one is due: after new segments, or when many records were added or replaced."""

import time
import uuid
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.database import Database, is_undefined_table
from gristmill.core.logs import get_logger
from gristmill.datasets.applied import AppliedDatasets
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.lookup import DROPPED, DatasetLookup
from gristmill.datasets.lookup import scope_of as records_of
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.handlers import ChunkTask, IdempotentHandler, Outcome
from gristmill.jobs.submit import NewJob, submit_system_job, unfinished_in_scope
from gristmill.search.index.tasks import scope_of as builds_of
from gristmill.search.query.statements import Layout
from gristmill.search.recall.measure import Effort, measure, store_recall
from gristmill.search.repository import catalogue, recall, record_ids
from gristmill.search.repository.searchable import list_sealed

log = get_logger()
INDEX_RECALL = "index.recall"
# Everything else on the queue goes first.
LOWEST_PRIORITY = 0
# A part of the records that, added or replaced since, makes the last measurement an old one.
CHANGED_SHARE = 0.1
# Between two measurements of a dataset that keeps changing: they take a sixtieth of the time of a processor at most.
LEAST_PAUSE = 600.0


class IndexRecallHandler(IdempotentHandler):
    """Measures the recall of one dataset's searches. args: dataset_id."""

    type = INDEX_RECALL
    queue = "long"

    def __init__(self, database: Database, datasets: DatasetLookup, effort: Effort) -> None:
        self._database = database
        self._datasets = AppliedDatasets(datasets)
        self._effort = effort

    def run(self, task: ChunkTask) -> Outcome:
        started = time.monotonic()
        name = task.dataset or ""
        try:
            with self._database.autocommit() as connection, self._datasets.reading(connection, name) as applied:
                dataset = applied.dataset
                if str(dataset.id) != task.args["dataset_id"] or not applied.has_table:
                    raise JobDropped(DROPPED)
                ranges = catalogue.ready_ranges(connection, dataset.id)
                found = measure(connection, Layout(dataset.contract), ranges, self._effort, seed=task.seq)
                took_ms = (time.monotonic() - started) * 1000
                store_recall(connection, dataset.id, dataset.name, found, took_ms)
        except UnknownDataset as error:
            raise JobDropped(DROPPED) from error
        log.info("recall.measured", dataset=name, recall=found.value, samples=found.samples, segments=len(ranges))
        return Outcome(
            result={"recall": found.value if found.samples else None, "k": found.k, "samples": found.samples}
        )


class RecallKeeper:
    """Checks every dataset that has segments regularly, and submits what is due to be measured."""

    def __init__(self, database: Database, samples: int, pause: float = LEAST_PAUSE) -> None:
        """samples: 0 measures nothing. pause: least seconds between two measurements of a dataset."""
        self._database = database
        self._samples = samples
        self._pause = pause

    def run(self) -> int:
        """Submit what is due and return the number of jobs."""
        if not self._samples:
            return 0
        with self._database.autocommit() as connection:
            found = [row for row in list_sealed(connection) if row.signature]
            last = recall.last_measured(connection)
        return sum(self._look(row, last.get(row.id)) for row in found)

    def _look(self, row: Any, last: Any) -> bool:
        try:
            with self._database.transaction() as connection:
                if last is not None and not self._is_old(connection, row, last):
                    return False
                # What is being built or loaded now would be measured again right after.
                scopes = (recall_scope_of(row.id), builds_of(row.id), records_of(row.name))
                if any(unfinished_in_scope(connection, scope) for scope in scopes):
                    return False
                submit_system_job(connection, index_recall(row.id, row.name), LOWEST_PRIORITY)
        except DBAPIError as error:
            if not is_undefined_table(error):
                raise
            return False
        return True

    def _is_old(self, connection: Connection, row: Any, last: Any) -> bool:
        if last.age < self._pause:
            return False
        if last.segments != row.signature:
            return True
        moved = record_ids.highest_id(connection, row.name) - last.highest
        # Postgres begins to count anew after a crash.
        changed = max(0, record_ids.changes(connection, row.name) - last.changes)
        return bool(max(moved, changed) > CHANGED_SHARE * last.highest)


def index_recall(dataset_id: uuid.UUID, name: str) -> NewJob:
    """Return the job that measures the recall of a dataset's searches."""
    return NewJob(
        type=INDEX_RECALL,
        scope=recall_scope_of(dataset_id),
        exclusive=True,
        args={"dataset_id": str(dataset_id)},
        dataset=name,
        queue="long",
    )


def recall_scope_of(dataset_id: uuid.UUID) -> str:
    return f"recall:{dataset_id}"
