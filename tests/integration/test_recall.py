"""Recall, measured: it falls with a bad index and is 1 without any; when it is due, and where it is shown."""

from typing import Any

import numpy as np
import pytest
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.datasets.lookup import Dataset
from gristmill.kit.ids import uuid7
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.graph import GraphParameters
from gristmill.search.index.report import recall_state
from gristmill.search.index.settings import BuildSettings
from gristmill.search.query.statements import Layout
from gristmill.search.recall.measure import Effort, Recall, measure, store_recall
from gristmill.search.recall.tasks import RecallKeeper
from gristmill.search.repository import catalogue, recall

DIMENSIONS = 48
BODY = {
    "name": "things",
    "fields": [{"name": "id", "type": "integer", "required": True}],
    "key": ["id"],
    "embedding": {"dimensions": DIMENSIONS},
}


@pytest.fixture
def dataset(database: Database) -> Dataset:
    return make_dataset(database, BODY)


def fill(database: Database, dataset: Dataset, count: int, first: int = 0) -> None:
    """Store vectors without any structure: the hardest that there are for a graph."""
    vectors = np.random.default_rng(first).normal(size=(count, DIMENSIONS))
    store(database, dataset.contract, [{"id": first + n} for n in range(count)], vectors.tolist(), seq=first + 1)


def build(database: Database, dataset: Dataset, parameters: GraphParameters | None = None) -> None:
    settings = BuildSettings(memory_mb=64, workers=0, min_rows=100, parameters=parameters or GraphParameters())
    IndexBuilder(database, settings).rebuild(dataset.id, uuid7(), lambda: None)


def measured(database: Database, dataset: Dataset, **effort: Any) -> Recall:
    with database.autocommit() as connection:
        ranges = catalogue.ready_ranges(connection, dataset.id)
        return measure(connection, Layout(dataset.contract), ranges, Effort(**{"samples": 30, **effort}))


class TestMeasure:
    def test_without_segments_every_search_is_exact(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 500)
        assert measured(database, dataset).value == 1.0

    def test_a_good_index_finds_nearly_all_and_a_bad_one_does_not(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 4000)
        build(database, dataset)
        good = measured(database, dataset)
        build(database, dataset, GraphParameters(m=2, ef_construction=4))
        bad = measured(database, dataset)
        assert good.value > 0.95
        assert bad.value < good.value - 0.1

    def test_the_effort_of_searches_counts(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 4000)
        build(database, dataset, GraphParameters(m=4, ef_construction=16))
        values = [measured(database, dataset, ef=ef).value for ef in (40, 1000)]
        assert values[0] < values[1]

    def test_of_equally_near_records_any_counts(self, database: Database, dataset: Dataset) -> None:
        one = np.ones((300, DIMENSIONS)).tolist()
        store(database, dataset.contract, [{"id": n} for n in range(300)], one)
        build(database, dataset)
        assert measured(database, dataset).value == 1.0

    def test_no_records_and_records_without_vectors(self, database: Database, dataset: Dataset) -> None:
        assert measured(database, dataset) == Recall(1.0, 10, 0)
        store(database, dataset.contract, [{"id": n} for n in range(20)], [None] * 20)
        assert measured(database, dataset) == Recall(1.0, 10, 0)

    def test_it_ends_when_its_time_is_used_up(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 3000)
        assert measured(database, dataset, samples=5000, seconds=0.2).samples < 1000


class TestShown:
    def test_exact_then_unknown_then_measured(self, database: Database, dataset: Dataset) -> None:
        with database.autocommit() as connection:
            shown = recall_state(connection, dataset.id, has_segments=False)
            assert shown is not None
            assert (shown["value"], shown["exact"]) == (1.0, True)
            assert recall_state(connection, dataset.id, has_segments=True) is None
            assert recall.list_measured(connection) == []
        fill(database, dataset, 500)
        build(database, dataset)
        with database.autocommit() as connection:
            store_recall(connection, dataset.id, dataset.name, Recall(0.98123, 10, 50), 12.0)
            shown = recall_state(connection, dataset.id, has_segments=True)
            assert recall.list_measured(connection) == [("things", 10, 0.98123)]
        assert shown is not None
        assert (shown["value"], shown["k"], shown["samples"], shown["exact"]) == (0.9812, 10, 50, False)


class TestKeeper:
    """When a measurement is due."""

    def due(self, database: Database, pause: float = 0.0) -> bool:
        return bool(RecallKeeper(database, samples=10, pause=pause).run())

    def finish(self, database: Database, dataset: Dataset) -> None:
        """End the job as if it had measured."""
        with database.transaction() as connection:
            store_recall(connection, dataset.id, dataset.name, Recall(1.0, 10, 10), 1.0)
            running = "UPDATE gristmill.jobs SET state = 'running' WHERE state = 'queued'"
            ended = "UPDATE gristmill.jobs SET state = 'succeeded', finished_at = now() WHERE state = 'running'"
            for statement in (running, ended):
                connection.exec_driver_sql(statement)
            for state in ("sent", "running", "done"):
                connection.exec_driver_sql("UPDATE gristmill.chunks SET state = %s WHERE state <> 'done'", (state,))

    def test_never_without_segments_or_when_it_is_turned_off(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 500)
        self.finish(database, dataset)
        assert not self.due(database)
        build(database, dataset)
        assert RecallKeeper(database, samples=0).run() == 0

    def test_once_for_each_set_of_segments(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 500)
        build(database, dataset)
        self.finish(database, dataset)
        build(database, dataset)
        assert not self.due(database, pause=3600)
        assert self.due(database)
        assert not self.due(database)
        self.finish(database, dataset)
        assert not self.due(database)
        build(database, dataset)
        assert self.due(database)

    def test_after_many_new_records_and_not_after_few(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 500)
        build(database, dataset)
        self.finish(database, dataset)
        fill(database, dataset, 40, first=1000)
        assert not self.due(database)
        fill(database, dataset, 40, first=2000)
        assert self.due(database)
