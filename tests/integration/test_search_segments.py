"""The life of segments on real Postgres: sealing, merging, leftovers, locks, drops; and which indexes a search uses."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Connection
from tests.support.indexes import BODY, DIMENSIONS, build, fill, indexes, nearest, search_ids, segments, wait_until
from tests.support.stored import make_dataset

from gristmill.core.database import Database
from gristmill.core.errors import GristmillError
from gristmill.datasets import repository as dataset_repository
from gristmill.datasets.errors import IndexBuildInterrupted
from gristmill.datasets.index_session import open_session
from gristmill.datasets.lookup import Dataset
from gristmill.jobs.errors import JobCancelled, JobDropped
from gristmill.jobs.handlers import ChunkTask
from gristmill.kit.ids import uuid7
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.report import index_state
from gristmill.search.index.scheduler import IndexScheduler
from gristmill.search.index.settings import BuildSettings
from gristmill.search.index.tasks import IndexBuildHandler, release_table
from gristmill.search.repository import catalogue, holds, record_ids
from gristmill.search.repository import indexes as built

SEALED_AT_250 = BuildSettings(seal_rows=250, min_rows=100)


@pytest.fixture
def dataset(database: Database) -> Dataset:
    return make_dataset(database, BODY)


class TestBuild:
    def test_the_tail_becomes_a_ready_segment_with_a_valid_index(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)
        done = build(builder, dataset)
        (segment,) = segments(database, dataset)
        assert (segment.state, segment.rows, segment.lo, segment.hi) == ("ready", 300, 1, 301)
        assert indexes(database) == {segment.index_name: True}
        assert (done["step"], done["rows"], done["index"]) == ("seal", 300, segment.index_name)

    def test_a_tail_that_is_too_small_stays_a_tail(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 99)
        assert build(builder, dataset)["rows"] == 0
        assert segments(database, dataset) == []

    def test_a_segment_takes_in_those_that_are_not_much_larger(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        for first, count in ((0, 700), (700, 150), (850, 150)):
            fill(database, dataset, first, count)
            build(builder, dataset)
        found = [(s.lo, s.hi, s.rows, s.state) for s in segments(database, dataset)]
        # The second and the third became one; together they hold less than half of the first, which stays.
        assert found == [(1, 701, 700, "ready"), (701, 1001, 300, "ready")]
        assert len(indexes(database)) == 2

    def test_replaced_records_move_to_the_tail_and_no_graph_is_fed(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)
        build(builder, dataset)
        fill(database, dataset, 0, 50)
        with database.autocommit() as connection:
            state = index_state(connection, dataset)
        assert (state["segments"], state["sealed_rows"], state["tail_rows"], state["building"]) == (1, 300, 50, None)

    def test_a_valid_leftover_is_adopted(self, database: Database, dataset: Dataset, builder: IndexBuilder) -> None:
        fill(database, dataset, 0, 300)
        build(builder, dataset)
        with database.transaction() as connection:
            # As if the worker had been killed between the index and the catalogue.
            connection.exec_driver_sql("UPDATE gristmill.segments SET state = 'building', rows = 0")
        before = indexes(database)
        assert build(builder, dataset) == {"rows": 0, "adopted": 1}
        assert [(s.state, s.rows) for s in segments(database, dataset)] == [("ready", 300)]
        assert indexes(database) == before

    def test_an_invalid_leftover_is_dropped_and_built_anew(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)
        build(builder, dataset)
        (old,) = segments(database, dataset)
        with database.transaction() as connection:
            connection.exec_driver_sql("UPDATE gristmill.segments SET state = 'building'")
            connection.exec_driver_sql(
                f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'data.{old.index_name}'::regclass"
            )
        assert build(builder, dataset)["rows"] == 300
        (new,) = segments(database, dataset)
        assert new.id != old.id
        assert indexes(database) == {new.index_name: True}

    def test_a_row_that_commits_late_into_a_sealed_range_is_found_there(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)
        build(builder, dataset)
        with database.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM data.things WHERE id = 5")
            connection.exec_driver_sql(
                "INSERT INTO data.things (id, _id, _seq, _ord, _embedding) VALUES (5, 6, 1, 1, %(v)s)",
                {"v": str([0.001] * DIMENSIONS)},
            )
        assert 5 in search_ids(database, dataset, [1.0] * DIMENSIONS, 3)


@pytest.fixture
def open_snapshot(database: Database) -> Iterator[Any]:
    """A transaction that CREATE INDEX CONCURRENTLY has to wait for."""
    connection = database.connect_raw()
    connection.autocommit = False
    connection.set_session(isolation_level="REPEATABLE READ")
    with connection.cursor() as cursor:
        # Any snapshot holds the build up; a lock on the table would hold up its drop as well.
        cursor.execute("SELECT count(*) FROM gristmill.datasets")
    yield connection
    connection.close()


class TestInterruptedBuilds:
    def test_a_second_builder_waits_for_the_first(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)
        asked = threading.Event()
        with open_session(database, dataset.id, lambda: None):
            second = threading.Thread(target=lambda: builder.build(dataset.id, uuid7(), asked.set))
            second.start()
            assert asked.wait(20)
            assert indexes(database) == {}
        second.join(30)
        assert [s.state for s in segments(database, dataset)] == ["ready"]

    def test_cancelling_the_job_cancels_the_statement(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, open_snapshot: Any
    ) -> None:
        fill(database, dataset, 0, 300)

        def check() -> None:
            if segments(database, dataset) and is_waiting(database):
                raise JobCancelled("the job is being cancelled")

        with pytest.raises(JobCancelled):
            builder.build(dataset.id, uuid7(), check)
        assert not is_waiting(database)
        open_snapshot.rollback()
        # The next build removes what is left and seals everything.
        assert build(builder, dataset)["rows"] == 300
        assert list(indexes(database).values()) == [True]

    def test_a_drop_cancels_the_build_and_ends_the_job_as_dropped(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, open_snapshot: Any
    ) -> None:
        fill(database, dataset, 0, 300)
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(IndexBuildHandler(builder).run, task_of(dataset))
            wait_until(lambda: is_waiting(database))
            self.drop(database, dataset)
            assert isinstance(ended.exception(30), JobDropped)
        assert segments(database, dataset) == []

    def drop(self, database: Database, dataset: Dataset) -> None:
        with database.transaction() as connection:
            dataset_repository.set_state(connection, dataset.id, "dropping")
        with database.transaction() as connection:
            release_table(connection, dataset.id, dataset.name)
            connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'; DROP TABLE data.things")

    def test_a_table_that_goes_while_the_build_ends_ends_the_job_as_dropped(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)

        def check() -> None:
            with database.transaction() as dropping:
                dropping.exec_driver_sql("DROP TABLE IF EXISTS data.things")
            connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")

        # The lock is held by another session until the check was called, which is thus before the plan is made.
        with database.autocommit() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({built.LOCK_KEY})", {"dataset_id": str(dataset.id)})
            with pytest.raises(JobDropped):
                builder.build(dataset.id, uuid7(), check)

    def test_a_statement_cancelled_by_somebody_else_is_tried_again(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, open_snapshot: Any
    ) -> None:
        fill(database, dataset, 0, 300)

        def check() -> None:
            if is_waiting(database):
                with database.autocommit() as connection:
                    built.cancel_builders(connection, dataset.id)

        with pytest.raises(IndexBuildInterrupted) as caught:
            builder.build(dataset.id, uuid7(), check)
        assert caught.value.retryable

    def test_a_dataset_dropped_before_ends_the_job_at_once(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        with database.transaction() as connection:
            dataset_repository.set_state(connection, dataset.id, "dropped")
        with pytest.raises(JobDropped, match="dataset dropped"):
            IndexBuildHandler(builder).run(task_of(dataset))

    def test_a_killed_client_leaves_nothing_that_the_next_build_cannot_mend(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, open_snapshot: Any
    ) -> None:
        fill(database, dataset, 0, 300)
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(build, builder, dataset)
            wait_until(lambda: is_waiting(database))
            with database.autocommit() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND query LIKE 'CREATE INDEX CONC%%'"
                )
            assert isinstance(ended.exception(30), GristmillError)
        open_snapshot.rollback()
        assert build(builder, dataset)["rows"] == 300
        assert list(indexes(database).values()) == [True]


def task_of(dataset: Dataset) -> ChunkTask:
    return ChunkTask(
        job_id=uuid7(),
        type="index.build",
        seq=1,
        number=0,
        attempt=1,
        max_attempts=5,
        fence=1,
        args={"dataset_id": str(dataset.id)},
        dataset=dataset.name,
        scope=f"index:{dataset.id}",
        exclusive=True,
        first_record=0,
        records=0,
        payload=None,
    )


def is_waiting(database: Database) -> bool:
    """Say whether a CREATE INDEX CONCURRENTLY waits for older transactions."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        " AND query LIKE 'CREATE INDEX CONC%%' AND wait_event_type = 'Lock'"
    )
    with database.autocommit() as connection:
        return bool(connection.exec_driver_sql(sql).scalar())


class TestSealer:
    def test_a_long_tail_is_due_at_once_and_only_one_job_is_unfinished(
        self, database: Database, dataset: Dataset
    ) -> None:
        fill(database, dataset, 0, 300)
        sealer = IndexScheduler(database, SEALED_AT_250)
        assert (sealer.run(), sealer.run()) == (1, 0)
        with database.autocommit() as connection:
            job = connection.exec_driver_sql(
                "SELECT queue, exclusive, scope, dataset FROM gristmill.jobs WHERE type = 'index.build'"
            ).one()
        assert tuple(job) == ("long", True, f"index:{dataset.id}", "things")

    def test_a_short_tail_is_due_once_it_has_settled(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 1200)
        settings = BuildSettings(seal_rows=10_000)
        assert IndexScheduler(database, settings).run() == 0
        settled = IndexScheduler(database, settings, settle_seconds=0)
        assert settled.run() == 1

    def test_numbers_burnt_by_upserts_do_not_make_a_tail(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)
        build(builder, dataset)
        for _ in range(4):
            fill(database, dataset, 0, 100)
        assert IndexScheduler(database, SEALED_AT_250).run() == 0

    def test_a_build_that_sealed_nothing_is_not_submitted_without_end(
        self, database: Database, dataset: Dataset
    ) -> None:
        fill(database, dataset, 0, 300)
        sealer = IndexScheduler(database, SEALED_AT_250)
        submitted = 0
        for _ in range(10):
            submitted += sealer.run()
            with database.transaction() as connection:
                for change in ("state = 'running' WHERE state = 'queued'", "state = 'failed', finished_at = now()"):
                    connection.exec_driver_sql(f"UPDATE gristmill.jobs SET {change}")
        assert submitted == 2

    def test_a_dropped_table_is_passed_over(self, database: Database, dataset: Dataset) -> None:
        with database.transaction() as connection:
            connection.exec_driver_sql("DROP TABLE data.things")
        assert IndexScheduler(database, SEALED_AT_250).run() == 0


class TestSealerDuringLoads:
    """A load is told from a trickle by what arrives within the settling time, and by what waits to be written."""

    def submitted(self, database: Database) -> dict[str, Any]:
        with database.transaction() as connection:
            args = connection.exec_driver_sql("SELECT args FROM gristmill.jobs WHERE type = 'index.build'").scalar_one()
            connection.exec_driver_sql("DELETE FROM gristmill.jobs WHERE type = 'index.build'")
        return dict(args)

    def test_records_that_jobs_still_have_to_write_are_a_load(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 300)
        self.ingest_job(database, 249)
        IndexScheduler(database, SEALED_AT_250).run()
        assert self.submitted(database)["loading"] is False
        self.ingest_job(database, 1)
        IndexScheduler(database, SEALED_AT_250).run()
        assert self.submitted(database)["loading"] is True

    def ingest_job(self, database: Database, records: int) -> None:
        with database.transaction() as connection:
            connection.exec_driver_sql(
                "INSERT INTO gristmill.jobs (id, seq, type, scope, exclusive, state, queue, priority, args, labels,"
                " submitted_by, request_id, max_attempts, chunks_total, records_total) VALUES (%(id)s,"
                " nextval('gristmill.job_number'), 'records.ingest', 'dataset:things', false, 'queued', 'default', 5,"
                " '{}', '{}', 'test', 'test', 1, 1, %(records)s)",
                {"id": str(uuid7()), "records": records},
            )

    def test_records_that_arrive_fast_are_a_load(self, database: Database, dataset: Dataset) -> None:
        sealer = IndexScheduler(database, SEALED_AT_250, settle_seconds=3600)
        fill(database, dataset, 0, 10)
        assert sealer.run() == 0
        fill(database, dataset, 10, 300)
        assert sealer.run() == 1
        assert self.submitted(database)["loading"] is True

    def test_a_load_is_built_alone_and_in_parts(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        small = IndexBuilder(database, BuildSettings(memory_mb=64, workers=1, min_rows=100, seal_rows=100))
        fill(database, dataset, 0, 400)
        build(small, dataset)
        fill(database, dataset, 400, 800)
        done = build(small, dataset, needed=100, loading=True)
        assert (done["rows"], [s.rows for s in segments(database, dataset)]) == (500, [400, 500])
        build(small, dataset, needed=100, loading=True)
        assert [s.rows for s in segments(database, dataset)] == [400, 500, 300]
        assert build(small, dataset, needed=100, loading=True)["rows"] == 0
        assert self.candidates(database, dataset) == [64, 64, 64]
        # Once it has ended, what was made in haste is merged.
        assert build(small, dataset, needed=100)["step"] == "merge"
        assert [s.rows for s in segments(database, dataset)] == [1200]
        assert self.candidates(database, dataset) == [128]

    def candidates(self, database: Database, dataset: Dataset) -> list[int]:
        names = [s.index_name for s in segments(database, dataset)]
        with database.autocommit() as connection:
            facts = {fact.name: fact.parameters["ef_construction"] for fact in built.index_facts(connection, names)}
        return [facts[name] for name in names]

    def test_what_was_built_in_haste_is_built_anew_in_the_end(self, database: Database, dataset: Dataset) -> None:
        small = IndexBuilder(database, BuildSettings(memory_mb=64, workers=0, min_rows=100, seal_rows=100))
        fill(database, dataset, 0, 450)
        build(small, dataset, needed=100)
        assert self.candidates(database, dataset) == [64]
        assert build(small, dataset, needed=100)["why"] == "a segment was built in haste"
        assert self.candidates(database, dataset) == [128]
        assert build(small, dataset, needed=100)["rows"] == 0


class TestSealerMends:
    def test_leftovers_of_a_failed_build_are_removed(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)
        build(builder, dataset)
        sealer = IndexScheduler(database, SEALED_AT_250)
        assert sealer.run() == 0
        with database.transaction() as connection:
            connection.exec_driver_sql(
                "INSERT INTO gristmill.segments (dataset_id, lo, hi, index_name, state)"
                " VALUES (%(id)s, 1, 9, 'things__seg99', 'dropping')",
                {"id": str(dataset.id)},
            )
        assert sealer.run() == 1
        build(builder, dataset, needed=250)
        assert [s.state for s in segments(database, dataset)] == ["ready"]

    def test_a_segment_that_died_is_built_anew_without_being_asked(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 2400)
        build(builder, dataset)
        settings = BuildSettings(memory_mb=64, seal_rows=5000, min_rows=100)
        sealer = IndexScheduler(database, settings)
        assert sealer.run() == 0
        with database.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM data.things WHERE id < 1300")
        # The sealer goes by what Postgres has counted, and sessions tell it now and then.
        with database.autocommit() as connection:
            connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        wait_until(lambda: self.counted(database) >= 1300)
        sealer._watched.clear()
        assert sealer.run() == 1
        done = build(IndexBuilder(database, settings), dataset, needed=500)
        assert (done["step"], done["rows"]) == ("rebuild", 1100)

    def counted(self, database: Database) -> int:
        with database.autocommit() as connection:
            connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()")
            return record_ids.changes(connection, "things")

    def test_a_hold_holds_builds_back(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 300)
        sealer = IndexScheduler(database, SEALED_AT_250)
        with database.transaction() as connection:
            holds.set_hold(connection, dataset.id, True, "test")
        assert sealer.run() == 0
        with database.transaction() as connection:
            holds.set_hold(connection, dataset.id, False, "test")
        assert sealer.run() == 1

    def test_seal_rows_of_0_builds_nothing(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 3000)
        assert IndexScheduler(database, BuildSettings(seal_rows=0), settle_seconds=0).run() == 0


class TestPlan:
    """The planner has to use each segment's graph, and only the tail may be scanned."""

    def explain(self, connection: Connection, dataset: Dataset, ranges: Any) -> str:
        statement, values = nearest(dataset, ranges, [1.0] * DIMENSIONS, 10)
        return "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", values))

    def test_each_segment_is_walked_through_its_index(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        for first, count in ((0, 4000), (4000, 1500), (5500, 200)):
            fill(database, dataset, first, count)
            if count > 1000:
                build(builder, dataset)
        with database.transaction() as connection:
            connection.exec_driver_sql("ANALYZE data.things")
            plan = self.explain(connection, dataset, catalogue.ready_ranges(connection, dataset.id))
        for name in indexes(database):
            assert f"Index Scan using {name} on things" in plan
        assert plan.count("things__id") >= 2
        assert "Seq Scan" not in plan

    def test_without_segments_no_graph_is_used_though_one_be_there(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 1500)
        build(builder, dataset)
        with database.transaction() as connection:
            plan = self.explain(connection, dataset, ())
        assert "__seg" not in plan


def test_psycopg2_is_the_driver() -> None:
    # Other drivers prepare statements, whose generic plans could not prove a partial index usable.
    assert psycopg2.threadsafety == 2
