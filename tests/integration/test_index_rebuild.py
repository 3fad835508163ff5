"""Rebuilds: new indexes over everything, in parts that fit the memory, swapped in at once."""

import os
import subprocess
import uuid
from typing import Any

import pytest
from tests.integration.test_index_faults import SLOW, child, held_in
from tests.support.indexes import (
    BODY,
    Background,
    assert_whole,
    build,
    fill,
    indexes,
    phase,
    search_ids,
    segments,
    wait_until,
)
from tests.support.stored import make_dataset

from gristmill.core.database import Database
from gristmill.datasets.lookup import Dataset
from gristmill.jobs.errors import JobCancelled
from gristmill.kit.ids import uuid7
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.settings import BuildSettings

SETTINGS = BuildSettings(memory_mb=64, workers=0, min_rows=100, check_every=0.05)
# Room for some thousand rows of these vectors in a graph.
SMALL = BuildSettings(memory_mb=1, workers=0, min_rows=100, check_every=0.05)


@pytest.fixture
def dataset(database: Database) -> Dataset:
    return make_dataset(database, BODY)


def rebuild(database: Database, dataset: Dataset, settings: BuildSettings = SETTINGS, **options: Any) -> dict[str, Any]:
    job = options.pop("job", None) or uuid7()
    return IndexBuilder(database, settings).rebuild(dataset.id, job, options.pop("check", lambda: None), **options)


class TestRebuild:
    def test_everything_gets_one_new_index_in_place_of_all_others(self, database: Database, dataset: Dataset) -> None:
        for first, count in ((0, 700), (700, 150)):
            fill(database, dataset, first, count)
            build(IndexBuilder(database, SETTINGS), dataset)
        fill(database, dataset, 850, 50)
        before = {s.id for s in segments(database, dataset)}
        assert rebuild(database, dataset) == {"rows": 900, "segments": 1}
        (segment,) = segments(database, dataset)
        assert segment.id not in before
        assert (segment.lo, segment.rows) == (1, 900)
        assert_whole(database, dataset, 900)

    def test_what_exceeds_the_memory_becomes_several_parts_of_about_equal_size(
        self, database: Database, dataset: Dataset
    ) -> None:
        fill(database, dataset, 0, 3000)
        done = rebuild(database, dataset, SMALL)
        assert done["rows"] == 3000
        sizes = [s.rows for s in segments(database, dataset)]
        assert len(sizes) == done["segments"] >= 2
        assert max(sizes) - min(sizes) <= len(sizes)
        assert_whole(database, dataset, 3000)

    def test_dead_places_are_gone(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 1000)
        build(IndexBuilder(database, SETTINGS), dataset)
        fill(database, dataset, 0, 400)
        rebuild(database, dataset)
        assert [s.rows for s in segments(database, dataset)] == [1000]
        assert_whole(database, dataset, 1000)

    def test_too_few_records_get_no_index(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 99)
        assert rebuild(database, dataset) == {"rows": 0, "segments": 0}
        assert indexes(database) == {}

    def test_searches_use_the_old_indexes_until_all_parts_are_built(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 2000)
        build(IndexBuilder(database, SETTINGS), dataset)
        (old,) = segments(database, dataset)
        slow = BuildSettings(memory_mb=1, workers=0, min_rows=100, check_every=0.05, parameters=SLOW)
        work = Background(lambda: rebuild(database, dataset, slow))
        wait_until(lambda: [s for s in segments(database, dataset) if s.state == "built"])
        assert [s.id for s in segments(database, dataset) if s.state == "ready"] == [old.id]
        assert len(search_ids(database, dataset, [1.0] * 16, 2000)) == 2000
        assert work.ended()["rows"] == 2000
        assert_whole(database, dataset, 2000)

    def test_progress_counts_all_parts(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 2000)
        slow = BuildSettings(memory_mb=1, workers=0, min_rows=100, check_every=0.02, parameters=SLOW)
        told: list[float] = []
        rebuild(database, dataset, slow, report=told.append)
        assert told == sorted(told)
        assert told[-1] > 0.8


class TestEndedInBetween:
    def parts(self, database: Database, dataset: Dataset, state: str) -> list[int]:
        return [s.id for s in segments(database, dataset) if s.state == state]

    def interrupted(self, database: Database, dataset: Dataset, job: uuid.UUID) -> list[int]:
        """Rebuild until the first part is built; return the parts that are."""

        def check() -> None:
            if self.parts(database, dataset, "built"):
                raise JobCancelled("the job is being cancelled")

        with pytest.raises(JobCancelled):
            rebuild(database, dataset, SMALL, job=job, check=check)
        return self.parts(database, dataset, "built")

    def test_the_next_attempt_keeps_the_parts_that_are_built(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 3000)
        job = uuid7()
        kept = self.interrupted(database, dataset, job)
        assert kept
        done = rebuild(database, dataset, SMALL, job=job)
        assert kept[0] in self.parts(database, dataset, "ready")
        assert done["rows"] == 3000
        assert_whole(database, dataset, 3000)

    def test_a_cancelled_one_is_tidied_away(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 3000)
        build(IndexBuilder(database, SETTINGS), dataset)
        old = self.parts(database, dataset, "ready")
        assert self.interrupted(database, dataset, uuid7())
        build(IndexBuilder(database, SETTINGS), dataset)
        assert self.parts(database, dataset, "ready") == old
        assert_whole(database, dataset, 3000)

    @pytest.mark.parametrize("ends_at", ["finish_part", "swap", "delete"])
    def test_a_killed_worker_leaves_the_old_or_the_new(
        self, database: Database, database_url: str, dataset: Dataset, ends_at: str
    ) -> None:
        fill(database, dataset, 0, 500)
        build(IndexBuilder(database, SETTINGS), dataset)
        with child(database_url, dataset, "rebuild", ends_at) as process:
            process.wait(60)
        assert len(search_ids(database, dataset, [1.0] * 16, 500)) == 500
        build(IndexBuilder(database, SETTINGS), dataset)
        assert_whole(database, dataset, 500)

    def test_a_kill_while_the_graph_is_built(self, database: Database, database_url: str, dataset: Dataset) -> None:
        fill(database, dataset, 0, 2500)
        build(IndexBuilder(database, SETTINGS), dataset)
        started: list[subprocess.Popen[bytes]] = []
        with child(database_url, dataset, "rebuild") as process:
            with held_in(database, "building index", lambda: started.append(process)):
                os.kill(process.pid, 9)
                process.wait()
                assert len(search_ids(database, dataset, [1.0] * 16, 2500)) == 2500
            wait_until(lambda: phase(database) is None)
        build(IndexBuilder(database, SETTINGS), dataset)
        assert_whole(database, dataset, 2500)
