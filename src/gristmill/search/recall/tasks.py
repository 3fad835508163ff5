"""The job ``index.recall``: learns what the graphs of a dataset find, and measures what its searches find."""

import uuid
from dataclasses import dataclass
from typing import Any

import psycopg2
from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.datasets.applied import AppliedDatasets
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.lookup import DROPPED, Dataset, DatasetLookup
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.handlers import ChunkTask, IdempotentHandler, Outcome
from gristmill.jobs.repository.dispatch import others_wait
from gristmill.jobs.submit import NewJob
from gristmill.search.query.statements import Layout
from gristmill.search.query.vector import outside
from gristmill.search.recall import queries as drawn
from gristmill.search.recall.learn import Learner, OutOfTime, Pace, Recall, Replaced
from gristmill.search.recall.nearest import nearest
from gristmill.search.recall.state import store_recall
from gristmill.search.repository import catalogue
from gristmill.search.repository.recall import K

log = get_logger()
INDEX_RECALL = "index.recall"


@dataclass(frozen=True, slots=True)
class Limits:
    """samples: searches to compare. seconds: of work, for all of them; what was learnt until then is kept.

    idle: seconds to rest for each second of work, so that searches have the machine: with one, a client that searches
    without a pause on two cores waited 1.34 times as long.
    """

    samples: int = 256
    seconds: float = 60.0
    idle: float = 5.0


class IndexRecallHandler(IdempotentHandler):
    """Learns the curves of one dataset's graphs. args: dataset_id; all: of every graph, and measure searches too.

    Else of those graphs only of which nothing is known.
    """

    type = INDEX_RECALL
    queue = "long"

    def __init__(self, database: Database, datasets: DatasetLookup, limits: Limits) -> None:
        self._database = database
        self._datasets = AppliedDatasets(datasets)
        self._limits = limits

    def run(self, task: ChunkTask) -> Outcome:
        name = task.dataset or ""
        try:
            with self._database.autocommit() as connection, self._datasets.reading(connection, name) as applied:
                dataset = applied.dataset
                if str(dataset.id) != task.args["dataset_id"] or not applied.has_table:
                    raise JobDropped(DROPPED)
                # An index build, or an export, waits for the same worker. Of many jobs that learn none would rest if
                # they counted.
                pace = Pace(
                    task.check,
                    lambda: others_wait(connection, self.queue, self.type),
                    idle=self._limits.idle,
                    seconds=self._limits.seconds,
                )
                return Outcome(result=self._learn(connection, dataset, pace, task))
        # COPY is the driver's, and so are its errors.
        except (UnknownDataset, psycopg2.errors.UndefinedTable) as error:
            raise JobDropped(DROPPED) from error

    def _learn(self, connection: Connection, dataset: Dataset, pace: Pace, task: ChunkTask) -> dict[str, Any]:
        segments = catalogue.ready_segments(connection, dataset.id)
        if not segments:
            return {"recall": None, "k": K, "samples": 0, "learnt": 0}
        ranges = tuple(segment.range for segment in segments)
        every = bool(task.args.get("all", True))
        count = max(self._limits.samples, 2 * drawn.LEAST)
        learner = Learner(connection, Layout(dataset.contract), dataset.id, pace)
        measured = Recall(1.0, K, 0)
        try:
            found = drawn.draw(connection, dataset.id, dataset.contract, ranges, count, task.seq, pace.rest)
            if not found.texts:
                for segment in segments:
                    learner.assume(segment)
            elif every:
                truths = learner.learn(segments, found, every=True)
                for condition in outside(ranges):
                    truths.append(nearest(connection, dataset.contract, found, condition, K, pace.rest))
                measured = learner.measure(_target(dataset), found, truths)
            else:
                learner.learn([segment for segment in segments if segment.curve is None], found, every=False)
        except OutOfTime:
            for segment in segments:
                learner.assume(segment)
            log.warning("recall.out_of_time", dataset=dataset.name, seconds=self._limits.seconds, learnt=learner.learnt)
        except Replaced:
            log.info("recall.replaced", dataset=dataset.name)
            return {"recall": None, "k": K, "samples": 0, "learnt": learner.learnt}
        if every:
            ids = sum(segment.id for segment in segments)
            store_recall(connection, dataset.id, dataset.name, measured, _target(dataset), pace.worked * 1000, ids)
        value = measured.value if measured.samples else None
        result = {"recall": value, "k": measured.k, "samples": measured.samples, "learnt": learner.learnt}
        log.info("recall.measured", dataset=dataset.name, **result)
        return result


def _target(dataset: Dataset) -> float:
    assert dataset.contract.embedding is not None
    return dataset.contract.embedding.recall_target


def index_recall(dataset_id: uuid.UUID, name: str, every: bool = True) -> NewJob:
    """Return the job that learns the curves of a dataset's graphs. every: as the handler has ``all``."""
    return NewJob(
        type=INDEX_RECALL,
        scope=recall_scope_of(dataset_id),
        exclusive=True,
        args={"dataset_id": str(dataset_id), "all": every},
        dataset=name,
        queue="long",
    )


def recall_scope_of(dataset_id: uuid.UUID) -> str:
    return f"recall:{dataset_id}"
