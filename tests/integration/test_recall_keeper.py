"""When recall is due to be learnt or measured, and how it is kept and shown."""

import uuid
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.handlers import ChunkTask
from gristmill.jobs.repository import claim
from gristmill.jobs.repository.dispatch import mark_sent, others_wait
from gristmill.jobs.submit import WriteRequest, submit_once
from gristmill.kit.ids import uuid7
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.report import recall_state
from gristmill.search.index.settings import BuildSettings
from gristmill.search.index.tasks import index_build
from gristmill.search.query.curve import assumed
from gristmill.search.recall.keeper import RecallKeeper
from gristmill.search.recall.learn import Recall
from gristmill.search.recall.state import recall_gauges, store_recall
from gristmill.search.recall.tasks import IndexRecallHandler, Limits, index_recall
from gristmill.search.repository import catalogue, curves, recall

BODY = {
    "name": "things",
    "fields": [{"name": "id", "type": "integer", "required": True}],
    "key": ["id"],
    "embedding": {"dimensions": 4, "recall_target": 0.95},
}


@pytest.fixture
def dataset(database: Database) -> Dataset:
    return make_dataset(database, BODY)


def fill(database: Database, dataset: Dataset, count: int, first: int = 0) -> None:
    vectors = np.random.default_rng(first).normal(size=(count, 4))
    store(database, dataset.contract, [{"id": first + n} for n in range(count)], vectors.tolist(), seq=first + 1)


def build(database: Database, dataset: Dataset) -> None:
    settings = BuildSettings(memory_mb=64, workers=0, min_rows=100)
    IndexBuilder(database, settings).rebuild(dataset.id, uuid7(), lambda: None)


def task(dataset: Dataset, **more: Any) -> ChunkTask:
    """Return the job that learns everything of the dataset, as its handler gets it."""
    return ChunkTask(
        job_id=uuid7(), type="index.recall", seq=1, number=0, attempt=1, max_attempts=3, fence=1,
        args={"dataset_id": str(dataset.id), "all": True}, dataset=dataset.name, scope="", exclusive=True,
        first_record=0, records=0, payload=None, **more,
    )  # fmt: skip


def end_jobs(connection: Connection) -> None:
    running = "UPDATE gristmill.jobs SET state = 'running' WHERE state = 'queued'"
    ended = "UPDATE gristmill.jobs SET state = 'succeeded', finished_at = now() WHERE state = 'running'"
    for statement in (running, ended):
        connection.exec_driver_sql(statement)
    for state in ("sent", "running", "done"):
        connection.exec_driver_sql("UPDATE gristmill.chunks SET state = %s WHERE state <> 'done'", (state,))


class TestShown:
    def test_exact_then_unknown_then_measured_beside_its_target(self, database: Database, dataset: Dataset) -> None:
        with database.autocommit() as connection:
            shown = recall_state(connection, dataset, has_segments=False)
            assert shown is not None
            assert (shown["value"], shown["exact"], shown["target"]) == (1.0, True, 0.95)
            assert recall_state(connection, dataset, has_segments=True) is None
            assert [gauge.samples for gauge in recall_gauges(connection)] == [[], []]
        fill(database, dataset, 500)
        build(database, dataset)
        with database.autocommit() as connection:
            store_recall(connection, dataset.id, dataset.name, Recall(0.98123, 10, 50), 0.95, 12.0, 1)
            shown = recall_state(connection, dataset, has_segments=True)
            measured, target = recall_gauges(connection)
        assert shown is not None
        assert (shown["value"], shown["k"], shown["samples"], shown["exact"]) == (0.9812, 10, 50, False)
        assert (measured.name, measured.samples) == ("gristmill_search_recall", [(("things", "10"), 0.98123)])
        assert (target.name, target.samples) == ("gristmill_search_recall_target", [(("things", "10"), 0.95)])


class TestDue:
    def due(self, database: Database, pause: float = 0.0, pauses: float = 0.0) -> bool:
        return bool(RecallKeeper(database, samples=10, pause=pause, pauses=pauses).run())

    def finish(self, database: Database, dataset: Dataset, learnt: bool = True, took_ms: float = 1.0) -> None:
        """End the job as if it had learnt and measured."""
        with database.transaction() as connection:
            for segment in catalogue.ready_segments(connection, dataset.id) if learnt else ():
                curves.store_curve(connection, segment.id, assumed(segment.rows).as_json(), took_ms)
            ids = sum(segment.id for segment in catalogue.ready_segments(connection, dataset.id))
            store_recall(connection, dataset.id, dataset.name, Recall(1.0, 10, 10), 0.95, took_ms, ids)
            end_jobs(connection)

    def submitted(self, database: Database) -> list[bool]:
        """Return of each job, in order, whether it learns everything."""
        with database.autocommit() as connection:
            sql = "SELECT (args->>'all')::bool FROM gristmill.jobs WHERE type = 'index.recall' ORDER BY id"
            return [row[0] for row in connection.exec_driver_sql(sql)]

    def test_never_without_segments_or_when_it_is_turned_off(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 500)
        self.finish(database, dataset)
        assert not self.due(database)
        build(database, dataset)
        assert RecallKeeper(database, samples=0).run() == 0

    def test_once_for_each_set_of_segments(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 500)
        build(database, dataset)
        assert self.due(database)
        assert not self.due(database)
        self.finish(database, dataset)
        assert not self.due(database)
        build(database, dataset)
        assert self.due(database)
        assert self.submitted(database) == [True, True]

    def test_a_new_segment_is_learnt_at_once_and_everything_after_the_pause(
        self, database: Database, dataset: Dataset
    ) -> None:
        fill(database, dataset, 500)
        build(database, dataset)
        assert self.due(database)
        self.finish(database, dataset)
        build(database, dataset)
        assert self.due(database, pause=3600)
        assert self.submitted(database) == [True, False]

    def test_not_before_so_many_times_have_passed_as_it_took(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 500)
        build(database, dataset)
        assert self.due(database)
        self.finish(database, dataset, took_ms=50_000)
        fill(database, dataset, 300, first=1000)
        assert not self.due(database, pauses=60)
        assert self.due(database)

    def test_what_cannot_be_learnt_in_time_is_not_tried_for_ever(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 500)
        build(database, dataset)
        # Records of the tail are drawn too, which takes time as well.
        fill(database, dataset, 40, first=1000)
        handler = IndexRecallHandler(database, DatasetLookup(), Limits(samples=64, seconds=1e-9, idle=0))
        assert self.due(database)
        assert handler.run(task(dataset)).result == {"recall": None, "k": 10, "samples": 0, "learnt": 0}
        with database.transaction() as connection:
            (segment,) = catalogue.ready_segments(connection, dataset.id)
            assert segment.curve is not None
            assert segment.curve["known_from"] == "assumed"
            end_jobs(connection)
        assert not self.due(database, pause=3600)

    def test_a_measurement_that_was_not_in_time_leaves_the_last_one(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 500)
        build(database, dataset)
        self.finish(database, dataset)
        with database.autocommit() as connection:
            store_recall(connection, dataset.id, dataset.name, Recall(0.5, 10, 0), 0.95, 1.0, 1)
            row = recall.find(connection, dataset.id)
        assert (row.value, row.samples) == (1.0, 10)

    def test_without_any_segment_there_is_nothing_to_learn(self, database: Database) -> None:
        body = {**BODY, "name": "asked", "embedding": {"dimensions": 4, "keep_queries": True}}
        dataset = make_dataset(database, body)
        fill(database, dataset, 50)
        with database.autocommit() as connection:
            for slot in range(120):
                curves.keep_query(connection, dataset.id, slot, f"[{slot},1,1,1]")
        handler = IndexRecallHandler(database, DatasetLookup(), Limits())
        assert handler.run(task(dataset)).result == {"recall": None, "k": 10, "samples": 0, "learnt": 0}

    def test_a_table_that_is_dropped_while_it_is_read_ends_the_job(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 600)
        build(database, dataset)

        def drop() -> None:
            with database.transaction() as connection:
                connection.exec_driver_sql("DROP TABLE IF EXISTS data.things")

        handler = IndexRecallHandler(database, DatasetLookup(), Limits(idle=0))
        with pytest.raises(JobDropped):
            handler.run(task(dataset, check=drop))

    def test_after_many_new_records_and_not_after_few(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 500)
        build(database, dataset)
        self.finish(database, dataset)
        fill(database, dataset, 40, first=1000)
        assert not self.due(database)
        fill(database, dataset, 40, first=2000)
        assert self.due(database)

    def test_the_curve_of_a_segment_that_is_gone_goes_and_is_not_stored(
        self, database: Database, dataset: Dataset
    ) -> None:
        fill(database, dataset, 500)
        build(database, dataset)
        with database.autocommit() as connection:
            (old,) = catalogue.ready_segments(connection, dataset.id)
            curves.store_curve(connection, old.id, assumed(500).as_json(), 1.0)
        build(database, dataset)
        with database.autocommit() as connection:
            curves.store_curve(connection, old.id, assumed(500).as_json(), 1.0)
            assert curves.curves_of(connection, dataset.id) == {}
            (new,) = catalogue.ready_segments(connection, dataset.id)
        assert new.curve is None


def test_a_job_that_waits_for_the_worker_is_seen_until_it_is_taken(database: Database, dataset: Dataset) -> None:
    """Jobs that learn do not rest then; they do while only others that learn wait, or their rests would go first."""
    request = WriteRequest(principal="test", request_id="r")

    def waiting() -> tuple[bool, bool]:
        with database.autocommit() as connection:
            return others_wait(connection, "long", "index.recall"), others_wait(connection, "default", "index.recall")

    def sent() -> tuple[uuid.UUID, int, int]:
        with database.transaction() as connection:
            (message,) = mark_sent(connection, "long", 10)
        return message.job_id, message.number, message.dispatch

    submit_once(database, request, lambda _: index_recall(dataset.id, dataset.name))
    sent()
    seen = [waiting()]
    submit_once(database, request, lambda _: index_build(dataset.id, dataset.name))
    seen.append(waiting())
    build = sent()
    seen.append(waiting())
    with database.autocommit() as connection:
        claim.claim_all(connection, [build], 60, "here:1/boot-1-2")
    assert [*seen, waiting()] == [(False, False), (False, False), (True, False), (False, False)]
