"""``mode=merge``, ``on_conflict=skip``, changes by a filter, deletion by keys: over REST, every format, every type."""

import io
import json
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.in_process import CSV, NDJSON, InProcess
from tests.support.values import CASES

from gristmill.datasets.types import TYPES

BASE: dict[str, Any] = {
    "fields": [
        {"name": "k", "type": "text", "required": True, "max_length": 20},
        {"name": "n", "type": "integer", "required": True},
        {"name": "note", "type": "text"},
        {"name": "meta", "type": "json"},
    ],
    "key": ["k"],
}
MERGE = "records?mode=merge"
A = {"k": "a", "n": 1, "note": "one", "meta": {"x": 1}}
B = {"k": "b", "n": 2, "note": None, "meta": None}


def counts(job: dict[str, Any]) -> tuple[int, int, int, int]:
    found = job["record_counts"]
    return found["total"], found["succeeded"], found["rejected"], found["superseded"]


@pytest.fixture
def name(app: InProcess) -> str:
    found = app.dataset(BASE)
    app.job(app.post(found, [A, B]))
    return found


def by_key(app: InProcess, name: str) -> dict[str, Any]:
    return {record["k"]: record for record in app.rows(name)}


class TestMerge:
    def test_only_the_fields_that_are_given_change(self, app: InProcess, name: str) -> None:
        job = app.job(app.post(name, [{"k": "a", "note": None}, {"k": "b", "n": 5, "meta": [1]}], MERGE))
        assert (job["type"], job["state"], counts(job)) == ("records.merge", "succeeded", (2, 2, 0, 0))
        assert by_key(app, name) == {"a": {**A, "note": None}, "b": {**B, "n": 5, "meta": [1]}}

    def test_a_new_record_is_made_where_it_is_whole_and_else_fails_the_job_by_name(
        self, app: InProcess, name: str
    ) -> None:
        app.job(app.post(name, [{"k": "c", "n": 3}], MERGE))
        assert by_key(app, name)["c"] == {"k": "c", "n": 3, "note": None, "meta": None}
        job = app.job(app.post(name, [{"k": "a", "n": 9}, {"k": "d", "note": "x"}], MERGE))
        assert (job["state"], job["error"]["code"]) == ("failed", "record_unfit")
        (error,) = job["error"]["errors"]
        assert (error["pointer"], error["code"], error["record"], error["field"]) == ("/1/n", "missing", 1, "n")
        assert by_key(app, name)["a"] == A, "the chunk is written as a whole or not at all"

    def test_with_quarantine_the_others_go_on(self, app: InProcess, name: str) -> None:
        records = [{"k": "d", "note": "x"}, {"k": "a", "n": 9}, {"k": "e", "n": "no"}]
        job = app.job(app.post(name, records, "records?mode=merge&on_error=quarantine"))
        assert (job["state"], counts(job)) == ("succeeded", (3, 1, 2, 0))
        rejects = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert [(one["record"], json.loads(one["raw"])) for one in rejects] == [(0, records[0]), (2, records[2])]
        assert by_key(app, name)["a"]["n"] == 9

    def test_of_several_records_with_one_key_each_field_s_last_wins(self, app: InProcess, name: str) -> None:
        records = [{"k": "a", "n": 7}, {"k": "a", "note": "x"}, {"k": "z", "note": "y"}, {"k": "z", "n": 1}]
        job = app.job(app.post(name, records, MERGE))
        assert counts(job) == (4, 2, 0, 2)
        rows = by_key(app, name)
        assert rows["a"] == {**A, "n": 7, "note": "x"}
        assert rows["z"] == {"k": "z", "n": 1, "note": "y", "meta": None}

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (b"k,note\na,\nb,two\n", CSV),
            (b'{"k":"a","note":null}\n{"k":"b","note":"two"}\n', NDJSON),
            (b'{"records":[{"k":"a","note":null},{"k":"b","note":"two"}]}', {"content-type": "application/json"}),
        ],
    )
    def test_text_formats(self, app: InProcess, name: str, body: bytes, headers: dict[str, str]) -> None:
        app.job(app.post(name, body, MERGE, headers=headers))
        assert by_key(app, name) == {"a": {**A, "note": None}, "b": {**B, "note": "two"}}

    @pytest.mark.parametrize("kind", ["parquet", "arrow"])
    def test_columnar_formats(self, app: InProcess, name: str, kind: str) -> None:
        table, sink = pa.table({"k": ["a", "b"], "note": pa.array([None, "two"], pa.string())}), io.BytesIO()
        if kind == "parquet":
            pq.write_table(table, sink)
        else:
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
        media = {"parquet": "application/vnd.apache.parquet", "arrow": "application/vnd.apache.arrow.stream"}[kind]
        app.job(app.post(name, sink.getvalue(), MERGE, headers={"content-type": media}))
        assert by_key(app, name) == {"a": {**A, "note": None}, "b": {**B, "note": "two"}}

    @pytest.mark.parametrize(
        ("record", "pointer", "code"),
        [
            ({"n": 1}, "/0/k", "missing"),
            ({"k": "a", "n": None}, "/0/n", "null"),
            ({"k": "a", "n": "1"}, "/0/n", "wrong_type"),
            ({"k": "a", "colour": 1}, "/0/colour", "unknown_field"),
        ],
    )
    def test_what_does_not_fit_is_refused_at_once(
        self, app: InProcess, name: str, record: dict[str, Any], pointer: str, code: str
    ) -> None:
        answer = app.post(name, [record], MERGE)
        assert answer.status_code == 422
        assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(pointer, code)]

    def test_a_dataset_without_a_key_and_a_conflict_rule_are_refused(self, app: InProcess, name: str) -> None:
        loose = app.dataset({"fields": [{"name": "n", "type": "integer"}]})
        for path in (MERGE, "records?on_conflict=skip"):
            answer = app.post(loose, [{"n": 1}], path)
            assert (answer.status_code, answer.json()["code"]) == (409, "no_key")
        answer = app.post(name, [A], MERGE + "&on_conflict=fail")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/on_conflict")


class TestVectors:
    def test_vectors_are_made_anew_only_where_their_texts_changed(self, app: InProcess) -> None:
        fields = [*BASE["fields"], {"name": "title", "type": "text"}]
        name = app.dataset({**BASE, "fields": fields, "embedding": {"from": ["title", "note"], "embedder": "hashing"}})
        records = [{**A, "title": "red apples"}, {**B, "title": "night sky", "note": "stars"}]
        app.job(app.post(name, records))
        before = self.vectors(app, name)
        app.job(
            app.post(
                name, [{"k": "a", "n": 5}, {"k": "b", "note": "blue whales"}, {"k": "c", "n": 1, "title": "x"}], MERGE
            )
        )
        after = self.vectors(app, name)
        assert after["a"] == before["a"]
        whole = app.dataset({**BASE, "fields": fields, "embedding": {"from": ["title", "note"], "embedder": "hashing"}})
        app.job(app.post(whole, [{**records[1], "note": "blue whales"}, {"k": "c", "n": 1, "title": "x"}]))
        expected = self.vectors(app, whole)
        assert {key: after[key] for key in ("b", "c")} == expected

    @pytest.mark.parametrize("storage", ["vector", "halfvec"])
    def test_vectors_that_clients_send_stay_or_change(self, app: InProcess, storage: str) -> None:
        name = app.dataset({**BASE, "embedding": {"dimensions": 2, "storage": storage}})
        app.job(app.post(name, [{**A, "_embedding": [1.5, 0]}, {**B, "_embedding": [0, 2.5]}]))
        app.job(app.post(name, [{"k": "a", "n": 5}, {"k": "b", "_embedding": [3, 4]}], MERGE))
        assert self.vectors(app, name) == {"a": [1.5, 0.0], "b": [3.0, 4.0]}
        job = app.job(app.post(name, [{"k": "c", "n": 5}], MERGE))
        assert job["error"]["errors"][0]["pointer"] == "/0/_embedding"

    def vectors(self, app: InProcess, name: str) -> dict[str, Any]:
        answer = app.http.post(f"/api/v1/datasets/{name}/records/query", json={"include": ["embedding"]}).json()
        return {record["k"]: record["_embedding"] for record in answer["records"]}


class TestPipelines:
    PIPED: ClassVar[dict[str, Any]] = {
        "fields": [
            {"name": "k", "type": "text", "required": True, "max_length": 20},
            {"name": "colour", "type": "text"},
            {"name": "n", "type": "integer"},
            {"name": "code", "type": "integer", "computed": True},
        ],
        "key": ["k"],
        "pipeline": [{"op": "map", "column": "colour", "as": "code", "values": {"red": 1, "blue": 2}, "default": 0}],
    }

    def test_computed_fields_follow(self, app: InProcess) -> None:
        name = app.dataset(self.PIPED)
        app.job(app.post(name, [{"k": "a", "colour": "red", "n": 1}, {"k": "b", "colour": "blue", "n": 2}]))
        job = app.job(
            app.post(name, [{"k": "a", "colour": "blue"}, {"k": "b", "n": 7}, {"k": "c", "colour": "red"}], MERGE)
        )
        assert job["state"] == "succeeded", job
        assert [(row["k"], row["colour"], row["n"], row["code"]) for row in app.rows(name)] == [
            ("a", "blue", 1, 2),
            ("b", "blue", 7, 2),
            ("c", "red", None, 1),
        ]

    def test_it_is_refused_where_what_was_sent_is_not_stored(self, app: InProcess) -> None:
        body = {**self.PIPED, "input": ["k", "n", {"name": "colour_in", "type": "text"}]}
        body["fields"] = [field for field in body["fields"] if field["name"] != "colour"]
        body["pipeline"] = [{**self.PIPED["pipeline"][0], "column": "colour_in"}]
        name = app.dataset(body)
        answer = app.post(name, [{"k": "a", "n": 1}], MERGE)
        assert (answer.status_code, answer.json()["code"]) == (409, "input_not_stored")


_TYPED = {kind: [TYPES[kind].to_json(value) for value in case.few] for kind, case in CASES.items() if case.few}
_LIMITS: dict[str, Any] = {"decimal": {"precision": 6, "scale": 2}}
_PARTIAL = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.fixed_dictionaries({}, optional={kind: st.none() | st.sampled_from(few) for kind, few in _TYPED.items()}),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=20)
@given(before=_PARTIAL, batches=st.lists(_PARTIAL, min_size=1, max_size=3))
def test_it_is_what_python_s_dictionaries_do_for_every_type(app: InProcess, before: Any, batches: Any) -> None:
    key = {"name": "k", "type": "text", "required": True, "max_length": 20}
    fields = [{"name": kind, "type": kind, **_LIMITS.get(kind, {})} for kind in _TYPED]
    name, whole = (app.dataset({"fields": [key, *fields], "key": ["k"]}) for _ in range(2))
    expected: dict[str, Any] = {}
    app.job(app.post(name, [{"k": k, **record} for k, record in before]))
    expected.update({k: {**dict.fromkeys(_TYPED), **record} for k, record in before})
    for batch in batches:
        app.job(app.post(name, [{"k": k, **record} for k, record in batch], MERGE))
        for k, record in batch:
            expected[k] = {**dict.fromkeys(_TYPED), **expected.get(k, {}), **record}
    app.job(app.post(whole, [{"k": k, **record} for k, record in expected.items()]))
    assert by_key(app, name) == by_key(app, whole)


class TestSkip:
    def test_the_record_that_is_there_stays_and_so_does_the_first_of_a_request(self, app: InProcess, name: str) -> None:
        records = [{**A, "n": 9}, {"k": "c", "n": 1}, {"k": "c", "n": 2}]
        job = app.job(app.post(name, records, "records?on_conflict=skip"))
        assert (job["state"], counts(job)) == ("succeeded", (3, 1, 0, 2))
        assert {key: row["n"] for key, row in by_key(app, name).items()} == {"a": 1, "b": 2, "c": 1}


class TestDelete:
    def test_by_keys(self, app: InProcess, name: str) -> None:
        job = app.job(app.post(name, {"keys": ["a", "zz", "a"]}, "records/delete"))
        assert job["result"] == {"deleted": 1, "missing": 1}
        assert list(by_key(app, name)) == ["b"]
        assert app.job(app.post(name, {"keys": []}, "records/delete"))["result"] == {"deleted": 0, "missing": 0}

    def test_by_keys_of_several_fields_as_many_as_there_may_be(self, app: InProcess) -> None:
        name = app.dataset(
            {
                "fields": [
                    {"name": "s", "type": "text", "required": True},
                    {"name": "d", "type": "date", "required": True},
                ],
                "key": ["s", "d"],
            }
        )
        records = [{"s": f"s{number}", "d": "2026-01-01"} for number in range(500)]
        app.job(app.post(name, records))
        keys = [[f"s{number}", "2026-01-01"] for number in range(100_000)]
        job = app.job(app.post(name, {"keys": keys}, "records/delete"))
        assert job["result"] == {"deleted": 500, "missing": 99_500}
        answer = app.post(name, {"keys": [*keys, keys[0]]}, "records/delete")
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "too_many")

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({}, "/where", "missing"),
            ({"keys": ["a"], "where": {}}, "/where", "missing"),
            ({"keys": "a"}, "/keys", "wrong_type"),
            ({"keys": ["a", 1]}, "/keys/1", "wrong_type"),
            ({"where": None}, "/where", "wrong_type"),
        ],
    )
    def test_each_mistake_is_named(self, app: InProcess, name: str, body: Any, pointer: str, code: str) -> None:
        answer = app.post(name, body, "records/delete")
        assert answer.status_code == 422
        assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(pointer, code)]


class TestPatchWhere:
    def patch(self, app: InProcess, name: str, body: Any) -> Any:
        return app.http.patch(f"/api/v1/datasets/{name}/records", json=body)

    def test_all_that_the_filter_finds_are_changed(self, app: InProcess, name: str) -> None:
        changes = {"note": "x", "meta": {"y": [1]}}
        job = app.job(self.patch(app, name, {"where": {"n": {"ge": 2}}, "changes": changes}))
        assert (job["type"], job["result"]) == ("records.patch_where", {"changed": 1})
        assert by_key(app, name) == {"a": A, "b": {**B, **changes}}

    def test_records_without_a_key_keep_their_order(self, app: InProcess) -> None:
        name = app.dataset({"fields": [{"name": "n", "type": "integer"}, {"name": "t", "type": "text"}]})
        app.job(app.post(name, [{"n": number} for number in range(10)]))
        app.job(self.patch(app, name, {"where": {"n": {"in": [2, 5]}}, "changes": {"t": "x"}}))
        rows = app.rows(name)
        assert [row["n"] for row in rows] == list(range(10))
        assert [row["n"] for row in rows if row["t"]] == [2, 5]

    def test_a_vector_made_of_the_changes_alone_follows_them(self, app: InProcess) -> None:
        body = {**BASE, "embedding": {"from": ["note"], "embedder": "hashing"}}
        name, other = app.dataset(body), app.dataset(body)
        app.job(app.post(name, [A, B]))
        app.job(self.patch(app, name, {"where": {}, "changes": {"note": "red apples"}}))
        app.job(app.post(other, [{**A, "note": "red apples"}]))
        vectors = TestVectors()
        assert set(map(tuple, vectors.vectors(app, name).values())) == {tuple(vectors.vectors(app, other)["a"])}

    def test_what_would_have_to_be_worked_out_for_each_record_is_refused(self, app: InProcess) -> None:
        body = {**BASE, "embedding": {"from": ["note", "k"], "embedder": "hashing"}}
        answer = self.patch(app, app.dataset(body), {"where": {}, "changes": {"note": "x"}})
        assert (answer.status_code, answer.json()["code"]) == (409, "recompute_needed")
        answer = self.patch(app, app.dataset(TestPipelines.PIPED), {"where": {}, "changes": {"colour": "x"}})
        assert (answer.status_code, answer.json()["code"]) == (409, "recompute_needed")

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({"where": {}}, "/where", "missing"),
            ({"where": {}, "changes": []}, "/changes", "wrong_type"),
            ({"where": {}, "changes": {}}, "/changes", "empty"),
            ({"where": {}, "changes": {"k": "x"}}, "/changes/k", "key_field"),
            ({"where": {}, "changes": {"n": None}}, "/changes/n", "null"),
            ({"where": {"x": 1}, "changes": {"n": 1}}, "/where/x", "unknown_field"),
        ],
    )
    def test_each_mistake_is_named(self, app: InProcess, name: str, body: Any, pointer: str, code: str) -> None:
        answer = self.patch(app, name, body)
        assert answer.status_code == 422
        assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(pointer, code)]
