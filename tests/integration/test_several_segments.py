"""Several graphs of one dataset: each has its own effort, and together they keep the target with less of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.support.recall import BODY, DIMENSIONS, clustered, fill, learn, searched, segments
from tests.support.stored import make_dataset

from gristmill.core.database import Database
from gristmill.datasets.lookup import Dataset
from gristmill.kit.ids import uuid7
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.graph import GraphParameters
from gristmill.search.index.policy import BuildStep, IndexState
from gristmill.search.index.settings import BuildSettings
from gristmill.search.query.catalogue import Graphs
from gristmill.search.query.settings import GRAPHS, with_settings
from gristmill.search.query.statements import Layout, Shape
from gristmill.search.query.vector import candidates
from gristmill.search.repository import catalogue

ROWS = 1400
# With fewer edges a graph of so few records may have islands, which differ from build to build: a topic's own records
# then need 200 to 900 visits, and no two builds are alike.
GRAPH = GraphParameters(10, 64)


@pytest.fixture
def dataset(database: Database) -> Dataset:
    return make_dataset(database, BODY)


def seal(database: Database, dataset: Dataset, parts: Sequence[np.ndarray], start: int = 0) -> np.ndarray:
    """Store each part and build a segment of it; return all vectors. start: how many parts there were before."""
    settings = BuildSettings(memory_mb=64, workers=0, min_rows=100, parameters=GRAPH)
    for n, part in enumerate(parts, start):
        fill(database, dataset, part, first=ROWS * n)
        builder = IndexBuilder(database, settings)
        with database.transaction() as connection:
            lo = max([1, *(one.range.hi for one in catalogue.ready_segments(connection, dataset.id))])
        with builder._work(dataset.id, lambda: None, lambda _: None) as work:
            step = BuildStep("seal", lo, None, ROWS, "for the test")
            segment = builder._begin(work, dataset.id, uuid7(), IndexState((), lo, ROWS), step)
            builder._make(work, segment, ROWS, GRAPH, 0)
            work.maker.finish(work.dataset, segment)
    with database.autocommit() as connection:
        connection.exec_driver_sql(f"ANALYZE data.{dataset.name}")
    return np.concatenate(parts)


def topics(count: int = 3) -> list[np.ndarray]:
    """Return 100 vectors more of each topic than a segment has."""
    return [clustered(ROWS + 100, seed=n) + 4 * np.eye(DIMENSIONS)[n] * DIMENSIONS**0.5 for n in range(count)]


class TestTopics:
    """A new topic in every segment: most of what a search is for is in one of them."""

    def test_each_walk_has_its_own_effort(self, database: Database, dataset: Dataset) -> None:
        seal(database, dataset, [topic[:ROWS] for topic in topics()])
        assert len(segments(database, dataset)) == 3
        # Whatever the order of the efforts, a walk reads as many pages as it does when all have its effort.
        ranges = [segment.range for segment in segments(database, dataset)]

        def pages(*efs: int) -> list[int]:
            walks = tuple(one._replace(ef=ef) for one, ef in zip(ranges, efs, strict=True))
            statement = Layout(dataset.contract).statement(Shape("vector", walks))
            sql = with_settings(GRAPHS, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
            values = {"query": str([1.0] * DIMENSIONS), "k": 10, "limit": 10, "size": 10}
            values |= candidates(walks, [10] * len(walks), 10)
            with database.autocommit() as connection:
                plan = connection.exec_driver_sql(sql, values).scalar_one()
            found: dict[str, int] = {}

            def look(node: dict[str, Any]) -> None:
                if "__seg" in node.get("Index Name", ""):
                    found[node["Index Name"]] = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
                for child in node.get("Plans", []):
                    look(child)

            look(plan[0]["Plan"])
            return [found[name] for name in sorted(found)]

        # What a session reads once, of the catalogue and of each index, is read before.
        pages(300, 300, 300)
        few, many = pages(20, 20, 20), pages(300, 300, 300)
        assert all(low < high / 2 for low, high in zip(few, many, strict=True))
        assert pages(20, 300, 20) == [few[0], many[1], few[2]]
        assert pages(300, 20, 300) == [many[0], few[1], many[2]]

    def test_searches_for_each_topic_keep_the_target_with_far_less_effort(
        self, database: Database, dataset: Dataset
    ) -> None:
        every = topics()
        stored = seal(database, dataset, [topic[:ROWS] for topic in every])
        learn(database, dataset, samples=200)
        for topic in every:
            recall, _ = searched(database, dataset, stored, topic[ROWS:])
            assert recall >= 0.95
        known = Graphs(segments(database, dataset))
        shares = [graph.curve.contribution.share[0] for graph in known.graphs if graph.curve.contribution]
        assert sum(shares) == pytest.approx(1, abs=0.01)
        divided, each = known.effort(0.98, 10), known.effort(0.98, 10, filtered=True)
        assert divided.reached
        # 0.14 to 0.26 in eight builds.
        assert sum(divided.visits) < 0.5 * sum(each.visits)

    def test_a_filter_that_keeps_one_topic_for_searches_by_another(
        self, database: Database, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # So few records would be compared.
        monkeypatch.setattr("gristmill.search.query.selectivity.VISIT_COST", 0.0)
        monkeypatch.setattr("gristmill.search.query.catalogue.MOST_COMPARED", 0)
        every = topics()
        stored = seal(database, dataset, [topic[:ROWS] for topic in every])
        learn(database, dataset, samples=200)
        kept = {"id": {"lt": ROWS}}
        recall, answers = searched(database, dataset, stored[:ROWS], every[1][ROWS:], where=kept)
        assert recall >= 0.97
        assert all(answer["complete"] for answer in answers)
        assert {answer["plan"] for answer in answers} == {"segments"}


class TestMixed:
    """Records as they come: each segment holds its part of what is near."""

    def test_the_target_is_kept_and_no_more_is_done_than_if_each_graph_reached_it(
        self, database: Database, dataset: Dataset
    ) -> None:
        every = clustered(3 * ROWS + 200, seed=4)
        stored = seal(database, dataset, [every[ROWS * n : ROWS * (n + 1)] for n in range(3)])
        measured = learn(database, dataset, samples=200)
        for target in (0.9, 0.95, 0.98):
            recall, answers = searched(database, dataset, stored, every[3 * ROWS :], recall_target=target)
            assert recall >= target - 0.02
            assert all(answer["expected_recall"] >= target - 0.001 for answer in answers)
        assert measured.value >= 0.96
        known = Graphs(segments(database, dataset))
        for target in (0.9, 0.95, 0.98):
            divided, each = known.effort(target, 10), known.effort(target, 10, filtered=True)
            # They lie on a grid, of steps of 5 %.
            assert sum(divided.visits) <= 1.06 * sum(each.visits)

    def test_a_segment_that_came_later_is_walked_too(self, database: Database, dataset: Dataset) -> None:
        """Until all are learnt again nothing that was seen before counts."""
        every = clustered(3 * ROWS + 100, seed=6)
        parts = [every[ROWS * n : ROWS * (n + 1)] for n in range(3)]
        seal(database, dataset, parts[:2])
        learn(database, dataset, samples=200)
        assert sum(self.shares(database, dataset)) == pytest.approx(1, abs=0.01)
        seal(database, dataset, parts[2:], start=2)
        recall, answers = searched(database, dataset, every[: 3 * ROWS], every[3 * ROWS :])
        assert recall >= 0.95
        assert {answer["recall_known_from"] for answer in answers} == {"assumed"}
        assert sum(self.shares(database, dataset)) == pytest.approx(1, abs=0.01)
        learn(database, dataset, samples=200)
        assert len(self.shares(database, dataset)) == 3
        assert sum(self.shares(database, dataset)) == pytest.approx(1, abs=0.01)

    def test_where_comparing_all_records_takes_too_long_curves_are_learnt_alone(
        self, database: Database, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gristmill.search.recall.learn._FOR_TRUTHS", 0.0)
        every = clustered(2 * ROWS + 100, seed=7)
        stored = seal(database, dataset, [every[:ROWS], every[ROWS : 2 * ROWS]])
        assert learn(database, dataset, samples=200).samples >= 100
        assert self.shares(database, dataset) == []
        recall, answers = searched(database, dataset, stored, every[2 * ROWS :])
        assert recall >= 0.95
        assert {answer["recall_known_from"] for answer in answers} == {"records"}

    def test_copies_of_one_vector(self, database: Database, dataset: Dataset) -> None:
        """Any ten of them are the nearest, whichever segment they are in."""
        stored = seal(database, dataset, [np.ones((ROWS, DIMENSIONS))] * 3)
        assert learn(database, dataset).value == 1.0
        assert self.shares(database, dataset) == pytest.approx([1 / 3] * 3, abs=0.01)
        assert searched(database, dataset, stored, stored[:2])[0] == 1.0

    @staticmethod
    def shares(database: Database, dataset: Dataset) -> list[float]:
        """Return the part of the ten nearest of each segment of which it is known."""
        known = Graphs(segments(database, dataset)).graphs
        return [graph.curve.contribution.share[0] for graph in known if graph.curve.contribution]
