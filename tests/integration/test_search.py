"""Similarity search on real Postgres: what is found, in which order, and what is refused."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy.pool import QueuePool
from tests.support.embedders import registry
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.core.errors import Invalid, Malformed
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.embeddings.batching import BatchLimits
from gristmill.embeddings.port import Provider
from gristmill.embeddings.providers.hashing import HashingEmbedder, describe
from gristmill.embeddings.registry import EmbedderRegistry
from gristmill.kit.ids import uuid7
from gristmill.records.errors import UnknownRecord
from gristmill.search.errors import NotSearchable
from gristmill.search.index.builder import BuildSettings, IndexBuilder
from gristmill.search.query.rank import _Ranking
from gristmill.search.query.service import SearchService
from gristmill.search.query.settings import with_settings

FIELDS = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "kind", "type": "text"},
    {"name": "distance", "type": "decimal"},
]
PLANE = {"name": "plane", "fields": FIELDS, "key": ["id"], "embedding": {"dimensions": 2}}
TEXTS = {
    "name": "texts",
    "fields": [{"name": "title", "type": "text", "required": True}],
    "key": ["title"],
    "embedding": {"from": ["title"], "embedder": "hashing"},
}


@pytest.fixture
def service(database: Database) -> SearchService:
    return SearchService(database, DatasetLookup(), registry)


def search(service: SearchService, dataset: str = "plane", **body: Any) -> dict[str, Any]:
    return service.search(dataset, json.dumps(body).encode())


def ids(answer: dict[str, Any]) -> list[int]:
    return [hit["record"]["id"] for hit in answer["hits"]]


def seal(database: Database, dataset: Dataset) -> None:
    builder = IndexBuilder(database, BuildSettings(memory_mb=64, workers=0, min_rows=1))
    assert builder.build(dataset.id, uuid7(), lambda: None)["rows"]


@pytest.fixture
def plane(database: Database) -> Dataset:
    """Six points: the first five one degree apart, the last without a vector."""
    dataset = make_dataset(database, PLANE)
    angles = np.radians([0, 1, 2, 3, 4])
    vectors = [[float(np.cos(angle)), float(np.sin(angle))] for angle in angles]
    records = [{"id": violation, "kind": "ab"[violation % 2], "distance": f"{violation}.5"} for violation in range(6)]
    store(database, dataset.contract, records, [*vectors, None])
    return dataset


class TestHits:
    def test_the_nearest_come_first_with_record_distance_and_score(
        self, service: SearchService, plane: Dataset
    ) -> None:
        answer = search(service, vector=[2.0, 0.0], k=2)
        first, second = answer["hits"]
        assert first == {
            "key": 0,
            "record": {"id": 0, "kind": "a", "distance": "0.5"},
            "distance": 0.0,
            "score": 1.0,
        }
        assert second["record"]["id"] == 1
        assert second["distance"] == pytest.approx(1 - np.cos(np.radians(1)), abs=1e-6)
        assert second["score"] == pytest.approx(np.cos(np.radians(1)))
        assert (answer["k"], answer["plan"], answer["complete"]) == (2, "exact", True)
        assert answer["took_ms"] > 0

    @pytest.mark.parametrize(
        ("metric", "distances", "scores"),
        [
            ("l2", [0.0, 1.0], [1.0, 0.5]),
            ("inner_product", [-6.0, -3.0], [6.0, 3.0]),
            ("cosine", [0.0, 0.0], [1.0, 1.0]),
        ],
    )
    def test_each_metric_has_its_distance_and_score(
        self, service: SearchService, database: Database, metric: str, distances: list[float], scores: list[float]
    ) -> None:
        dataset = make_dataset(database, {**PLANE, "embedding": {"dimensions": 2, "metric": metric}})
        store(database, dataset.contract, [{"id": 1}, {"id": 2}], [[1.0, 0.0], [2.0, 0.0]])
        query = [1.0, 0.0] if metric == "l2" else [3.0, 0.0]
        answer = search(service, vector=query)
        assert [hit["distance"] for hit in answer["hits"]] == pytest.approx(distances, abs=1e-6)
        assert [hit["score"] for hit in answer["hits"]] == pytest.approx(scores, abs=1e-6)

    def test_records_without_a_vector_are_never_hits(self, service: SearchService, plane: Dataset) -> None:
        answer = search(service, vector=[1.0, 0.0], k=100)
        assert ids(answer) == [0, 1, 2, 3, 4]
        assert answer["complete"] is True

    def test_like_leaves_the_record_itself_out(self, service: SearchService, plane: Dataset) -> None:
        assert ids(search(service, like=2, k=2)) in ([1, 3], [3, 1])
        assert ids(search(service, like=2, k=10))[-1] in (0, 4)
        assert len(ids(search(service, like=2, k=10))) == 4

    def test_equal_distances_come_in_the_order_of_storage(self, service: SearchService, database: Database) -> None:
        dataset = make_dataset(database, PLANE)
        store(database, dataset.contract, [{"id": 9 - violation} for violation in range(9)], [[1.0, 1.0]] * 9)
        assert ids(search(service, vector=[1.0, 1.0], k=4)) == [9, 8, 7, 6]

    def test_a_text_is_embedded_as_the_records_were(self, service: SearchService, database: Database) -> None:
        dataset = make_dataset(database, TEXTS)
        titles = ["a red bicycle", "green apples", "red bicycles and cars", "the night sky"]
        vectors = registry.get("hashing").embed(titles)
        store(database, dataset.contract, [{"title": title} for title in titles], vectors.tolist())
        found = [hit["key"] for hit in search(service, "texts", text="red bicycle", k=2)["hits"]]
        assert found == ["a red bicycle", "red bicycles and cars"]

    def test_the_vector_comes_on_request(self, service: SearchService, plane: Dataset) -> None:
        answer = search(service, vector=[1.0, 0.0], k=1, include=["embedding"])
        assert answer["hits"][0]["record"]["_embedding"] == [1.0, 0.0]
        assert "query_vector" not in answer

    def test_the_vector_of_the_query_comes_on_request(self, service: SearchService, plane: Dataset) -> None:
        given = search(service, vector=[0.5, 0.25], k=1, include=["query_vector"])
        assert given["query_vector"] == [0.5, 0.25]
        assert "_embedding" not in given["hits"][0]["record"]
        key = given["hits"][0]["key"]
        like = search(service, like=key, k=1, include=["embedding", "query_vector"])
        stored = search(service, vector=like["query_vector"], k=1, include=["embedding"])["hits"][0]
        assert (stored["key"], stored["record"]["_embedding"]) == (key, like["query_vector"])
        several = {"queries": [{"vector": [1.0, 0.0]}, {"vector": [0.0, 1.0]}], "include": ["query_vector"]}
        assert [one["query_vector"] for one in search(service, **several)["answers"]] == [[1.0, 0.0], [0.0, 1.0]]

    def test_without_a_key_hits_have_none(self, service: SearchService, database: Database) -> None:
        dataset = make_dataset(database, {**PLANE, "key": []})
        store(database, dataset.contract, [{"id": 1}], [[1.0, 0.0]])
        assert "key" not in search(service, vector=[1.0, 0.0])["hits"][0]
        with pytest.raises(Invalid) as caught:
            search(service, like=1)
        assert caught.value.violations[0].code == "no_key"


class TestFilters:
    def test_only_matching_records_are_hits(self, service: SearchService, plane: Dataset) -> None:
        assert ids(search(service, vector=[1.0, 0.0], where={"kind": "b"})) == [1, 3]
        assert ids(search(service, vector=[1.0, 0.0], where={"distance": {"ge": "3.5"}})) == [3, 4]

    @pytest.mark.promise(6)
    @pytest.mark.parametrize("matching", [3, 10, 40])
    def test_a_filtered_search_over_segments_finds_k_if_k_exist(
        self, service: SearchService, database: Database, matching: int
    ) -> None:
        dataset = make_dataset(database, {**PLANE, "embedding": {"dimensions": 8}})
        random = np.random.default_rng(3)
        vectors = random.normal(size=(2000, 8))
        # What matches lies far from the query, beyond thousands of nearer records.
        rare = np.linspace(0, 1999, matching).astype(int)
        vectors[:, 0] = np.abs(vectors[:, 0])
        vectors[rare, 0] = -5.0
        records = [{"id": n, "kind": "rare" if n in set(rare.tolist()) else "often"} for n in range(2000)]
        store(database, dataset.contract, records, vectors.tolist())
        seal(database, dataset)
        answer = search(service, vector=[1.0, *[0.0] * 7], k=10, where={"kind": "rare"})
        assert len(answer["hits"]) == min(10, matching)
        assert answer["complete"] is True
        assert {hit["record"]["kind"] for hit in answer["hits"]} == {"rare"}

    @pytest.mark.promise(6)
    def test_fewer_than_k_are_only_given_once_an_exact_pass_has_proven_them(
        self, service: SearchService, database: Database, plane: Dataset
    ) -> None:
        seal(database, plane)
        answer = search(service, vector=[1.0, 0.0], k=6)
        assert ids(answer) == [0, 1, 2, 3, 4]
        assert (answer["plan"], answer["complete"]) == ("segments, then exact", True)
        answer = search(service, vector=[1.0, 0.0], k=4, where={"kind": "a"})
        assert ids(answer) == [0, 2, 4]
        assert (answer["plan"], answer["complete"]) == ("filter, then exact", True)

    @pytest.mark.promise(6)
    def test_an_exact_pass_that_takes_too_long_is_said(
        self, database: Database, plane: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seal(database, plane)
        impatient = SearchService(database, DatasetLookup(), registry, exact_seconds=0.2)
        with database.transaction() as connection:
            # The exact pass has to wait for the lock; the search itself has been through by then.
            locked = threading.Event()
            first = _Ranking.run

            def run_then_lock(*arguments: Any, **options: Any) -> Any:
                found = first(*arguments, **options)
                if not locked.is_set():
                    locked.set()
                    connection.exec_driver_sql("LOCK TABLE data.plane IN ACCESS EXCLUSIVE MODE")
                return found

            monkeypatch.setattr(_Ranking, "run", run_then_lock)
            answer = search(impatient, vector=[1.0, 0.0], k=9)
        assert ids(answer) == [0, 1, 2, 3, 4]
        assert answer["complete"] is False
        assert "0.2 seconds" in answer["incomplete_because"]


class TestSegmentsAndTail:
    def test_recall_over_segments_and_tail(self, service: SearchService, database: Database) -> None:
        dataset = make_dataset(database, {**PLANE, "embedding": {"dimensions": 24}})
        random = np.random.default_rng(5)
        centres = random.normal(size=(50, 24))
        vectors = centres[random.integers(0, 50, 5000)] + random.normal(scale=0.4, size=(5000, 24))
        for first, last in ((0, 3000), (3000, 4500), (4500, 5000)):
            records = [{"id": n, "kind": "a"} for n in range(first, last)]
            store(database, dataset.contract, records, vectors[first:last].tolist(), seq=first + 1)
            if last < 5000:
                seal(database, dataset)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        found = 0
        for query in centres:
            truth = set(np.argsort(-(unit @ query))[:10].tolist())
            answer = search(SearchService(database, DatasetLookup(), registry), vector=query.tolist())
            assert answer["plan"] == "segments"
            found += len(truth & set(ids(answer)))
        assert found >= 0.97 * 10 * len(centres)

    @pytest.mark.promise(5)
    def test_what_is_committed_is_found_at_once_and_what_is_replaced_is_not(
        self, service: SearchService, database: Database, plane: Dataset
    ) -> None:
        seal(database, plane)
        assert ids(search(service, vector=[0.0, 1.0], k=1)) == [4]
        store(database, plane.contract, [{"id": 7}, {"id": 4}], [[0.0, 1.0], [-1.0, 0.0]], seq=2)
        assert ids(search(service, vector=[0.0, 1.0], k=2)) == [7, 3]
        assert ids(search(service, vector=[-1.0, 0.0], k=1)) == [4]

    def test_a_segment_that_went_since_the_catalogue_was_read_costs_no_record(
        self, service: SearchService, database: Database, plane: Dataset
    ) -> None:
        seal(database, plane)
        before = ids(search(service, vector=[1.0, 0.0], k=5))
        with database.transaction() as connection:
            connection.exec_driver_sql("DROP INDEX data.plane__seg1; DELETE FROM gristmill.segments")
        after = search(service, vector=[1.0, 0.0], k=5)
        assert ids(after) == before
        assert after["plan"] == "segments"


class TestSettings:
    def test_settings_reach_the_statement_and_end_with_it(self, database: Database) -> None:
        query = "SELECT current_setting('work_mem'), current_setting('jit')"
        with database.autocommit() as connection:
            before = connection.exec_driver_sql(query).one()
            within = connection.exec_driver_sql(with_settings({"work_mem": "'77kB'", "jit": "off"}, query)).one()
            assert tuple(within) == ("77kB", "off")
            assert connection.exec_driver_sql(query).one() == before

    def test_more_effort_finds_more(self, database: Database) -> None:
        dataset = make_dataset(database, {**PLANE, "embedding": {"dimensions": 32}})
        # Without any structure a graph finds its way badly, so that the effort shows.
        vectors = np.random.default_rng(1).normal(size=(3000, 32))
        store(database, dataset.contract, [{"id": n} for n in range(3000)], vectors.tolist())
        seal(database, dataset)
        service = SearchService(database, DatasetLookup(), registry)
        found = {1: 0, 1000: 0}
        for query in np.random.default_rng(2).normal(size=(30, 32)):
            unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            truth = set(np.argsort(-(unit @ query))[:10].tolist())
            for ef in found:
                found[ef] += len(truth & set(ids(search(service, vector=query.tolist(), ef=ef))))
        assert found[1] < found[1000]
        assert found[1000] >= 298


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({}, "", "exactly_one"),
            ({"vector": [1, 0], "like": 1}, "/like", "exactly_one"),
            ({"vector": [1, 0], "k": 0}, "/k", "out_of_range"),
            ({"vector": [1, 0], "k": 1001}, "/k", "out_of_range"),
            ({"vector": [1, 0], "k": True}, "/k", "wrong_type"),
            ({"vector": [1, 0], "k": 1.0}, "/k", "wrong_type"),
            ({"vector": [1, 0], "ef": 2000}, "/ef", "out_of_range"),
            ({"vector": [1, 0], "recall_target": 2}, "/recall_target", "out_of_range"),
            ({"vector": [1, 0], "recall_target": 0.5}, "/recall_target", "out_of_range"),
            ({"vector": [1, 0], "recall_target": float("nan")}, "/recall_target", "not_finite"),
            ({"vector": [1, 0], "recall_target": "high"}, "/recall_target", "wrong_type"),
            ({"vector": [1, 0], "recall_target": True}, "/recall_target", "wrong_type"),
            ({"vector": [1, 0], "recall_target": 0.9, "ef": 100}, "/recall_target", "exactly_one"),
            ({"vector": [1]}, "/vector", "wrong_length"),
            ({"vector": [1, "2"]}, "/vector/1", "wrong_type"),
            ({"vector": [1, float("nan")]}, "/vector/1", "not_finite"),
            ({"vector": [1, 1e39]}, "/vector/1", "out_of_range"),
            ({"vector": [0, 0]}, "/vector", "zero_vector"),
            ({"vector": "near"}, "/vector", "wrong_type"),
            ({"text": "red"}, "/text", "no_embedder"),
            ({"like": "x"}, "/like", "wrong_type"),
            ({"vector": [1, 0], "where": {"colour": 1}}, "/where/colour", "unknown_field"),
            ({"vector": [1, 0], "where": {"id": {"eq": "x"}}}, "/where/id/eq", "wrong_type"),
            ({"vector": [1, 0], "mode": "nearest"}, "/mode", "unknown_value"),
            ({"vector": [1, 0], "mode": "hybrid"}, "/mode", "no_text_search"),
            ({"vector": [1, 0], "include": ["all"]}, "/include", "unknown_value"),
            ({"vector": [1, 0], "limit": 3}, "/limit", "unknown_member"),
        ],
    )
    def test_each_mistake_is_named_with_its_place(
        self, service: SearchService, plane: Dataset, body: Any, pointer: str, code: str
    ) -> None:
        with pytest.raises(Invalid) as caught:
            search(service, **body)
        assert [(violation.pointer, violation.code) for violation in caught.value.violations] == [(pointer, code)]

    def test_one_answer_names_every_mistake(self, service: SearchService, plane: Dataset) -> None:
        with pytest.raises(Invalid) as caught:
            search(service, vector=[1], k=0, where={"colour": 1}, max_distance="far")
        assert [violation.pointer for violation in caught.value.violations] == [
            "/vector",
            "/k",
            "/where/colour",
            "/max_distance",
        ]

    def test_a_body_that_is_no_json_is_malformed(self, service: SearchService, plane: Dataset) -> None:
        with pytest.raises(Malformed):
            service.search("plane", b'{"k": ')
        with pytest.raises(Invalid):
            service.search("plane", b"[]")

    def test_a_text_with_nothing_to_embed_is_refused(self, service: SearchService, database: Database) -> None:
        make_dataset(database, TEXTS)
        with pytest.raises(Invalid) as caught:
            search(service, "texts", text="  ")
        assert (caught.value.violations[0].pointer, caught.value.violations[0].code) == ("/text", "nothing_to_embed")

    def test_a_dataset_without_an_embedding_is_not_searchable(self, service: SearchService, database: Database) -> None:
        body = {key: value for key, value in PLANE.items() if key != "embedding"}
        make_dataset(database, body)
        with pytest.raises(NotSearchable):
            search(service, vector=[1, 0])

    def test_unknown_names_and_keys_are_not_found(self, service: SearchService, plane: Dataset) -> None:
        with pytest.raises(UnknownDataset):
            search(service, "nothing", vector=[1, 0])
        with pytest.raises(UnknownRecord):
            search(service, like=99)

    def test_like_a_record_without_a_vector_is_refused(self, service: SearchService, plane: Dataset) -> None:
        with pytest.raises(Invalid) as caught:
            search(service, like=5)
        assert (caught.value.violations[0].pointer, caught.value.violations[0].code) == ("/like", "no_vector")

    def test_a_dataset_still_being_created_has_no_hits(self, service: SearchService, database: Database) -> None:
        make_dataset(database, PLANE, ready=False)
        assert search(service, vector=[1, 0])["hits"] == []
        with pytest.raises(UnknownRecord):
            search(service, like=1)


class TestConnections:
    def test_none_is_held_while_the_embedder_runs(self, database: Database) -> None:
        held: list[int] = []

        class Watching(HashingEmbedder):
            def embed(self, texts: Sequence[str]) -> Any:
                pools = (engine.pool for engine in (database.engine, database._autocommit))
                held.extend(pool.checkedout() for pool in pools if isinstance(pool, QueuePool))
                return super().embed(texts)

        watching = EmbedderRegistry({"hashing": Provider(describe, lambda: Watching(BatchLimits()))})
        dataset = make_dataset(database, TEXTS)
        store(database, dataset.contract, [{"title": "rain"}], registry.get("hashing").embed(["rain"]).tolist())
        service = SearchService(database, DatasetLookup(), watching)
        for _ in ("the dataset is looked up", "the dataset is remembered"):
            (hit,) = search(service, "texts", text="rain")["hits"]
            assert hit["record"] == {"title": "rain"}
        assert held == [0, 0, 0, 0]
