"""A dataset whose vectors are halfvec, over HTTP: written, read, searched, indexed, changed and exported."""

import json

import numpy as np
import pytest
from tests.support.refusals import place, refused
from tests.support.rest import Json, Rest
from tests.support.system import eventually

DIMENSIONS = 8
CONTRACT = {
    "fields": [{"name": "k", "type": "integer", "required": True}],
    "key": ["k"],
    "embedding": {"dimensions": DIMENSIONS, "metric": "cosine", "storage": "halfvec"},
}
VECTORS = np.random.default_rng(7).standard_normal((3000, DIMENSIONS)).astype(np.float32)
ROUNDED = VECTORS.astype(np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def name(rest: Rest) -> str:
    made = rest.create(CONTRACT)
    rest.store(made, [{"k": k, "_embedding": vector.tolist()} for k, vector in enumerate(VECTORS)])
    return made


def _nearest(rest: Rest, name: str, query: np.ndarray, **options: object) -> Json:
    body = {"vector": query.tolist(), "k": 5, "include": ["embedding"], **options}
    answer = rest.http.post(f"/api/v1/datasets/{name}/search", json=body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def _keys(answer: Json) -> list[int]:
    return [hit["key"] for hit in answer["hits"]]


def _expected(query: np.ndarray) -> list[int]:
    similar = ROUNDED @ query / np.linalg.norm(ROUNDED, axis=1)
    return np.argsort(-similar)[:5].tolist()


class TestHalfvec:
    def test_the_contract_says_so(self, rest: Rest, name: str) -> None:
        contract = rest.http.get(f"/api/v1/datasets/{name}").json()["contract"]
        assert contract["embedding"]["storage"] == "halfvec"

    def test_records_are_given_back_rounded(self, rest: Rest, name: str) -> None:
        record = rest.http.get(rest.record(name, "3"), params={"include": "embedding"}).json()
        assert np.array_equal(np.float32(record["_embedding"]), ROUNDED[3])

    def test_an_export_has_the_same_numbers(self, rest: Rest, name: str) -> None:
        answer = rest.http.get(f"/api/v1/datasets/{name}/export", params={"format": "ndjson", "include": "embedding"})
        found = {(row := json.loads(line))["k"]: row["_embedding"] for line in answer.text.splitlines()}
        assert np.array_equal(np.float32([found[k] for k in range(len(ROUNDED))]), ROUNDED)

    def test_a_search_finds_the_nearest_before_and_after_they_are_indexed(self, rest: Rest, name: str) -> None:
        query = VECTORS[17] + np.float32(0.01)
        exact = _nearest(rest, name, query)
        assert _keys(exact) == _expected(query)
        assert np.array_equal(np.float32(exact["hits"][0]["record"]["_embedding"]), ROUNDED[17])

        rest.succeeded(rest.http.post(f"/api/v1/datasets/{name}/index/rebuild", params={"wait": 30}))
        (index,) = rest.system.query(
            "SELECT indexdef FROM pg_indexes WHERE tablename = %s AND indexdef LIKE '%%hnsw%%'", (name,)
        )
        assert "halfvec_cosine_ops" in index["indexdef"]
        # What the API knows of the segments may be a second old.
        eventually(lambda: _nearest(rest, name, query)["plan"] == "segments", "the search walks the graph")
        indexed = _nearest(rest, name, query)
        assert _keys(indexed) == _expected(query)

    def test_a_query_is_held_to_the_same_range(self, rest: Rest, name: str) -> None:
        body = {"vector": [1.0, 1e5, *[0.0] * (DIMENSIONS - 2)], "k": 5}
        problem = refused(rest.http.post(f"/api/v1/datasets/{name}/search", json=body), 422, "invalid")
        assert place(problem) == ("/vector/1", "out_of_range")

    def test_a_record_out_of_range_is_refused_with_its_place(self, rest: Rest, name: str) -> None:
        records = [{"k": 1, "_embedding": [1.0] * DIMENSIONS}, {"k": 2, "_embedding": [*[1.0] * 7, -1e5]}]
        problem = refused(rest.post(name, records), 422, "invalid")
        assert place(problem) == ("/1/_embedding/7", "out_of_range")

    def test_a_patched_vector_is_found(self, rest: Rest) -> None:
        made = rest.create(CONTRACT)
        rest.store(made, [{"k": k, "_embedding": VECTORS[k].tolist()} for k in range(3)])
        changed = rest.http.patch(rest.record(made, "2"), json={"_embedding": VECTORS[9].tolist()}, params={"wait": 30})
        rest.succeeded(changed)
        record = _nearest(rest, made, VECTORS[9], k=1)["hits"][0]["record"]
        assert (record["k"], np.array_equal(np.float32(record["_embedding"]), ROUNDED[9])) == (2, True)
