"""Previews of pipelines and checks through them: what a worker would make of records, before anything is queued."""

import json
from typing import Any

import pytest
from tests.support.in_process import CSV, NDJSON, InProcess, Job

PRICES: Job = {
    "name": "prices",
    "input": [{"name": "id_text", "type": "text"}, {"name": "price_text", "type": "text"}, "kind"],
    "fields": [
        {"name": "id", "type": "integer", "computed": True, "required": True},
        {"name": "price", "type": "decimal", "computed": True, "precision": 8, "scale": 2},
        {"name": "kind", "type": "text"},
    ],
    "pipeline": [
        {"op": "cast", "column": "id_text", "as": "id", "type": "integer"},
        {"op": "filter", "where": {"kind": {"ne": "test"}}},
        {"op": "cast", "column": "price_text", "as": "price", "type": "decimal", "decimal": ",", "thousands": "."},
    ],
}
SENT = [
    {"id_text": "9007199254740993", "price_text": "1.234,50", "kind": "a"},
    {"id_text": "x", "price_text": "1", "kind": "a"},
    {"id_text": "3", "price_text": "free", "kind": "test"},
    {"id_text": "4", "price_text": "free", "kind": "a"},
    {"id_text": "5", "price_text": "1.000.000,00", "kind": "NA"},
    {"id_text": "6", "kind": 6},
    {"price_text": "0,10", "kind": "a"},
]
NUMBERS: Job = {
    "name": "numbers",
    "input": [{"name": "raw", "type": "text"}],
    "fields": [{"name": "n", "type": "integer", "computed": True}],
    "pipeline": [{"op": "cast", "column": "raw", "as": "n", "type": "integer"}],
}
PATH = "pipeline/preview"


def preview(app: InProcess, name: str, status: int = 200, **body: Any) -> Any:
    answer = app.post(name, body, path=PATH)
    assert answer.status_code == status, answer.text
    return answer.json()


def rows(frame: Job) -> list[tuple[int, dict[str, Any]]]:
    return [(one["record"], one["row"]) for one in frame["rows"]]


class TestPreview:
    def test_it_shows_every_frame_and_what_becomes_of_each_record(self, app: InProcess) -> None:
        name = app.dataset(PRICES)
        found = preview(app, name, records=SENT)
        assert found["records"] == 7
        assert [record for record, _ in rows(found["input"])] == [0, 1, 2, 3, 4, 6]
        assert [(step["step"], step["op"], [record for record, _ in rows(step)]) for step in found["steps"]] == [
            (0, "cast", [0, 2, 3, 4, 6]),
            (1, "filter", [0, 3, 4, 6]),
            (2, "cast", [0, 4, 6]),
        ]
        assert found["steps"][2]["columns"] == [
            {"name": "id_text", "type": "text"},
            {"name": "price_text", "type": "text"},
            {"name": "kind", "type": "text"},
            {"name": "id", "type": "integer"},
            {"name": "price", "type": "decimal"},
        ]
        assert rows(found["output"]) == [(0, {"id": 9007199254740993, "price": "1234.50", "kind": "a"})]
        errors = {one["record"]: one["errors"][0] for one in found["rejects"]}
        assert {record: (error["pointer"], error["code"]) for record, error in errors.items()} == {
            1: ("/1/id_text", "bad_value"),
            3: ("/3/price_text", "bad_value"),
            4: ("/4/price", "too_many_digits"),
            5: ("/5/kind", "wrong_type"),
            6: ("/6/id", "null"),
        }
        assert "step 0 (cast): 'x'" in errors[1]["reason"]
        assert found["dropped"] == [2]
        assert app.rows(name) == []

    @pytest.mark.promise(10)
    def test_a_worker_writes_and_rejects_what_the_preview_shows(self, app: InProcess) -> None:
        name = app.dataset(PRICES)
        found = preview(app, name, records=SENT)
        job = app.job(app.post(name, SENT, params={"on_error": "quarantine"}))
        assert app.rows(name) == [row for _, row in rows(found["output"])]
        rejects = app.http.get(f"/api/v1/jobs/{job['id']}/rejects").json()["rejects"]
        assert [(one["record"], one["errors"]) for one in rejects] == [
            (one["record"], one["errors"]) for one in found["rejects"]
        ]
        assert job["record_counts"]["dropped"] == len(found["dropped"])

    def test_text_is_read_in_its_format(self, app: InProcess) -> None:
        name = app.dataset(PRICES)
        found = preview(app, name, data='id_text,price_text,kind\n7,"1,5",a\n8,2,b\n', limit=1)
        assert rows(found["output"]) == [(0, {"id": 7, "price": "1.5", "kind": "a"})]
        lines = "\n".join(json.dumps(one) for one in SENT)
        by_line, at_once = preview(app, name, data=lines, format="ndjson"), preview(app, name, records=SENT)
        for reject in by_line["rejects"]:
            for error in reject["errors"]:
                error.pop("line", None)
        assert by_line == at_once

    def test_another_pipeline_is_tried_without_changing_the_dataset(self, app: InProcess) -> None:
        name = app.dataset(PRICES)
        pipeline = [*PRICES["pipeline"], {"op": "clip", "column": "price", "maximum": "10"}]
        found = preview(app, name, records=SENT[:1], contract={"pipeline": pipeline})
        assert rows(found["output"])[0][1]["price"] == "10"
        assert preview(app, name, records=SENT[:1])["output"]["rows"][0]["row"]["price"] == "1234.50"
        refused = preview(app, name, 422, records=[], contract={"pipeline": [{"op": "mop"}]})
        assert refused["errors"][0]["pointer"] == "/contract/pipeline/0/op"

    def test_a_dataset_that_is_not_there_is_tried_by_its_contract(self, app: InProcess) -> None:
        found = preview(app, "unheard", records=SENT[:1], contract=PRICES)
        assert len(found["output"]["rows"]) == 1
        assert app.http.get("/api/v1/datasets/unheard").status_code == 404
        assert preview(app, "unheard", 404, records=[])["code"] == "unknown_dataset"

    def test_without_a_sample_the_newest_stored_records_are_taken(self, app: InProcess) -> None:
        fields = [
            {"name": "n", "type": "integer", "required": True},
            {"name": "twice", "type": "integer", "computed": True},
        ]
        steps = [{"op": "derive", "as": "twice", "value": "n * 2"}]
        name = app.dataset({"name": "numbers", "fields": fields, "key": ["n"], "pipeline": steps})
        empty = preview(app, name)
        assert (empty["records"], empty["output"]["rows"], empty["steps"][0]["rows"]) == (0, [], [])
        assert [one["name"] for one in empty["steps"][0]["columns"]] == ["n", "twice"]
        app.job(app.post(name, [{"n": n} for n in range(5)]))
        found = preview(app, name, limit=2)
        assert [row for _, row in rows(found["output"])] == [{"n": 4, "twice": 8}, {"n": 3, "twice": 6}]
        assert preview(app, app.dataset(PRICES), 409)["code"] == "input_not_stored"

    def test_several_rows_of_one_record_name_it(self, app: InProcess) -> None:
        fields = [{"name": "n", "type": "integer"}, {"name": "tag", "type": "text", "computed": True}]
        body = {
            "name": "tags",
            "input": ["n", {"name": "tags", "type": "json"}],
            "fields": fields,
            "pipeline": [{"op": "explode", "column": "tags", "as": "tag"}],
        }
        found = preview(app, app.dataset(body), records=[{"n": 1, "tags": ["a", "b"]}, {"n": 2, "tags": "x"}])
        assert [(record, row["tag"]) for record, row in rows(found["output"])] == [(0, "a"), (0, "b")]
        assert [one["record"] for one in found["rejects"]] == [1]

    def test_what_is_too_much_for_an_answer_is_counted(self, app: InProcess) -> None:
        body = {
            "name": "many",
            "input": [{"name": "members", "type": "json"}],
            "fields": [{"name": "member", "type": "integer", "computed": True}],
            "pipeline": [{"op": "explode", "column": "members", "as": "member"}],
        }
        found = preview(app, app.dataset(body), records=[{"members": list(range(5000))}])
        assert (len(found["output"]["rows"]), found["output"]["rows_left_out"]) == (1000, 4000)
        long = {"members": ["x" * 1_000_000]}
        steps = [{"op": "explode", "column": "members", "as": "member", "type": "json"}]
        tried = {"fields": [{"name": "member", "type": "json", "computed": True}], "pipeline": steps}
        frames = preview(app, "many", records=[long, long, long], contract={**body, **tried})
        assert sum(frame["rows_left_out"] for frame in (frames["input"], *frames["steps"], frames["output"])) > 0

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"records": [], "data": ""}, "/data"),
            ({"limit": 0}, "/limit"),
            ({"limit": 101}, "/limit"),
            ({"record": []}, "/record"),
            ({"format": "xml"}, "/format"),
            ({"records": {}}, "/records"),
            ({"contract": []}, "/contract"),
            ({"data": "a,b\n1,2\n"}, "/a"),
            ({"contract": {"name": "other", "fields": []}}, "/contract/fields"),
            ({"contract": {"colour": 1}}, "/contract/colour"),
        ],
    )
    def test_a_body_that_cannot_be_meant_is_refused_at_its_place(self, app: InProcess, body: Job, pointer: str) -> None:
        found = preview(app, app.dataset(PRICES), 422, **body)
        assert found["errors"][0]["pointer"] == pointer


class TestValidateThroughThePipeline:
    def test_what_the_worker_would_refuse_is_known_before(self, app: InProcess) -> None:
        name = app.dataset(PRICES)
        good = [SENT[0], SENT[2]]
        assert app.post(name, good, path="validate").json()["records"] == 2
        passed = app.post(name, good, path="validate", params={"pipeline": "true"})
        assert (passed.json()["records"], passed.json()["rows"]) == (2, 1)
        bad = [SENT[0], SENT[3], SENT[1]]
        assert app.post(name, bad, path="validate").status_code == 200
        refused = app.post(name, bad, path="validate", params={"pipeline": "true"})
        assert refused.status_code == 422
        assert [(one["pointer"], one["code"]) for one in refused.json()["errors"]] == [
            ("/1/price_text", "bad_value"),
            ("/2/id_text", "bad_value"),
        ]
        assert app.rows(name) == []

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            (CSV, b"id_text,price_text,kind\n1,1,a\n2,free,a\n"),
            (NDJSON, b'{"id_text":"1","kind":"a"}\n{"id_text":"2","price_text":"free","kind":"a"}\n'),
        ],
    )
    def test_in_every_format_over_several_chunks(self, database_url: str, headers: dict[str, str], body: bytes) -> None:
        app = InProcess(database_url, jobs_chunk_records=1)
        with app.http:
            name = app.dataset(PRICES)
            refused = app.post(name, body, path="validate", params={"pipeline": "true"}, headers=headers)
        app.gristmill.database.close()
        assert [one["pointer"] for one in refused.json()["errors"]] == ["/1/price_text"]


def test_long_texts_wide_rows_and_rows_without_columns_are_shown(app: InProcess) -> None:
    names = [f"c{number}" for number in range(250)]
    wide = app.dataset({"name": "wide", "fields": [{"name": name, "type": "date"} for name in names]})
    found = preview(app, wide, records=[dict.fromkeys(names, "2026-01-31")] * 100, limit=100)
    assert len(found["output"]["rows"]) == 100
    text = app.dataset({"name": "long", "fields": [{"name": "t", "type": "text", "max_length": 1_000_000}]})
    assert len(preview(app, text, records=[{"t": "é" * 70_000}])["output"]["rows"][0]["row"]["t"]) == 70_000
    body = {
        "name": "none",
        "input": [{"name": "a", "type": "integer"}],
        "fields": [{"name": "o", "type": "integer", "computed": True}],
        "pipeline": [{"op": "drop", "columns": ["a"]}, {"op": "derive", "as": "o", "value": "1"}],
    }
    found = preview(app, app.dataset(body), records=[{"a": 1}, {"a": 2}])
    assert [(len(step["rows"]), step["rows_left_out"]) for step in found["steps"]] == [(2, 0), (2, 0)]


def test_rows_that_would_take_too_long_are_refused(app: InProcess) -> None:
    names = ["a", "b", "c"]
    body = {
        "name": "nested",
        "input": [{"name": name, "type": "json"} for name in names],
        "fields": [{"name": "a", "type": "integer", "computed": True}],
        "pipeline": [{"op": "explode", "column": name, "type": "integer", "as": name} for name in names],
    }
    body["input"][0]["name"] = "first"
    body["pipeline"][0] |= {"column": "first", "as": "a"}
    sizes = {"first": 100, "b": 100, "c": 5000}
    found = preview(app, app.dataset(body), 422, records=[{name: list(range(size)) for name, size in sizes.items()}])
    assert "drop columns" in found["detail"]


class TestLargeBatches:
    def test_a_step_that_fails_on_record_9999_of_10000_names_it_and_the_others_go_on(self, app: InProcess) -> None:
        name = app.dataset(NUMBERS)
        lines = "".join(f"{'x' if n == 9_999 else n}\n" for n in range(10_000))
        body = f"raw\n{lines}".encode()
        job = app.job(app.post(name, body, headers=CSV))
        assert (job["state"], job["error"]["code"], job["error"]["record"]) == ("failed", "record_unfit", 9_999)
        assert app.rows(name) == []
        job = app.job(app.post(name, body, headers=CSV, params={"on_error": "quarantine"}))
        assert (job["record_counts"]["succeeded"], job["record_counts"]["rejected"]) == (9_999, 1)
        (reject,) = app.http.get(f"/api/v1/jobs/{job['id']}/rejects").json()["rejects"]
        assert (reject["record"], reject["values"]) == (9_999, {"raw": "x"})
        refused = app.post(name, body, path="validate", headers=CSV, params={"pipeline": "true"})
        assert [one["pointer"] for one in refused.json()["errors"]] == ["/9999/raw"]

    def test_a_list_of_ten_million_members_is_refused_at_the_door(self, app: InProcess) -> None:
        body = {
            "name": "lists",
            "input": [{"name": "list", "type": "json"}],
            "fields": [{"name": "n", "type": "integer", "computed": True}],
            "pipeline": [{"op": "explode", "column": "list", "as": "n"}],
        }
        name = app.dataset(body)
        line = b'{"list":[' + b"0," * (10**7 - 1) + b"0]}\n"
        refused = app.post(name, line, headers=NDJSON)
        assert refused.status_code in (400, 413, 422)
        assert "bytes" in refused.json()["detail"]
        assert len(app.http.get("/api/v1/jobs", params={"dataset": name}).json()["jobs"]) == 1
