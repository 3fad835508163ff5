"""Builds ended in each of their phases leave nothing invalid behind: searches go on, the next build mends all."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.indexes import (
    BODY,
    Background,
    assert_whole,
    build,
    builder_pid,
    fill,
    indexes,
    other,
    phase,
    search_ids,
    segments,
    wait_until,
)
from tests.support.stored import make_dataset

from gristmill.core.database import Database
from gristmill.core.errors import GristmillError
from gristmill.datasets.lookup import Dataset
from gristmill.jobs.errors import JobCancelled
from gristmill.kit.ids import uuid7
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.graph import GraphParameters
from gristmill.search.index.settings import BuildSettings

ROOT = Path(__file__).resolve().parents[2]
# So many candidates that the graph of some thousand rows takes seconds.
SLOW = GraphParameters(m=16, ef_construction=1000)
ROWS = 2500
WRITE = "INSERT INTO data.things (id, _seq, _ord) VALUES (-1, 1, 1)"
SNAPSHOT = "SELECT count(*) FROM gristmill.datasets"
# Reads the table and stays, without a snapshot of its own between two statements: as a report or a cursor does.
READ = "COMMIT; BEGIN ISOLATION LEVEL READ COMMITTED; SELECT FROM data.things LIMIT 1"
CHILD = """
import os, signal, sys, uuid
from gristmill.core.database import Database
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.settings import BuildSettings
from gristmill.search.index.graph import GraphParameters
from gristmill.search.repository import catalogue

url, dataset, job, what, ends_at = sys.argv[1:6]
if ends_at:
    setattr(catalogue, ends_at, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
settings = BuildSettings(memory_mb=64, workers=0, min_rows=100, check_every=0.05, parameters=GraphParameters(16, 1000))
builder = IndexBuilder(Database(url, "test-child", pool=4), settings)
getattr(builder, what)(uuid.UUID(dataset), uuid.UUID(job), lambda: None)
"""


@pytest.fixture
def dataset(database: Database) -> Dataset:
    return make_dataset(database, BODY)


@contextlib.contextmanager
def child(url: str, dataset: Dataset, what: str = "build", ends_at: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A process that builds, as a worker does, and kills itself where it would call ``ends_at`` of the catalogue."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    arguments = [url, str(dataset.id), str(uuid7()), what, ends_at]
    process = subprocess.Popen([sys.executable, "-c", CHILD, *arguments], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def held_in(database: Database, at: str, start: Callable[[], None]) -> Iterator[None]:
    """Start a build and hold it in a phase of its own until the block ends."""
    with contextlib.ExitStack() as held:
        if at == "waiting for writers before build":
            held.enter_context(other(database, WRITE))
        if at == "waiting for old snapshots":
            held.enter_context(other(database, SNAPSHOT))
        if at == "drop":
            held.enter_context(other(database, READ))
        start()
        if at == "waiting for writers before validation":
            # Whoever begins to write while the graph is being built is waited for afterwards.
            wait_until(lambda: (phase(database) or "").startswith("building index"))
            held.enter_context(other(database, WRITE))
        wait_until(lambda: (phase(database) or "").startswith(at))
        yield


PHASES = [
    "waiting for writers before build",
    "building index",
    "waiting for writers before validation",
    "waiting for old snapshots",
    "drop",
]


@pytest.mark.parametrize("at", PHASES)
class TestEndedInEachPhase:
    """The build merges a segment with a tail, so that an old index is there to go on with and to be dropped."""

    @pytest.fixture(autouse=True)
    def segment_and_tail(self, database: Database, dataset: Dataset, builder: IndexBuilder) -> None:
        fill(database, dataset, 0, 500)
        build(builder, dataset)
        fill(database, dataset, 500, ROWS - 500)

    def test_by_kill_9_of_the_worker(
        self, database: Database, database_url: str, dataset: Dataset, builder: IndexBuilder, at: str
    ) -> None:
        with contextlib.ExitStack() as running:
            processes: list[subprocess.Popen[bytes]] = []
            with held_in(database, at, lambda: processes.append(running.enter_context(child(database_url, dataset)))):
                processes[0].send_signal(signal.SIGKILL)
                processes[0].wait()
                self.assert_searches_go_on(database, dataset)
        self.mend(database, dataset, builder)

    def test_by_the_end_of_its_backend(
        self, database: Database, dataset: Dataset, builder: IndexBuilder, at: str
    ) -> None:
        work: list[Background] = []
        with held_in(database, at, lambda: work.append(Background(lambda: build(slow(database), dataset)))):
            with database.autocommit() as connection:
                connection.exec_driver_sql(f"SELECT pg_terminate_backend({builder_pid(database)})")
            outcome = work[0].ended()
            assert isinstance(outcome, GristmillError)
            assert outcome.retryable
            self.assert_searches_go_on(database, dataset)
        self.mend(database, dataset, builder)

    def test_by_cancelling_the_job(self, database: Database, dataset: Dataset, builder: IndexBuilder, at: str) -> None:
        cancelled: list[bool] = []

        def check() -> None:
            if cancelled:
                raise JobCancelled("the job is being cancelled")

        work: list[Background] = []

        def start() -> None:
            work.append(Background(lambda: slow(database).build(dataset.id, uuid7(), check)))

        with held_in(database, at, start):
            cancelled.append(True)
            assert isinstance(work[0].ended(), JobCancelled)
            assert builder_pid(database) is None
            self.assert_searches_go_on(database, dataset)
        self.mend(database, dataset, builder)

    def assert_searches_go_on(self, database: Database, dataset: Dataset) -> None:
        assert len(search_ids(database, dataset, [1.0] * 16, ROWS)) == ROWS
        ready = [s.index_name for s in segments(database, dataset) if s.state == "ready"]
        assert ready
        assert all(indexes(database)[name] for name in ready)

    def mend(self, database: Database, dataset: Dataset, builder: IndexBuilder) -> None:
        build(builder, dataset)
        assert_whole(database, dataset, ROWS)
        assert sum(s.rows for s in segments(database, dataset)) == ROWS


def slow(database: Database) -> IndexBuilder:
    settings = BuildSettings(memory_mb=64, workers=0, min_rows=100, check_every=0.05, parameters=SLOW)
    return IndexBuilder(database, settings)


@pytest.mark.parametrize("ends_at", ["insert_building", "finish", "delete"])
def test_a_worker_killed_between_index_and_catalogue(
    database: Database, database_url: str, dataset: Dataset, builder: IndexBuilder, ends_at: str
) -> None:
    fill(database, dataset, 0, 300)
    build(builder, dataset)
    fill(database, dataset, 300, 200)
    with child(database_url, dataset, ends_at=ends_at) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert len(search_ids(database, dataset, [1.0] * 16, 500)) == 500
    built = build(builder, dataset)
    assert_whole(database, dataset, 500)
    if ends_at == "finish":
        assert built["adopted"] == 1


class TestLeftovers:
    def test_an_open_export_keeps_an_index_that_was_replaced_but_no_build(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)
        build(builder, dataset)
        fill(database, dataset, 300, 200)
        with other(database, READ):
            assert build(builder, dataset)["rows"] == 500
            states = [s.state for s in segments(database, dataset)]
            assert sorted(states) == ["dropping", "ready"]
            assert len(search_ids(database, dataset, [1.0] * 16, 500)) == 500
        build(builder, dataset)
        assert_whole(database, dataset, 500)

    def test_an_index_that_nobody_knows_is_dropped(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)
        build(builder, dataset)
        with database.transaction() as connection:
            connection.exec_driver_sql(
                "CREATE INDEX things__seg99 ON data.things USING hnsw (_embedding vector_cosine_ops) WHERE _id < 9"
            )
            connection.exec_driver_sql("CREATE INDEX somebodys ON data.things (kind)")
        build(builder, dataset)
        assert_whole(database, dataset, 300)
        with database.autocommit() as connection:
            assert connection.exec_driver_sql("SELECT to_regclass('data.somebodys') IS NOT NULL").scalar()

    def test_a_segment_whose_index_somebody_dropped_is_built_again(
        self, database: Database, dataset: Dataset, builder: IndexBuilder
    ) -> None:
        fill(database, dataset, 0, 300)
        build(builder, dataset)
        (before,) = segments(database, dataset)
        with database.transaction() as connection:
            connection.exec_driver_sql(f"DROP INDEX data.{before.index_name}")
        build(builder, dataset)
        (after,) = segments(database, dataset)
        assert after.id != before.id
        assert_whole(database, dataset, 300)


def test_progress_is_told_while_the_graph_grows(database: Database, dataset: Dataset) -> None:
    fill(database, dataset, 0, ROWS)
    told: list[float] = []
    slow(database).build(dataset.id, uuid7(), lambda: None, report=told.append)
    assert told == sorted(told)
    assert len([fraction for fraction in told if 0.05 < fraction < 0.95]) >= 3
