"""Vectors of bits: written every way, compared by the bits that differ, the same through an index as exactly."""

import io
import json
import uuid
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.in_process import InProcess
from tests.support.searching import seal

from gristmill.core.database import Database
from gristmill.datasets.contract_parser import Contract, parse_contract
from gristmill.datasets.ddl import create_table
from gristmill.records.apply import upsert as write
from gristmill.records.apply.upsert import Part, upsert
from gristmill.records.columns import as_stored, to_table
from gristmill.records.payload import decode, encode
from gristmill.records.validation.rows import validator_of
from gristmill.search.query.vector import distance_of, score_of

FIELDS = [{"name": "k", "type": "integer", "required": True}]
SIZE = 12
BODY: dict[str, Any] = {
    "fields": FIELDS,
    "key": ["k"],
    "embedding": {"dimensions": SIZE, "metric": "hamming"},
}
_bits = st.text(st.sampled_from("01"), min_size=SIZE, max_size=SIZE)


def _distance(one: str, other: str) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def _random(count: int, size: int = SIZE, seed: int = 1) -> list[str]:
    digits = np.random.default_rng(seed).integers(0, 2, (count, size))
    return ["".join(map(str, row)) for row in digits]


class TestWriting:
    @pytest.fixture(params=[(200, True), (0, True), (0, False)], ids=["direct", "merge", "copy"])
    def contract(self, request: pytest.FixtureRequest, database: Database, monkeypatch: pytest.MonkeyPatch) -> Contract:
        rows, key = request.param
        monkeypatch.setattr(write, "DIRECT_ROWS", rows)
        body = {**BODY, "name": "b_" + uuid.uuid4().hex[:12], "key": ["k"] if key else []}
        contract = parse_contract(body)
        with database.transaction() as connection:
            create_table(connection, contract, uuid.uuid4())
        return contract

    @given(vectors=st.lists(st.none() | _bits, max_size=8))
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def test_every_way_keeps_every_bit(self, database: Database, contract: Contract, vectors: list[Any]) -> None:
        with database.transaction() as connection:
            connection.exec_driver_sql(f"TRUNCATE data.{contract.name}")
            rows = [validator_of(contract).validate_python({"k": k, "_embedding": v}) for k, v in enumerate(vectors)]
            payload = encode(as_stored(contract, to_table(contract.input_columns, rows)))
            upsert(connection, contract, [Part(decode(payload), 1, 0)])
            found = connection.exec_driver_sql(f"SELECT _embedding::text FROM data.{contract.name} ORDER BY k")
            assert [row[0] for row in found] == vectors


class TestRest:
    def test_searches_are_exact_before_and_after_an_index_and_follow_changes(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        vectors = _random(600)
        app.job(app.post(name, [{"k": k, "_embedding": bits} for k, bits in enumerate(vectors)]))
        query = vectors[5]

        def expected(among: dict[int, str], k: int) -> list[tuple[int, int]]:
            ranked = sorted((_distance(query, bits), key) for key, bits in among.items())
            return [(distance, key) for distance, key in ranked[:k]]

        now = dict(enumerate(vectors))
        answer = app.post(name, {"vector": query, "k": 40, "include": ["embedding"]}, path="search").json()
        hits = answer["hits"]
        assert [(hit["distance"], hit["key"]) for hit in hits] == expected(now, 40)
        assert all(hit["score"] == 1 - hit["distance"] / SIZE for hit in hits)
        assert all(hit["record"]["_embedding"] == now[hit["key"]] for hit in hits)

        dataset = self._seal(app, name)
        assert dataset.contract.vector_storage == "bit"
        app.services.search._ranker._catalogue._known.clear()
        indexed = app.post(name, {"vector": query, "k": 10, "ef": 400}, path="search").json()
        assert indexed["plan"] == "segments"
        assert [hit["distance"] for hit in indexed["hits"]] == [distance for distance, _ in expected(now, 10)]

        other = "".join("1" if bit == "0" else "0" for bit in query)
        app.job(app.post(name, [{"k": 5, "_embedding": other}]))
        app.job(app.http.patch(app.key(name, 6), json={"_embedding": query}))
        now |= {5: other, 6: query}
        found = app.post(name, {"vector": query, "k": 10, "exact": True}, path="search").json()["hits"]
        assert 6 in {hit["key"] for hit in found if hit["distance"] == 0}
        assert [hit["distance"] for hit in found] == [distance for distance, _ in expected(now, 10)]
        limited = app.post(name, {"vector": query, "k": 600, "max_distance": 3}, path="search").json()
        assert sorted(hit["key"] for hit in limited["hits"]) == sorted(
            key for key, bits in now.items() if _distance(query, bits) <= 3
        )
        scored = app.post(name, {"vector": query, "k": 600, "min_score": 1 - 3 / SIZE}, path="search").json()
        assert [hit["key"] for hit in scored["hits"]] == [hit["key"] for hit in limited["hits"]]
        like = app.post(name, {"like": 6, "k": 600, "max_distance": 3}, path="search").json()
        assert {hit["key"] for hit in like["hits"]} == {hit["key"] for hit in limited["hits"]} - {6}

    def _seal(self, app: InProcess, name: str) -> Any:
        database = app.gristmill.database
        with database.autocommit() as connection:
            dataset = app.gristmill.dataset_lookup.get(connection, name)
        seal(database, dataset)
        with database.autocommit() as connection:
            sql = "SELECT indexdef FROM pg_indexes WHERE tablename = %(name)s AND indexdef LIKE '%%hnsw%%'"
            assert "bit_hamming_ops" in str(connection.exec_driver_sql(sql, {"name": name}).scalar())
        return dataset

    def test_exports_and_reads_give_what_was_sent(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        sent: dict[int, Any] = {0: "0" * SIZE, 1: "1" * SIZE, 2: None, 3: "10" * (SIZE // 2)}
        app.job(app.post(name, [{"k": k, "_embedding": bits} for k, bits in sent.items()]))
        url = f"/api/v1/datasets/{name}/export?include=embedding&format="
        lines = [json.loads(line) for line in app.http.get(url + "ndjson").text.splitlines()]
        assert {line["k"]: line["_embedding"] for line in lines} == sent
        csv = app.http.get(url + "csv").text
        assert f"1,{'1' * SIZE}" in csv.replace('"', "")
        table = pq.read_table(io.BytesIO(app.http.get(url + "parquet").content))
        assert dict(zip(table["k"].to_pylist(), table["_embedding"].to_pylist(), strict=True)) == sent
        again = app.dataset(BODY)
        job = app.job(app.post(again, csv.encode(), headers={"content-type": "text/csv"}))
        assert job["record_counts"]["succeeded"] == 4
        assert app.http.get(url.replace(name, again) + "csv").text == csv
        job = app.job(app.post(again, [{"k": 1, "_embedding": "0" * SIZE}], params={"mode": "merge"}))
        record = app.http.get(app.key(again, 1), params={"include": "embedding"}).json()
        assert (job["state"], record["_embedding"]) == ("succeeded", "0" * SIZE)

    @pytest.mark.parametrize(
        ("value", "code"),
        [
            ("01", "wrong_length"),
            ("2" * SIZE, "not_bits"),
            ([0] * SIZE, "wrong_type"),
            ("0" * (SIZE + 1), "wrong_length"),
        ],
    )
    def test_what_is_no_such_vector_is_refused_in_records_and_searches(
        self, app: InProcess, value: Any, code: str
    ) -> None:
        name = app.dataset(BODY)
        app.work()
        for answer, pointer in (
            (app.post(name, [{"k": 1, "_embedding": value}]), "/0/_embedding"),
            (app.post(name, {"vector": value}, path="search"), "/vector"),
            (app.post(name, {"vector": "0" * SIZE, "max_distance": -1}, path="search"), "/max_distance"),
        ):
            assert answer.status_code == 422, answer.text
            (error,) = answer.json()["errors"]
            assert error["pointer"] == pointer
            assert error["code"] in (code, "out_of_range")


@given(size=st.integers(1, 300), data=st.data())
def test_a_score_is_the_score_of_its_distance(size: int, data: st.DataObject) -> None:
    distance = data.draw(st.integers(0, size))
    assert distance_of("hamming", score_of("hamming", distance, size), size) == distance
