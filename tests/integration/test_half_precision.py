"""Graphs of directions in half precision: whatever the vectors are, hits and distances are those of the vectors."""

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.embedders import registry
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.kit.ids import uuid7
from gristmill.search.index import graph
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.graph import GraphParameters
from gristmill.search.index.report import plan_report
from gristmill.search.index.settings import BuildSettings
from gristmill.search.query.selectivity import Estimate
from gristmill.search.query.service import SearchService
from gristmill.search.query.statements import Layout, Shape
from gristmill.search.query.vector import MAX_EF, candidates, nearest, ranked_again, taken
from gristmill.search.recall import queries as drawn
from gristmill.search.recall.learn import Learner, Pace
from gristmill.search.repository import catalogue
from gristmill.search.repository.catalogue import Range
from gristmill.search.repository.searchable import Searchable

DIMENSIONS = 32
BODY: dict[str, Any] = {
    "name": "things",
    "fields": [{"name": "id", "type": "integer", "required": True}],
    "key": ["id"],
    "embedding": {"dimensions": DIMENSIONS},
}
SETTINGS = BuildSettings(memory_mb=64, workers=0, min_rows=100, parameters=GraphParameters(8, 48))


def fill(database: Database, dataset: Dataset, vectors: np.ndarray, first: int = 0) -> None:
    records = [{"id": first + n} for n in range(len(vectors))]
    store(database, dataset.contract, records, vectors.tolist(), seq=first + 1)


def rebuild(database: Database, dataset: Dataset) -> None:
    IndexBuilder(database, SETTINGS).rebuild(dataset.id, uuid7(), lambda: None)
    with database.autocommit() as connection:
        connection.exec_driver_sql(f"ANALYZE data.{dataset.name}")


def search(database: Database, dataset: Dataset, vector: np.ndarray, **body: Any) -> dict[str, Any]:
    service = SearchService(database, DatasetLookup(), registry)
    return service.search(dataset.name, json.dumps({"vector": vector.tolist(), **body}).encode())


def index_of(database: Database, dataset: Dataset) -> str:
    """Return the definition of the only index of vectors."""
    sql = "SELECT indexdef FROM pg_indexes WHERE tablename = %(name)s AND indexdef LIKE '%%hnsw%%'"
    with database.autocommit() as connection:
        return str(connection.exec_driver_sql(sql, {"name": dataset.name}).scalar_one())


class TestWhatIsIndexed:
    @pytest.mark.parametrize(
        ("metric", "storage", "expected"),
        [
            ("cosine", "vector", "halfvec_ip_ops"),
            ("cosine", "halfvec", "halfvec_cosine_ops"),
            ("l2", "vector", "vector_l2_ops"),
            ("inner_product", "vector", "vector_ip_ops"),
        ],
    )
    def test_directions_where_only_they_count(
        self, database: Database, metric: str, storage: str, expected: str
    ) -> None:
        embedding = {"dimensions": DIMENSIONS, "metric": metric, "storage": storage}
        dataset = make_dataset(database, {**BODY, "embedding": embedding})
        fill(database, dataset, np.random.default_rng(1).normal(size=(300, DIMENSIONS)))
        rebuild(database, dataset)
        assert expected in index_of(database, dataset)
        assert ("l2_normalize(_embedding)" in index_of(database, dataset)) == (expected == "halfvec_ip_ops")
        with database.autocommit() as connection:
            (segment,) = catalogue.ready_segments(connection, dataset.id)
            (shown,) = plan_report(connection, dataset, SETTINGS)["segments"]
        assert segment.range.half_precision == (expected == "halfvec_ip_ops")
        assert shown["storage"] == ("halfvec" if "halfvec" in expected else "vector")

    def test_a_graph_of_the_version_before_is_walked_until_it_is_built_again(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset = make_dataset(database, BODY)
        vectors = np.random.default_rng(2).normal(size=(2000, DIMENSIONS))
        fill(database, dataset, vectors)
        with monkeypatch.context() as before:
            before.setattr(Searchable, "half_precision", False)
            rebuild(database, dataset)
        for operator_class, half in (("vector_cosine_ops", False), ("halfvec_ip_ops", True)):
            assert operator_class in index_of(database, dataset)
            with database.autocommit() as connection:
                ranges = catalogue.ready_ranges(connection, dataset.id)
                statement = "EXPLAIN " + Layout(dataset.contract).statement(Shape("vector", ranges))
                values = {"query": str([1.0] * DIMENSIONS), "k": 5, "candidates": 5, "limit": 5, "size": 5}
                plan = "\n".join(row[0] for row in connection.exec_driver_sql(statement, values))
            assert ranges[0].half_precision is half
            assert "Index Scan using things__seg" in plan
            assert search(database, dataset, vectors[7])["hits"][0]["key"] == 7
            rebuild(database, dataset)

    def test_both_kinds_in_one_search(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        dataset = make_dataset(database, BODY)
        vectors = np.random.default_rng(3).normal(size=(6000, DIMENSIONS))
        # So different in size that the second one is not merged with the first.
        for first, last, half in ((0, 5000, False), (5000, 6000, True)):
            with monkeypatch.context() as patched:
                patched.setattr(Searchable, "half_precision", half)
                fill(database, dataset, vectors[first:last], first)
                IndexBuilder(database, SETTINGS).build(dataset.id, uuid7(), lambda: None, needed=500)
        with database.autocommit() as connection:
            ranges = catalogue.ready_ranges(connection, dataset.id)
        assert [one.half_precision for one in ranges] == [False, True]
        for own in (5, 5005):
            answer = search(database, dataset, vectors[own], ef=200)
            assert answer["plan"] == "segments"
            exact = search(database, dataset, vectors[own], exact=True)
            assert [hit["key"] for hit in answer["hits"]] == [hit["key"] for hit in exact["hits"]]


class TestAnyLength:
    """16-bit floats hold nothing above 65,504 and little below 1e-7; 32-bit vectors may have any length."""

    @pytest.mark.parametrize("length", [1e-16, 1e-6, 1.0, 1e6, 1e16])
    def test_is_built_and_found(self, database: Database, length: float) -> None:
        dataset = make_dataset(database, BODY)
        random = np.random.default_rng(4)
        vectors = random.normal(size=(1200, DIMENSIONS)) * length ** random.choice([0, 1], size=(1200, 1))
        fill(database, dataset, vectors)
        rebuild(database, dataset)
        for own in (3, 700):
            for query in (vectors[own], vectors[own] / np.linalg.norm(vectors[own])):
                answer = search(database, dataset, query, ef=100)
                assert answer["plan"] == "segments"
                assert answer["hits"][0]["key"] == own
                assert answer["hits"][0]["distance"] == pytest.approx(0, abs=1e-6)


class TestDistances:
    def test_are_those_of_the_vectors_and_in_order(self, database: Database) -> None:
        dataset = make_dataset(database, BODY)
        random = np.random.default_rng(5)
        vectors = random.normal(size=(1, DIMENSIONS)) + 0.3 * random.normal(size=(3000, DIMENSIONS))
        fill(database, dataset, vectors)
        rebuild(database, dataset)
        exact = search(database, dataset, vectors[9], k=50, exact=True)
        walked = search(database, dataset, vectors[9], k=50, ef=600)
        assert walked["plan"] == "segments"
        assert walked["hits"] == exact["hits"]

    def test_nearer_to_each_other_than_half_precision_can_tell(self, database: Database) -> None:
        """The curve says what such a graph is worth: the target is kept, by comparing all where it has to be."""
        dataset = make_dataset(database, BODY)
        random = np.random.default_rng(6)
        every = random.normal(size=(1, DIMENSIONS)) + 1e-4 * random.normal(size=(2050, DIMENSIONS))
        fill(database, dataset, every[:2000])
        rebuild(database, dataset)
        with database.autocommit() as connection:
            (segment,) = catalogue.ready_segments(connection, dataset.id)
            queries = drawn.draw(connection, dataset.id, dataset.contract, (segment.range,), 128, seed=1)
            Learner(connection, Layout(dataset.contract), dataset.id, Pace()).learn([segment], queries, every=True)
        found = 0
        for query in every[2000:]:
            exact = search(database, dataset, query, exact=True)["hits"]
            answer = search(database, dataset, query)
            found += sum(hit["distance"] <= exact[-1]["distance"] for hit in answer["hits"])
            assert answer["expected_recall"] >= 0.98
        assert found >= 0.97 * 500

    @pytest.mark.parametrize("body", [{"k": 1, "ef": 400}, {"k": 10, "ef": 400}, {"k": 60, "ef": 1000}])
    def test_with_a_filter(self, database: Database, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]) -> None:
        """A walk takes no more than it is expected to have at hand: it would go on looking for the last few."""
        # Of so few records Postgres would read all that the filter keeps.
        monkeypatch.setattr(Estimate, "filter_first", lambda estimate, effort: False)
        fields = [*BODY["fields"], {"name": "part", "type": "integer"}]
        dataset = make_dataset(database, {**BODY, "fields": fields})
        random = np.random.default_rng(8)
        vectors = random.normal(size=(1, DIMENSIONS)) + random.normal(size=(4000, DIMENSIONS))
        records = [{"id": n, "part": n % 2} for n in range(len(vectors))]
        store(database, dataset.contract, records, vectors.tolist(), seq=1)
        rebuild(database, dataset)
        where = {"part": 1}
        found = 0
        for own in range(30):
            answer = search(database, dataset, vectors[own], where=where, explain=True, **body)
            exact = search(database, dataset, vectors[own], where=where, exact=True, k=body["k"])
            assert len(answer["hits"]) == body["k"]
            found += sum(hit["distance"] <= exact["hits"][-1]["distance"] for hit in answer["hits"])
        assert answer["plan"] == "segments"
        assert found >= 0.97 * 30 * body["k"]

    def test_in_a_hybrid_search(self, database: Database) -> None:
        fields = [*BODY["fields"], {"name": "title", "type": "text"}]
        dataset = make_dataset(database, {**BODY, "fields": fields, "text_search": {"from": ["title"]}})
        vectors = np.random.default_rng(9).normal(size=(2000, DIMENSIONS))
        records = [{"id": n, "title": f"number {n % 50}"} for n in range(len(vectors))]
        store(database, dataset.contract, records, vectors.tolist(), seq=1)
        rebuild(database, dataset)
        body: dict[str, Any] = {"mode": "hybrid", "text": "number", "k": 20}
        walked = search(database, dataset, vectors[11], ef=1000, **body)
        exact = search(database, dataset, vectors[11], exact=True, **body)
        assert (walked["plan"], exact["plan"]) == ("segments + text", "exact + text")
        assert walked["hits"] == exact["hits"]


class TestStatistics:
    def test_none_are_kept_of_directions(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        dataset = make_dataset(database, BODY)
        fill(database, dataset, np.random.default_rng(10).normal(size=(500, DIMENSIONS)))
        sql = "SELECT count(*) FROM pg_stats WHERE tablename LIKE 'things__seg%%'"
        counts = []
        monkeypatch.setattr(graph, "without_statistics", "ALTER INDEX data.{} ALTER COLUMN 1 SET STATISTICS -1".format)
        rebuild(database, dataset)
        with database.autocommit() as connection:
            counts.append(connection.exec_driver_sql(sql).scalar_one())
        monkeypatch.undo()
        rebuild(database, dataset)
        with database.autocommit() as connection:
            counts.append(connection.exec_driver_sql(sql).scalar_one())
        assert counts == [1, 0]


class TestHowManyAreTaken:
    @given(st.integers(1, 1100), st.integers(1, MAX_EF), st.booleans())
    @settings(deadline=None)
    def test_at_least_k_and_no_more_than_a_walk_has_at_hand(self, k: int, ef: int, half: bool) -> None:
        wanted = taken(Range(1, 100, half_precision=half), k, ef)
        assert wanted >= k
        if 2 * k <= MAX_EF:
            assert wanted <= max(k, ef)
            assert half or wanted == k

    def test_each_walk_with_an_effort_of_its_own_gives_what_it_has_at_hand(self) -> None:
        ranges = (Range(1, 100, half_precision=True, ef=12), Range(100, 200, half_precision=True, ef=400))
        wanted = [taken(one, 10, one.ef) for one in ranges]
        assert wanted == [12, 10 + 25]
        assert candidates(ranges, wanted, 10) == {"candidates": 10, "candidates_0": 12, "candidates_1": 35}

    @given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 3000)), max_size=5), st.integers(1, 1000))
    def test_every_arm_gives_k_or_more(self, walks: list[tuple[int, int]], k: int) -> None:
        ranges = tuple(Range(n, n + 1, ef=ef) for n, (ef, _) in enumerate(walks))
        given_ = candidates(ranges, [wanted for _, wanted in walks], k)
        assert min(given_.values()) >= k
        statement = nearest(parse_contract(BODY), "data.t", ranges, "")
        assert set(re.findall(r"%\((candidates\w*)\)s", statement)) == set(given_)

    def test_the_true_nearest_are_among_them(self) -> None:
        """Of directions in 256 dimensions as dense as those of 60,000 texts."""
        random = np.random.default_rng(7)
        centre = random.normal(size=256)
        stored = centre + 0.7 * random.normal(size=(20_000, 256))
        queries = centre + 0.7 * random.normal(size=(50, 256))
        stored, queries = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (stored, queries))
        exact = -(queries @ stored.T)
        rounded = -(queries.astype(np.float16).astype(float) @ stored.astype(np.float16).astype(float).T)
        for k in (1, 10, 100):
            near = np.argsort(exact, axis=1)[:, :k]
            most = np.argsort(rounded, axis=1)[:, : ranked_again(k, 400)]
            held = sum(len(set(a) & set(b)) for a, b in zip(near, most, strict=True))
            assert held == 50 * k
