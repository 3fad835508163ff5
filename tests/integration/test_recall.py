"""Recall learnt and measured: what a curve says of good, bad and odd graphs, and that targets are kept by it."""

import json
import threading
from typing import Any

import numpy as np
import pytest
from tests.support.embedders import registry
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.kit.ids import uuid7
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.graph import GraphParameters
from gristmill.search.index.policy import BuildStep, IndexState
from gristmill.search.index.settings import BuildSettings
from gristmill.search.query.curve import EFS, KS, Curve, read_curve
from gristmill.search.query.service import SearchService
from gristmill.search.query.settings import GRAPHS, with_settings
from gristmill.search.query.statements import Layout, Shape
from gristmill.search.query.vector import outside
from gristmill.search.recall import queries as drawn
from gristmill.search.recall.learn import Learner, OutOfTime, Pace, Recall, Replaced
from gristmill.search.recall.nearest import nearest
from gristmill.search.repository import catalogue, curves
from gristmill.search.repository.catalogue import Ready

DIMENSIONS = 48
BODY: dict[str, Any] = {
    "name": "things",
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "part", "type": "integer", "filterable": True},
    ],
    "key": ["id"],
    "embedding": {"dimensions": DIMENSIONS},
}


@pytest.fixture
def dataset(database: Database) -> Dataset:
    return make_dataset(database, BODY)


def clustered(count: int, seed: int = 0, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Return vectors as embeddings are: in clusters of some hundred, with some noise."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(count // 200, 5), dimensions))
    return centres[random.integers(len(centres), size=count)] + 0.6 * random.normal(size=(count, dimensions))


def fill(database: Database, dataset: Dataset, vectors: np.ndarray, first: int = 0) -> None:
    part = np.random.default_rng(first).permutation(len(vectors))
    records = [{"id": first + n, "part": int(part[n])} for n in range(len(vectors))]
    store(database, dataset.contract, records, vectors.tolist(), seq=first + 1)


def build(database: Database, dataset: Dataset, parameters: GraphParameters | None = None) -> None:
    settings = BuildSettings(memory_mb=64, workers=0, min_rows=100, parameters=parameters or GraphParameters())
    IndexBuilder(database, settings).rebuild(dataset.id, uuid7(), lambda: None)
    with database.autocommit() as connection:
        connection.exec_driver_sql(f"ANALYZE data.{dataset.name}")


def segments(database: Database, dataset: Dataset) -> tuple[Ready, ...]:
    with database.autocommit() as connection:
        return catalogue.ready_segments(connection, dataset.id)


def learn(database: Database, dataset: Dataset, samples: int = 128, **pace: Any) -> Recall:
    """Learn every curve and measure, as the job does."""
    with database.autocommit() as connection:
        found = catalogue.ready_segments(connection, dataset.id)
        ranges = tuple(segment.range for segment in found)
        queries = drawn.draw(connection, dataset.id, dataset.contract, ranges, samples, seed=1)
        learner = Learner(connection, Layout(dataset.contract), dataset.id, Pace(**pace))
        rest = Pace().rest
        truths = [learner.learn(segment, queries) for segment in found]
        truths += [nearest(connection, dataset.contract, queries, part, 10, rest) for part in outside(ranges)]
        assert dataset.contract.embedding is not None
        return learner.measure(dataset.contract.embedding.recall_target, queries, truths)


def curve_of(database: Database, dataset: Dataset, place: int = 0) -> Curve:
    found = segments(database, dataset)[place].curve
    assert found is not None
    return read_curve(found)


def searched(
    database: Database, dataset: Dataset, stored: np.ndarray, queries: np.ndarray, k: int = 10, **body: Any
) -> tuple[float, list[dict[str, Any]]]:
    """Return the recall of searches, against numpy, and their answers."""
    service = SearchService(database, DatasetLookup(), registry)
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    found, answers = 0, []
    for query in queries:
        answer = service.search(dataset.name, json.dumps({"vector": query.tolist(), "k": k, **body}).encode())
        distances = 1 - unit @ (query / np.linalg.norm(query))
        limit = np.sort(distances)[k - 1]
        found += sum(hit["distance"] <= limit + 1e-5 for hit in answer["hits"])
        answers.append(answer)
    return found / (k * len(queries)), answers


class TestLearning:
    def test_a_target_is_kept_for_queries_that_nobody_has_stored(self, database: Database, dataset: Dataset) -> None:
        every = clustered(6300)
        stored, queries = every[:6000], every[6000:]
        fill(database, dataset, stored)
        build(database, dataset, GraphParameters(m=6, ef_construction=24))
        measured = learn(database, dataset)
        assert measured.samples >= 100
        efs = []
        for target in (0.9, 0.96, 0.99):
            recall, answers = searched(database, dataset, stored, queries, recall_target=target)
            assert recall >= target - 0.02
            efs.append(answers[0]["ef"])
            assert {answer["recall_known_from"] for answer in answers} == {"records"}
            assert all(answer["expected_recall"] >= target - 0.001 for answer in answers)
        assert efs == sorted(set(efs))
        assert measured.value >= 0.95

    def test_a_bad_graph_needs_more_effort_than_a_good_one(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, clustered(4000))
        needed = []
        for parameters in (GraphParameters(), GraphParameters(m=4, ef_construction=12)):
            build(database, dataset, parameters)
            learn(database, dataset)
            needed.append(curve_of(database, dataset).effort(0.95, 10) or 1001)
        assert needed[0] < needed[1]

    def test_the_default_target_is_the_contracts(self, database: Database) -> None:
        body = {**BODY, "embedding": {"dimensions": DIMENSIONS, "recall_target": 0.9}}
        dataset = make_dataset(database, body)
        stored = clustered(4000)
        fill(database, dataset, stored)
        build(database, dataset, GraphParameters(m=6, ef_construction=24))
        learn(database, dataset)
        targets: list[dict[str, float]] = [{}, {"recall_target": 0.9}, {"recall_target": 0.97}]
        asked = [searched(database, dataset, stored, stored[:1], **given)[1][0]["ef"] for given in targets]
        assert asked[0] == asked[1] < asked[2]

    def test_a_target_that_no_walk_reaches_is_compared_or_said(
        self, database: Database, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored = clustered(2000)
        fill(database, dataset, stored)
        build(database, dataset)
        poor = Curve(KS, EFS, ((0.9,) * 8,) * 4, ((0.0,) * 8,) * 4, 100, "records")
        with database.autocommit() as connection:
            curves.store_curve(connection, segments(database, dataset)[0].id, poor.as_json(), 1.0)
        recall, answers = searched(database, dataset, stored, stored[:3], explain=True)
        said = {name: answers[0][name] for name in ("plan", "ef", "expected_recall", "recall_known_from")}
        assert (recall, said) == (
            1.0,
            {"plan": "exact", "ef": None, "expected_recall": 1.0, "recall_known_from": "exact"},
        )
        # Of so many records that comparing all would take long, what walks find is given, and what that is worth.
        monkeypatch.setattr("gristmill.search.query.catalogue.MOST_COMPARED", 0)
        _, answers = searched(database, dataset, stored, stored[:3])
        assert (answers[0]["plan"], answers[0]["ef"], answers[0]["expected_recall"]) == ("segments", 1000, 0.9)
        assert "0.9000" in answers[0]["below_target_because"]

    def test_vectors_that_were_searched_by_are_taken_instead_of_records(self, database: Database) -> None:
        body = {**BODY, "embedding": {"dimensions": DIMENSIONS, "keep_queries": True}}
        dataset = make_dataset(database, body)
        fill(database, dataset, clustered(3000))
        build(database, dataset)
        with database.autocommit() as connection:
            for slot, vector in enumerate(clustered(120, seed=3)):
                curves.keep_query(connection, dataset.id, slot, str(vector.tolist()))
        learn(database, dataset)
        curve = curve_of(database, dataset)
        assert (curve.source, curve.queries) == ("queries", 120)

    @pytest.mark.parametrize(
        ("name", "metric", "storage"),
        [("a", "l2", "vector"), ("b", "inner_product", "vector"), ("c", "cosine", "halfvec")],
    )
    def test_every_metric_and_storage(self, database: Database, name: str, metric: str, storage: str) -> None:
        embedding = {"dimensions": DIMENSIONS, "metric": metric, "storage": storage}
        dataset = make_dataset(database, {**BODY, "name": name, "embedding": embedding})
        fill(database, dataset, clustered(2000))
        build(database, dataset)
        assert learn(database, dataset).value >= 0.95
        # What a walk with the largest effort finds is what numpy calls the nearest.
        assert curve_of(database, dataset).recall[0][-1] >= 0.99

    def test_bits(self, database: Database) -> None:
        dataset = make_dataset(database, {**BODY, "name": "bits", "embedding": {"dimensions": 60, "metric": "hamming"}})
        bits = clustered(2000, dimensions=60) > 0
        texts: Any = ["".join("01"[int(bit)] for bit in row) for row in bits]
        store(database, dataset.contract, [{"id": n} for n in range(2000)], texts)
        build(database, dataset)
        assert learn(database, dataset).value >= 0.95
        assert curve_of(database, dataset).recall[0][-1] >= 0.99


class TestOddData:
    def test_ten_records_are_compared(self, database: Database, dataset: Dataset) -> None:
        stored = clustered(10)
        fill(database, dataset, stored)
        recall, answers = searched(database, dataset, stored, stored[:3], k=5)
        assert recall == 1.0
        said = {name: answers[0][name] for name in ("plan", "ef", "expected_recall", "recall_known_from", "complete")}
        expected = {"plan": "exact", "ef": None, "expected_recall": 1.0, "recall_known_from": "exact", "complete": True}
        assert said == expected

    def test_identical_vectors(self, database: Database, dataset: Dataset) -> None:
        stored = np.ones((1500, DIMENSIONS))
        fill(database, dataset, stored)
        build(database, dataset)
        assert learn(database, dataset).value == 1.0
        assert searched(database, dataset, stored, stored[:2])[0] == 1.0

    def test_one_cluster_and_an_outlier(self, database: Database, dataset: Dataset) -> None:
        random = np.random.default_rng(5)
        stored = np.ones((3000, DIMENSIONS)) + 0.05 * random.normal(size=(3000, DIMENSIONS))
        stored[1700] = -stored[0]
        fill(database, dataset, stored)
        build(database, dataset)
        learn(database, dataset)
        queries = np.ones((60, DIMENSIONS)) + 0.05 * random.normal(size=(60, DIMENSIONS))
        recall, answers = searched(database, dataset, stored, queries)
        assert recall >= 0.96 or "below_target_because" in answers[0]
        recall, _ = searched(database, dataset, stored, stored[1700:1701], k=1)
        assert recall == 1.0

    def test_a_new_topic_in_every_segment(self, database: Database, dataset: Dataset) -> None:
        topics = [clustered(1500, seed=n) + 4 * np.eye(DIMENSIONS)[n] * DIMENSIONS**0.5 for n in range(3)]
        settings = BuildSettings(memory_mb=64, workers=0, min_rows=100, parameters=GraphParameters(6, 24))
        for n, topic in enumerate(topics):
            fill(database, dataset, topic[:1400], first=1400 * n)
            builder = IndexBuilder(database, settings)
            with database.transaction() as connection:
                lo = max([1, *(one.range.hi for one in catalogue.ready_segments(connection, dataset.id))])
            with builder._work(dataset.id, lambda: None, lambda _: None) as work:
                step = BuildStep("seal", lo, None, 1400, "for the test")
                segment = builder._begin(work, dataset.id, uuid7(), IndexState((), lo, 1400), step)
                builder._make(work, segment, 1400, settings.parameters, 0)
                work.maker.finish(work.dataset, segment)
        assert len(segments(database, dataset)) == 3
        self.check_that_each_walk_has_its_own_effort(database, dataset)
        learn(database, dataset, samples=200)
        stored = np.concatenate([topic[:1400] for topic in topics])
        for topic in topics:
            recall, _ = searched(database, dataset, stored, topic[1400:])
            assert recall >= 0.95

    def test_what_is_learnt_between_two_pages_does_not_change_the_ranking(
        self, database: Database, dataset: Dataset
    ) -> None:
        stored = clustered(3000)
        fill(database, dataset, stored)
        build(database, dataset)
        learn(database, dataset)
        body: dict[str, Any] = {"vector": stored[3].tolist(), "k": 20, "page_size": 8}

        def search(**more: Any) -> dict[str, Any]:
            # Each time by another process, which has read the catalogue just now.
            service = SearchService(database, DatasetLookup(), registry)
            return service.search(dataset.name, json.dumps({**body, **more}).encode())

        first = search()
        other = Curve(KS, EFS, ((0.97,) * 6 + (0.99, 0.99),) * 4, ((0.0,) * 8,) * 4, 100, "records")
        with database.autocommit() as connection:
            for segment in segments(database, dataset):
                curves.store_curve(connection, segment.id, other.as_json(), 1.0)
        assert search(page_token=first["next_page_token"])["ef"] == first["ef"]
        assert search()["ef"] > first["ef"]

    def check_that_each_walk_has_its_own_effort(self, database: Database, dataset: Dataset) -> None:
        """Whatever the order of the efforts, a walk reads as many pages as it does when all have its effort."""
        ranges = [segment.range for segment in segments(database, dataset)]

        def pages(*efs: int) -> list[int]:
            walks = tuple(one._replace(ef=ef) for one, ef in zip(ranges, efs, strict=True))
            statement = Layout(dataset.contract).statement(Shape("vector", walks))
            sql = with_settings(GRAPHS, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
            values = {"query": str([1.0] * DIMENSIONS), "k": 10, "candidates": 10, "limit": 10, "size": 10}
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

    @pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
    def test_filters_keep_the_target(self, database: Database, dataset: Dataset, share: float) -> None:
        every = clustered(6200, seed=8)
        stored, queries = every[:6000], every[6000:]
        fill(database, dataset, stored)
        build(database, dataset, GraphParameters(m=8, ef_construction=32))
        learn(database, dataset)
        part = np.random.default_rng(0).permutation(6000)
        kept = stored[part < 6000 * share]
        recall, answers = searched(database, dataset, kept, queries, where={"part": {"lt": int(6000 * share)}})
        assert recall >= 0.97
        assert all(answer["complete"] for answer in answers)


class TestEnds:
    """What ends learning before its end."""

    def test_its_time_is_used_up(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, clustered(3000))
        build(database, dataset)
        with pytest.raises(OutOfTime):
            learn(database, dataset, seconds=0.01)
        assert segments(database, dataset)[0].curve is None

    def test_the_job_is_cancelled(self, database: Database, dataset: Dataset) -> None:
        class Cancelled(Exception):
            pass

        def check() -> None:
            raise Cancelled

        fill(database, dataset, clustered(3000))
        build(database, dataset)
        with pytest.raises(Cancelled):
            learn(database, dataset, check=check)

    def test_the_segment_is_replaced_meanwhile(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, clustered(3000))
        build(database, dataset)
        old = segments(database, dataset)[0]
        calls = []

        def check() -> None:
            calls.append(1)
            if len(calls) == 4:
                thread = threading.Thread(target=build, args=(database, dataset))
                thread.start()
                thread.join()

        with pytest.raises(Replaced):
            learn(database, dataset, check=check)
        now = segments(database, dataset)
        assert [one.id for one in now] != [old.id]
        assert [one.curve for one in now] == [None]
