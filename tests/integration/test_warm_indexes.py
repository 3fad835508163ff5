"""Indexes are read into memory: new ones before searches use them, all of them once after a restart of Postgres."""

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from structlog.testing import capture_logs
from tests.support.folders import open_folder
from tests.support.indexes import BODY, assert_whole, build, fill, segments, wait_until
from tests.support.servers import add_database, start_postgres
from tests.support.stored import make_dataset

from gristmill.core.database import Database
from gristmill.core.migrate import downgrade, upgrade
from gristmill.datasets.lookup import Dataset
from gristmill.jobs.errors import JobCancelled, JobDropped
from gristmill.jobs.handlers import ChunkTask
from gristmill.kit.ids import uuid7
from gristmill.search.index import warm
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.restarts import RestartWatch
from gristmill.search.index.settings import BuildSettings
from gristmill.search.index.tasks import IndexWarmHandler
from gristmill.search.index.warm import IndexWarmer
from gristmill.search.query.vector import direction, walk_order, within
from gristmill.search.repository import catalogue, warming
from gristmill.stack.postgres import PostgresServer

SMALL = BuildSettings(memory_mb=1, workers=0, min_rows=100, check_every=0.05)
Read = tuple[str, str, int, int]


@pytest.fixture
def dataset(database: Database) -> Dataset:
    return make_dataset(database, BODY)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Read]:
    """What is read from now on: index, mode, first and last block."""
    found: list[Read] = []
    real = warming.read

    def read(connection: Any, function: str, index: str, mode: str, first: int, last: int) -> None:
        found.append((index, mode, first, last))
        real(connection, function, index, mode, first, last)

    monkeypatch.setattr(warming, "read", read)
    return found


def evict(database: Database, index: str) -> None:
    """Take an index out of Postgres' buffers."""
    with database.autocommit() as connection:
        connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_buffercache")

        def gone() -> bool:
            connection.exec_driver_sql(f"SELECT pg_buffercache_evict_relation('data.{index}'::regclass)")
            return share_in_buffers(database, index) == 0

        wait_until(gone)


def share_in_buffers(database: Database, index: str) -> float:
    """Return the part of the index that is in Postgres' buffers."""
    sql = (
        "SELECT count(*)::float / (pg_relation_size(c.oid) / 8192) FROM pg_class c LEFT JOIN pg_buffercache b"
        " ON b.relfilenode = pg_relation_filenode(c.oid) AND b.relforknumber = 0 AND b.reldatabase ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
        f" WHERE c.oid = 'data.{index}'::regclass AND b.bufferid IS NOT NULL GROUP BY c.oid"
    )
    with database.autocommit() as connection:
        return connection.exec_driver_sql(sql).scalar() or 0.0


def pages(database: Database, index: str) -> int:
    with database.autocommit() as connection:
        return int(connection.exec_driver_sql(f"SELECT pg_relation_size('data.{index}') / 8192").scalar_one())


def jobs(database: Database) -> list[Any]:
    with database.autocommit() as connection:
        sql = "SELECT priority, queue, state FROM gristmill.jobs WHERE type = 'index.warm'"
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def run_warm_job(database: Database, check: Callable[[], None] = lambda: None) -> dict[str, Any] | None:
    task = ChunkTask(
        job_id=uuid7(),
        type="index.warm",
        seq=1,
        number=0,
        attempt=1,
        max_attempts=5,
        fence=1,
        args={},
        dataset=None,
        scope="index.warm",
        exclusive=True,
        first_record=0,
        records=0,
        payload=None,
        check=check,
    )
    return IndexWarmHandler(IndexWarmer(database)).run(task).result


def pretend_restart(database: Database) -> None:
    with database.autocommit() as connection:
        connection.exec_driver_sql("UPDATE gristmill.index_warmups SET started_at = started_at - interval '1 hour'")


class TestBuilds:
    def test_a_new_index_is_read_whole_before_the_catalogue_says_ready(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, reads: list[Read], monkeypatch: Any
    ) -> None:
        before: list[list[Read]] = []
        real = catalogue.finish

        def finish(*given: Any) -> bool:
            before.append(list(reads))
            return real(*given)

        monkeypatch.setattr(catalogue, "finish", finish)
        fill(database, dataset, 0, 500)
        build(builder, dataset)
        (segment,) = segments(database, dataset)
        index = segment.index_name
        assert before == [[(index, "buffer", 0, pages(database, index) - 1)]]

    def test_an_adopted_one_is_in_the_buffers_before_the_catalogue_says_ready(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, monkeypatch: Any
    ) -> None:
        fill(database, dataset, 0, 500)
        with monkeypatch.context() as patched:
            patched.setattr(catalogue, "finish", lose_the_worker)
            with pytest.raises(LostWorker):
                build(builder, dataset)
        (segment,) = segments(database, dataset)
        assert segment.state == "building"
        evict(database, segment.index_name)
        found: list[float] = []
        real = catalogue.finish

        def finish(*given: Any) -> bool:
            found.append(share_in_buffers(database, segment.index_name))
            return real(*given)

        monkeypatch.setattr(catalogue, "finish", finish)
        assert build(builder, dataset)["adopted"] == 1
        assert found == [1.0]

    def test_the_parts_of_a_rebuild_are_read_before_they_take_the_place_of_the_others(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, reads: list[Read], monkeypatch: Any
    ) -> None:
        fill(database, dataset, 0, 4000)
        build(builder, dataset)
        reads.clear()
        before: list[list[str]] = []
        real = catalogue.swap

        def swap(*given: Any) -> int:
            before.append([index for index, *_ in reads])
            return real(*given)

        monkeypatch.setattr(catalogue, "swap", swap)
        done = IndexBuilder(database, SMALL).rebuild(dataset.id, uuid7(), lambda: None)
        assert done["segments"] > 1
        assert before == [[segment.index_name for segment in segments(database, dataset)]]

    def test_a_build_that_is_cancelled_while_it_reads_leaves_an_index_that_the_next_one_adopts(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, monkeypatch: Any
    ) -> None:
        fill(database, dataset, 0, 500)
        monkeypatch.setattr(warm, "PART_BYTES", 8192)
        parts = itertools.count()
        reading: list[bool] = []
        real = warming.read

        def read(*given: Any) -> None:
            real(*given)
            if next(parts) == 1:
                reading.append(True)

        def check() -> None:
            if reading:
                raise JobCancelled("the job is being cancelled")

        monkeypatch.setattr(warming, "read", read)
        with pytest.raises(JobCancelled):
            builder.build(dataset.id, uuid7(), check)
        assert next(parts) == 2
        reading.clear()
        assert [s.state for s in segments(database, dataset)] == ["building"]
        assert build(builder, dataset)["adopted"] == 1
        assert_whole(database, dataset, 500)

    def test_a_dataset_that_is_dropped_meanwhile_ends_the_job(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, monkeypatch: Any
    ) -> None:
        fill(database, dataset, 0, 500)
        real = warming.read

        def read(*given: Any) -> None:
            with database.autocommit() as connection:
                connection.exec_driver_sql("DROP TABLE data.things")
                connection.exec_driver_sql("DELETE FROM gristmill.segments")
            real(*given)

        monkeypatch.setattr(warming, "read", read)
        with pytest.raises(JobDropped):
            build(builder, dataset)


class LostWorker(BaseException):
    """Nothing that a worker does follows it."""


def lose_the_worker(*_: Any) -> bool:
    raise LostWorker


class TestReading:
    @pytest.fixture
    def index(self, database: Database, dataset: Dataset, builder: IndexBuilder) -> str:
        fill(database, dataset, 0, 500)
        build(builder, dataset)
        (segment,) = segments(database, dataset)
        return segment.index_name

    def test_in_parts_that_follow_each_other(
        self, database: Database, index: str, reads: list[Read], monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(warm, "PART_BYTES", 3 * 8192)
        shown: list[float] = []
        warmed = IndexWarmer(database).warm([index], report=shown.append)
        total = pages(database, index)
        assert (warmed.indexes, warmed.size, shown) == (1, total * 8192, [1.0])
        blocks = [block for _, _, first, last in reads for block in range(first, last + 1)]
        assert blocks == list(range(total))

    def test_one_too_large_for_the_buffers_is_read_into_the_cache_and_one_too_large_for_that_in_part(
        self, database: Database, index: str, reads: list[Read], monkeypatch: Any
    ) -> None:
        evict(database, index)
        total = pages(database, index)
        monkeypatch.setattr(warming, "memory_bytes", lambda _: (8192 * total, 8192 * 2 * total, 8192))
        assert IndexWarmer(database).warm([index]).size == 8192 * total
        monkeypatch.setattr(warming, "memory_bytes", lambda _: (8192 * total, 8192 * 3 + 1, 8192))
        assert IndexWarmer(database).warm([index]).size == 8192 * 3
        assert reads == [(index, "read", 0, total - 1), (index, "read", 0, 2)]
        assert share_in_buffers(database, index) == 0

    def test_what_takes_too_long_ends_after_a_part(
        self, database: Database, index: str, reads: list[Read], monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(warm, "PART_BYTES", 8192)
        with capture_logs() as logs:
            assert IndexWarmer(database, seconds=0).warm([index]).size == 8192
        assert len(reads) == 1
        assert logs[0]["reason"] == "it takes too long"

    def test_one_that_is_dropped_meanwhile_is_left_and_the_others_are_read(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, index: str, monkeypatch: Any
    ) -> None:
        other = make_dataset(database, {**BODY, "name": "others"})
        fill(database, other, 0, 500)
        build(builder, other)
        (second,) = segments(database, other)
        monkeypatch.setattr(warm, "PART_BYTES", 8192)
        real = warming.read
        parts = itertools.count()

        def read(connection: Any, function: str, name: str, *blocks: Any) -> None:
            if name == index and next(parts) == 1:
                with database.autocommit() as dropping:
                    dropping.exec_driver_sql(f"DROP INDEX data.{index}")
            real(connection, function, name, *blocks)

        monkeypatch.setattr(warming, "read", read)
        warmed = IndexWarmer(database).warm([index, second.index_name])
        assert (warmed.indexes, warmed.size) == (2, 8192 * (1 + pages(database, second.index_name)))
        assert IndexWarmer(database).warm([index, "never_there"]) == warm.Warmed()

    def test_what_is_searched_most_is_read_first(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, index: str, reads: list[Read]
    ) -> None:
        other = make_dataset(database, {**BODY, "name": "others"})
        fill(database, other, 0, 500)
        build(builder, other)
        (second,) = segments(database, other)
        used = f"SELECT coalesce(idx_scan, 0) FROM pg_stat_user_indexes WHERE indexrelname = '{second.index_name}'"
        vector = f"'{[1.0] * 16}'::vector"
        with database.transaction() as connection:
            search = (
                "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off;"
                f" SELECT id FROM data.others WHERE {within(second.range)}"
                f" ORDER BY {walk_order(other.contract, second.range, vector, direction(vector, 16))} LIMIT 1"
            )
            connection.exec_driver_sql(search)
            connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")

        def is_used() -> bool:
            with database.autocommit() as connection:
                return bool(connection.exec_driver_sql(used).scalar())

        wait_until(is_used)
        reads.clear()
        assert run_warm_job(database) == {
            "indexes": 2,
            "bytes": 8192 * (pages(database, index) + pages(database, second.index_name)),
        }
        assert [name for name, *_ in reads] == [second.index_name, index]


class TestRestart:
    @pytest.fixture
    def server(self) -> Iterator[PostgresServer]:
        with open_folder() as folder:
            found = start_postgres(folder / "postgres")
            yield found
            found.kill()

    def test_after_a_restart_all_dispatchers_together_submit_one_job(self, server: PostgresServer) -> None:
        url = add_database(server.url)
        upgrade(url)
        database = Database(url, "test-warm", pool=8)
        dataset = make_dataset(database, BODY)
        fill(database, dataset, 0, 500)
        assert RestartWatch(database).run() == 0, "there are no indexes yet"
        build(IndexBuilder(database, SMALL), dataset)
        (segment,) = segments(database, dataset)
        dispatchers = [RestartWatch(database) for _ in range(4)]
        assert [one.run() for one in dispatchers] == [0] * 4
        server.stop()
        server.start()
        database.close()
        assert sum(at_once([one.run for one in dispatchers])) == 1
        assert [one.run() for one in [*dispatchers, RestartWatch(database)]] == [0] * 5
        assert jobs(database) == [(9, "long", "queued")]
        evict(database, segment.index_name)
        run_warm_job(database)
        assert share_in_buffers(database, segment.index_name) == 1.0
        database.close()

    def test_a_restart_while_the_job_waits_submits_no_second_one(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 500)
        build(builder, dataset)
        watch = RestartWatch(database)
        assert watch.run() == 1
        pretend_restart(database)
        assert (watch.run(), len(jobs(database))) == (0, 1)
        with database.autocommit() as connection:
            connection.exec_driver_sql("DELETE FROM gristmill.jobs")
        pretend_restart(database)
        assert (watch.run(), watch.run()) == (1, 0)


def at_once(calls: list[Callable[[], int]]) -> list[int]:
    """Call all of them at the same moment."""
    barrier = threading.Barrier(len(calls))
    found: list[int] = []

    def run(call: Callable[[], int]) -> None:
        barrier.wait()
        found.append(call())

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == len(calls)
    return found


class TestWithoutTheExtension:
    def test_builds_go_on_and_the_log_says_so_once(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        with database.autocommit() as connection:
            connection.exec_driver_sql("DROP EXTENSION pg_prewarm")
        with capture_logs() as logs:
            for first in (0, 300):
                fill(database, dataset, first, 300)
                build(builder, dataset)
        assert_whole(database, dataset, 600)
        assert len([entry for entry in logs if entry["event"] == "index.not_warmed"]) == 1

    def test_nothing_is_submitted_until_it_is_there(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)
        build(builder, dataset)
        watch = RestartWatch(database)
        with database.autocommit() as connection:
            connection.exec_driver_sql("DROP EXTENSION pg_prewarm")
        assert (watch.run(), watch.run()) == (0, 0)
        assert run_warm_job(database) == {"indexes": 0, "bytes": 0}
        with database.autocommit() as connection:
            # Where an administrator puts it does not matter.
            connection.exec_driver_sql('CREATE SCHEMA "Tools"')
            connection.exec_driver_sql('CREATE EXTENSION pg_prewarm SCHEMA "Tools"')
        assert watch.run() == 1
        assert (run_warm_job(database) or {})["indexes"] == 1

    def test_the_migrations_succeed_for_a_user_who_may_not_create_it(self, database: Database) -> None:
        role = f"plain_{uuid7().hex}"
        server = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        url = add_database(server)
        name = url.rsplit("/", 1)[1]
        owner = psycopg2.connect(url)
        owner.autocommit = True
        with owner.cursor() as cursor:
            # pgvector is the administrator's to install where it is not trusted.
            cursor.execute("CREATE EXTENSION vector")
            cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'plain'")
            cursor.execute(f'ALTER DATABASE "{name}" OWNER TO {role}')
            cursor.execute(f"ALTER SCHEMA public OWNER TO {role}")
        owner.close()
        plain = Database(url, "test-plain", pool=2)
        plain_url = plain.url.set(drivername="postgresql", username=role, password="plain")
        plain.close()
        text = plain_url.render_as_string(hide_password=False)
        upgrade(text)
        downgrade(text, "base")
        upgrade(text)
        user = Database(text, "test-plain", pool=2)
        with user.autocommit() as connection:
            assert warming.find_function(connection) is None
            assert not warming.is_noted(connection)
        user.close()
