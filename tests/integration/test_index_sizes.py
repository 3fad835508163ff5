"""Graphs get the parameters of their size and keep them; how long builds took corrects what is expected of the next."""

from typing import Any

import pytest
from tests.integration.test_index_faults import SLOW, WRITE
from tests.support.indexes import BODY, Background, build, fill, other, phase, segments, wait_until
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.datasets.lookup import Dataset
from gristmill.search.index import graph
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.expected import LEAST_ROWS, expected_seconds
from gristmill.search.index.graph import QUICK, GraphParameters, Size
from gristmill.search.index.report import plan_report
from gristmill.search.index.scheduler import IndexScheduler
from gristmill.search.index.settings import BuildSettings
from gristmill.search.repository import builds, indexes

SETTINGS = BuildSettings(memory_mb=64, workers=0, min_rows=100, check_every=0.05, seal_rows=1000)


@pytest.fixture
def dataset(database: Database) -> Dataset:
    return make_dataset(database, BODY)


def report(database: Database, dataset: Dataset) -> dict[str, Any]:
    with database.autocommit() as connection:
        return plan_report(connection, dataset, SETTINGS)


def parameters(database: Database, dataset: Dataset) -> list[tuple[int, int]]:
    """Return m and ef_construction of each segment's graph, as Postgres has them."""
    names = [segment.index_name for segment in segments(database, dataset)]
    with database.autocommit() as connection:
        facts = {fact.name: fact.parameters for fact in indexes.index_facts(connection, names)}
    return [(facts[name]["m"], facts[name]["ef_construction"]) for name in names]


class TestSizes:
    @pytest.fixture(autouse=True)
    def small_sizes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes = (Size(0, 1, GraphParameters(16, 100)), Size(400, 1, GraphParameters(20, 110)))
        monkeypatch.setattr(graph, "SIZES", sizes)

    def test_a_segment_gets_what_its_rows_deserve_and_more_when_it_is_merged(
        self, database: Database, dataset: Dataset
    ) -> None:
        builder = IndexBuilder(database, SETTINGS)
        fill(database, dataset, 0, 150)
        build(builder, dataset)
        assert parameters(database, dataset) == [(16, 100)]
        fill(database, dataset, 150, 150)
        build(builder, dataset)
        assert parameters(database, dataset) == [(16, 100)]
        fill(database, dataset, 300, 200)
        build(builder, dataset)
        assert parameters(database, dataset) == [(20, 110)]

    def test_a_rebuild_goes_by_the_rows_of_its_parts(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 500)
        builder = IndexBuilder(database, SETTINGS)
        builder.rebuild(dataset.id, dataset.id, lambda: None)
        assert parameters(database, dataset) == [(20, 110)]

    @pytest.mark.parametrize("later", [GraphParameters(32, 300), GraphParameters(16, 80), GraphParameters(24, 100)])
    def test_other_sizes_build_nothing_again(
        self, database: Database, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, later: GraphParameters
    ) -> None:
        builder = IndexBuilder(database, SETTINGS)
        fill(database, dataset, 0, 500)
        build(builder, dataset)
        monkeypatch.setattr(graph, "SIZES", (Size(0, 1, later),))
        assert IndexScheduler(database, SETTINGS, settle_seconds=0).run() == 0
        assert "step" not in build(builder, dataset)
        assert report(database, dataset)["next"] is None
        assert parameters(database, dataset) == [(20, 110)]

    def test_what_was_built_quickly_is_built_again_with_what_its_size_gets(
        self, database: Database, dataset: Dataset
    ) -> None:
        fill(database, dataset, 0, 500)
        quickly = BuildSettings(memory_mb=64, workers=0, min_rows=100, parameters=QUICK)
        build(IndexBuilder(database, quickly), dataset)
        assert parameters(database, dataset) == [(16, 64)]
        assert build(IndexBuilder(database, SETTINGS), dataset)["step"] == "rebuild"
        assert parameters(database, dataset) == [(20, 110)]


class TestBuildsThatWere:
    @pytest.mark.parametrize(
        ("metric", "storage", "held"),
        [("l2", "vector", "vector"), ("l2", "halfvec", "halfvec"), ("cosine", "vector", "halfvec")],
    )
    def test_what_they_were_like_is_known(self, database: Database, metric: str, storage: str, held: str) -> None:
        embedding = {"dimensions": 16, "storage": storage, "metric": metric}
        dataset = make_dataset(database, {**BODY, "embedding": embedding})
        fill(database, dataset, 0, 300)
        build(IndexBuilder(database, SETTINGS), dataset)
        with database.autocommit() as connection:
            (found,) = builds.list_last(connection, least=300)
            assert builds.list_last(connection, least=301) == []
        shown = (found.rows, found.helpers, found.storage, found.dimensions, found.m, found.ef_construction)
        assert shown == (300, 0, held, 16, 16, 128)
        assert 0 < found.seconds < 60

    def test_those_of_bits_too(self, database: Database) -> None:
        dataset = make_dataset(database, {**BODY, "embedding": {"dimensions": 32, "metric": "hamming"}})
        texts: list[Any] = [f"{n * 2654435761 % 2**32:032b}" for n in range(300)]
        store(database, dataset.contract, [{"id": n} for n in range(300)], texts)
        assert report(database, dataset)["next"]["expected_seconds"] is None
        build(IndexBuilder(database, SETTINGS), dataset)
        with database.autocommit() as connection:
            (found,) = builds.list_last(connection, least=300)
        assert (found.storage, found.dimensions) == ("bit", 32)

    def test_helpers_are_counted(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 300)
        helped = BuildSettings(memory_mb=64, workers=1, min_rows=100)
        build(IndexBuilder(database, helped), dataset)
        with database.autocommit() as connection:
            (found,) = builds.list_last(connection, least=1)
        # None where the machine has too little shared memory for them.
        assert found.helpers in (0, 1)


class TestExpectedTime:
    def test_the_next_step_is_expected_to_take_what_the_last_builds_say(
        self, database: Database, dataset: Dataset
    ) -> None:
        fill(database, dataset, 0, 300)
        build(IndexBuilder(database, SETTINGS), dataset)
        fill(database, dataset, 300, 190)
        usual = expected_seconds(490, 16, "halfvec", GraphParameters(), 0, [])
        assert usual is not None
        # A build of some hundred rows says nothing.
        assert report(database, dataset)["next"]["expected_seconds"] == round(usual, 1)
        taken = expected_seconds(LEAST_ROWS, 16, "halfvec", GraphParameters(), 0, [])
        assert taken is not None
        with database.autocommit() as connection:
            connection.exec_driver_sql(
                f"UPDATE gristmill.segments SET rows = {LEAST_ROWS}, build_seconds = {100 * taken}"
            )
        assert report(database, dataset)["next"]["expected_seconds"] == pytest.approx(100 * usual, abs=0.06)

    def test_the_build_that_goes_on_is_expected_by_its_own_parameters(
        self, database: Database, dataset: Dataset
    ) -> None:
        fill(database, dataset, 0, 2500)
        slow = BuildSettings(memory_mb=64, workers=0, min_rows=100, check_every=0.05, parameters=SLOW)
        with other(database, WRITE):
            work = Background(lambda: build(IndexBuilder(database, slow), dataset))
            wait_until(lambda: phase(database) == "waiting for writers before build")
            building = report(database, dataset)["building"]
            usual = expected_seconds(building["rows"], 16, "halfvec", SLOW, 0, [])
            assert usual is not None
            assert building["expected_seconds"] == round(usual, 1)
        work.ended()

    def test_nothing_is_expected_of_a_step_that_builds_nothing(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, 0, 300)
        build(IndexBuilder(database, SETTINGS), dataset)
        with database.autocommit() as connection:
            connection.exec_driver_sql("DELETE FROM data.things WHERE id >= 50")
        found = report(database, dataset)["next"]
        assert (found["step"], found["expected_seconds"]) == ("retire", None)
