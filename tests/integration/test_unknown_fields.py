"""Members that are no fields, from REST to the rows and back: collected or passed over in every format."""

import gzip
import json
from typing import Any

import pyarrow as pa
import pytest
from tests.support.columnar import as_parquet, as_stream
from tests.support.in_process import CSV, NDJSON, InProcess, Job

PARTS: Job = {
    "name": "parts",
    "fields": [
        {"name": "k", "type": "text", "required": True},
        {"name": "n", "type": "integer", "maximum": 10},
    ],
    "key": ["k"],
    "unknown_fields": "collect",
}
SENT = [{"k": "a", "n": 1, "colour": "red"}, {"k": "b", "n": 2}, {"k": "c", "colour": "blue", "shape": "round"}]
STORED = [
    {"k": "a", "n": 1, "_extra": {"colour": "red"}},
    {"k": "b", "n": 2, "_extra": None},
    {"k": "c", "n": None, "_extra": {"colour": "blue", "shape": "round"}},
]
TABLE = pa.Table.from_pylist([dict.fromkeys(["k", "n", "colour", "shape"]) | record for record in SENT])
LINES = b"\n".join(json.dumps(record).encode() for record in SENT)
CELLS = b"k,n,colour,shape\na,1,red,\nb,2,,\nc,,blue,round\n"
JSON = {"content-type": "application/json"}
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "json": (json.dumps({"records": SENT}).encode(), JSON),
    "ndjson": (LINES, NDJSON),
    "csv": (CELLS, CSV),
    "parquet": (as_parquet(TABLE), {"content-type": "application/vnd.apache.parquet"}),
    "arrow": (as_stream(TABLE), {"content-type": "application/vnd.apache.arrow.stream"}),
    "gzip": (gzip.compress(LINES), {**NDJSON, "content-encoding": "gzip"}),
    "form": (
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.csv"\r\n\r\n' + CELLS + b"\r\n--x--\r\n",
        {"content-type": "multipart/form-data; boundary=x"},
    ),
}
every = pytest.mark.parametrize(("body", "headers"), BODIES.values(), ids=list(BODIES))
URL = "/api/v1/datasets"


def errors(answer: Any) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(error["pointer"], error["code"]) for error in answer.json()["errors"]]


class TestCollect:
    @every
    def test_members_that_are_no_fields_are_kept_in_every_format(
        self, app: InProcess, body: bytes, headers: dict[str, str]
    ) -> None:
        name = app.dataset(PARTS)
        assert app.job(app.post(name, body, headers=headers))["record_counts"]["succeeded"] == 3
        assert app.rows(name) == STORED
        assert app.post(name, body, headers=headers, path="validate").json()["records"] == 3

    def test_filters_and_reads_know_extra_as_a_json_field(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        app.job(app.post(name, [*SENT, {"k": "d", "_extra": {"size": {"w": 4}}, "colour": "red"}]))

        def found(where: Any) -> list[str]:
            answer = app.post(name, {"where": where, "fields": ["k"]}, path="records/query")
            assert answer.status_code == 200, answer.text
            return [record["k"] for record in answer.json()["records"]]

        assert found({"_extra.colour": "red"}) == ["a", "d"]
        assert found({"_extra.size.w": {"ge": 4}}) == ["d"]
        assert found({"_extra": {"null": True}}) == ["b"]
        assert app.http.get(app.key(name, "d")).json()["_extra"] == {"size": {"w": 4}, "colour": "red"}
        schema = app.http.get("/openapi.json").json()["components"]["schemas"]
        assert "unknown_fields" in schema["NewContract"]["properties"]
        assert "unknown_fields" in schema["ContractChange"]["properties"]

    @pytest.mark.parametrize("format", ["ndjson", "csv", "parquet"])
    def test_an_export_sent_to_a_copy_of_the_dataset_gives_equal_records(self, app: InProcess, format: str) -> None:
        name = app.dataset(PARTS)
        odd = {
            "k": "é",
            "_extra": {"a/b": [1, 2.5, {"x": None}], "": 10**30, "big": 1e300},
            "colour": "1",
            "gone": None,
        }
        app.job(app.post(name, [*SENT, odd]))
        contract = app.http.get(f"{URL}/{name}").json()["contract"]
        assert [field["name"] for field in contract["fields"]] == ["k", "n", "_extra"]
        copy = app.dataset(contract)
        content = app.http.get(f"{URL}/{name}/export?format={format}")
        assert content.status_code == 200
        headers = {"content-type": content.headers["content-type"]}
        assert app.job(app.post(copy, content.content, headers=headers))["state"] == "succeeded"
        assert app.rows(copy) == app.rows(name)
        assert app.http.get(f"{URL}/{copy}").json()["contract"] == {**contract, "name": copy}

    def test_mistakes_in_members_are_named_by_their_pointer(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        bad = b'[{"k":"a"},{"k":"b","colour":["\\u0000"]},{"k":"c","_extra":7}]'
        assert errors(app.post(name, bad, headers=JSON)) == [
            ("/1/colour", "nul"),
            ("/2/_extra", "wrong_type"),
        ]
        many = {f"m{number}": number for number in range(1001)}
        assert errors(app.post(name, [{"k": "a", **many}])) == [("/0", "too_many")]
        binary = as_stream(pa.table({"k": ["a"], "raw": [b"x"]}))
        answer = app.post(name, binary, headers={"content-type": "application/vnd.apache.arrow.stream"})
        assert errors(answer) == [("/raw", "wrong_type")]
        assert app.rows(name) == []

    @pytest.mark.parametrize("mode", ["fail", "skip", "replace"])
    def test_on_conflict_treats_it_as_any_field(self, app: InProcess, mode: str) -> None:
        name = app.dataset(PARTS)
        app.job(app.post(name, [{"k": "a", "x": 1}]))
        answer = app.post(name, [{"k": "a", "x": 2}], path=f"records?on_conflict={mode}")
        if mode == "fail":
            assert answer.status_code == 409
        else:
            app.job(answer)
        expected = {"x": 2} if mode == "replace" else {"x": 1}
        assert app.rows(name) == [{"k": "a", "n": None, "_extra": expected}]

    def test_a_merge_replaces_extra_only_where_a_record_gives_unknown_members(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        app.job(app.post(name, SENT))
        app.job(
            app.post(name, [{"k": "a", "n": 9}, {"k": "c", "size": 7}, {"k": "d", "x": 1}], path="records?mode=merge")
        )
        expected = [
            {"k": "a", "n": 9, "_extra": {"colour": "red"}},
            STORED[1],
            {"k": "c", "n": None, "_extra": {"size": 7}},
            {"k": "d", "n": None, "_extra": {"x": 1}},
        ]
        assert app.rows(name) == expected
        app.job(app.post(name, b"k,colour\na,\nb,green\n", headers=CSV, path="records?mode=merge"))
        assert [row["_extra"] for row in app.rows(name)[:2]] == [{"colour": "red"}, {"colour": "green"}]

    def test_a_change_takes_extra_as_a_whole_and_no_unknown_member(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        app.job(app.post(name, SENT))
        assert errors(app.http.patch(app.key(name, "a"), json={"colour": "green"})) == [("/colour", "unknown_field")]
        assert errors(app.http.patch(app.key(name, "a"), json={"_extra": [1]})) == [("/_extra", "wrong_type")]
        app.job(app.http.patch(app.key(name, "a"), json={"_extra": {"size": 1}}))
        assert app.rows(name)[0]["_extra"] == {"size": 1}


class TestQuarantine:
    @every
    def test_rejects_keep_everything_and_are_mended(self, app: InProcess, body: bytes, headers: dict[str, str]) -> None:
        name = app.dataset({**PARTS, "fields": [PARTS["fields"][0], {**PARTS["fields"][1], "maximum": 1}]})
        job = app.job(app.post(name, body, headers=headers, path="records?on_error=quarantine"))
        assert job["record_counts"]["rejected"] == 1
        (reject,) = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert {key: value for key, value in reject["values"].items() if value is not None} in (
            {"k": "b", "n": 2},
            {"k": "b", "n": "2"},
        )
        mended = app.job(
            app.post(name, [{**reject["values"], "n": 0, "new": True}], path=f"records?retry_of={job['id']}")
        )
        assert mended["record_counts"]["succeeded"] == 1
        assert app.rows(name)[1]["_extra"]["new"] is True

    @pytest.mark.parametrize(
        ("kind", "members"), [("ndjson", {"colour": "red", "w": [1.50]}), ("csv", {"colour": "red"})]
    )
    def test_a_list_of_rejects_as_csv_has_their_members_and_can_be_sent_back(
        self, app: InProcess, kind: str, members: Job
    ) -> None:
        name = app.dataset(PARTS)
        bodies = {"ndjson": b'{"k":"a","n":99,"colour":"red","w":[1.50]}', "csv": b"colour,n,k\nred,99,a\n"}
        headers = {"ndjson": NDJSON, "csv": CSV}[kind]
        job = app.job(app.post(name, bodies[kind], headers=headers, path="records?on_error=quarantine"))
        content = app.http.get(f"{job['links']['rejects']}?format=csv").text
        head, row = content.splitlines()
        assert head == "k,n,_extra,_record,_line,_errors,_raw"
        assert row.endswith(",")
        answer = app.post(
            name, content.replace("99", "9", 1).encode(), headers=CSV, path=f"records?retry_of={job['id']}"
        )
        assert app.job(answer)["record_counts"]["succeeded"] == 1
        assert app.rows(name) == [{"k": "a", "n": 9, "_extra": members}]


PIPED: Job = {
    "name": "piped",
    "input": ["k", {"name": "size_name", "type": "text"}],
    "fields": [
        {"name": "k", "type": "text", "required": True},
        {"name": "size", "type": "integer", "computed": True, "maximum": 5},
    ],
    "key": ["k"],
    "unknown_fields": "collect",
    "pipeline": [
        {"op": "filter", "where": {"k": {"ne": "grey"}}},
        {"op": "map", "column": "size_name", "as": "size", "values": [["small", 1], ["huge", 9]]},
    ],
}


class TestPipeline:
    @pytest.mark.parametrize("kind", ["json", "csv"])
    def test_members_pass_the_steps_beside_their_records(self, app: InProcess, kind: str) -> None:
        name = app.dataset(PIPED)
        rows = [["a", "small", "1"], ["grey", "small", "2"], ["b", "huge", "3"], ["c", None, "4"]]
        sent = [{"k": k, "size_name": size, "x": x} for k, size, x in rows]
        text = "k,size_name,x\n" + "".join(",".join(cell or "" for cell in row) + "\n" for row in rows)
        body, headers = (text.encode(), CSV) if kind == "csv" else (json.dumps(sent).encode(), JSON)
        job = app.job(app.post(name, body, headers=headers, path="records?on_error=quarantine"))
        assert job["record_counts"] | {"succeeded": 2, "dropped": 1, "rejected": 1} == job["record_counts"]
        expected = [{"k": "a", "size": 1, "_extra": {"x": "1"}}, {"k": "c", "size": None, "_extra": {"x": "4"}}]
        assert app.rows(name) == expected
        # What fails in the worker has its members in its raw record, too.
        (reject,) = app.http.get(job["links"]["rejects"]).json()["rejects"]
        values = {"k": "b", "size_name": "huge"}
        assert reject["values"] == {**values, "_extra": {"x": "3"}}
        found = app.post(name, {"records": sent}, path="pipeline/preview").json()
        assert [row["row"] for row in found["output"]["rows"]] == expected
        assert [one["errors"][0]["pointer"] for one in found["rejects"]] == ["/2/size"]
        again = app.post(name, sent[:1], path="validate?pipeline=true").json()
        assert (again["records"], again["rows"]) == (1, 1)

    def test_a_row_of_csv_that_fails_in_the_worker_has_its_columns(self, app: InProcess) -> None:
        name = app.dataset(PIPED)
        csv = b'x,k,size_name,_extra\n3,b,huge,"{""y"":[1]}"\n,c,huge,\n4,uneven\n'
        job = app.job(app.post(name, csv, headers=CSV, path="records?on_error=quarantine"))
        found = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert [one["raw"] for one in found] == ['3,b,huge,"{""y"": [1]}"', ",c,huge,", "4,uneven"]

    def test_rows_made_of_one_record_each_have_its_members(self, app: InProcess) -> None:
        body = {
            "name": "x",
            "input": [{"name": "list", "type": "json"}],
            "fields": [{"name": "word", "type": "text", "computed": True}],
            "unknown_fields": "collect",
            "pipeline": [{"op": "explode", "column": "list", "as": "word"}],
        }
        name = app.dataset(body)
        app.job(app.post(name, [{"list": ["a", "b"], "x": 1}, {"list": ["c"]}, {"list": ["d"], "x": 2}]))
        assert app.rows(name) == [
            {"word": word, "_extra": extra}
            for word, extra in (("a", {"x": 1}), ("b", {"x": 1}), ("c", None), ("d", {"x": 2}))
        ]

    def test_the_stored_records_are_a_sample_for_the_preview(self, app: InProcess) -> None:
        name = app.dataset({**PARTS, "pipeline": [{"op": "filter", "where": {"k": {"ne": "b"}}}]})
        app.job(app.post(name, SENT))
        found = app.post(name, {}, path="pipeline/preview").json()
        assert [row["row"]["_extra"] for row in found["output"]["rows"]] == [
            {"colour": "blue", "shape": "round"},
            {"colour": "red"},
        ]


class TestIgnore:
    @every
    def test_members_that_are_no_fields_are_passed_over(
        self, app: InProcess, body: bytes, headers: dict[str, str]
    ) -> None:
        name = app.dataset({**PARTS, "unknown_fields": "ignore"})
        app.job(app.post(name, body, headers=headers))
        assert app.rows(name) == [{"k": record["k"], "n": record["n"]} for record in STORED]


class TestAlter:
    def test_it_may_be_changed_and_extra_stays(self, app: InProcess) -> None:
        name = app.dataset({**PARTS, "unknown_fields": "reject"})
        app.job(app.post(name, [SENT[1]]))
        assert errors(app.post(name, SENT)) == [("/0/colour", "unknown_field")] + [
            (f"/2/{member}", "unknown_field") for member in ("colour", "shape")
        ]
        app.job(app.http.patch(f"{URL}/{name}", json={"unknown_fields": "collect"}))
        app.job(app.post(name, SENT))
        assert app.rows(name) == STORED
        app.job(app.http.patch(f"{URL}/{name}", json={"unknown_fields": "ignore"}))
        app.job(app.post(name, [{"k": "d", "colour": "red", "_extra": {"x": 1}}, {"k": "a", "n": 1, "colour": 1}]))
        assert app.rows(name) == [
            {"k": "a", "n": 1, "_extra": None},
            *STORED[1:],
            {"k": "d", "n": None, "_extra": {"x": 1}},
        ]
        app.job(app.http.patch(f"{URL}/{name}", json={"unknown_fields": "reject"}))
        assert errors(app.post(name, [{"k": "d", "colour": "red"}])) == [("/0/colour", "unknown_field")]
        # An ordinary json field by now, which takes any value.
        app.job(app.post(name, [{"k": "d", "_extra": 5}]))
        assert app.rows(name)[-1]["_extra"] == 5
        answer = app.http.patch(f"{URL}/{name}", json={"unknown_fields": "keep"})
        assert errors(answer) == [("/unknown_fields", "unknown_value")]

    def test_what_was_submitted_before_the_change_is_written_after_it(self, app: InProcess) -> None:
        name = app.dataset({**PARTS, "unknown_fields": "reject"})
        app.work()
        waiting = app.post(name, [SENT[1]])
        app.http.patch(f"{URL}/{name}", json={"unknown_fields": "collect"})
        app.job(app.post(name, [SENT[0]]))
        assert app.job(waiting)["state"] == "succeeded"
        assert app.rows(name) == STORED[:2]


class TestNamesOfGristmillItself:
    NAMES = ("_given", "_raw", "_errors", "_record", "_line", "_embedding", "_seq", "_ord", "_text")

    @pytest.mark.parametrize("mode", ["collect", "ignore"])
    @pytest.mark.parametrize("name", NAMES)
    def test_they_stay_refused_in_every_format(self, app: InProcess, mode: str, name: str) -> None:
        fields = [{"name": "k", "type": "text"}, {"name": "v", "type": "integer", "maximum": 5}]
        dataset = app.dataset({"name": "x", "fields": fields, "unknown_fields": mode})
        rows = [{"k": "a", "v": 1, name: "x"}, {"k": "b", "v": 9, name: "y"}]
        table = pa.Table.from_pylist(rows)
        bodies: list[tuple[Any, dict[str, str]]] = [
            (rows, {}),
            (f"k,v,{name}\na,1,x\nb,9,y\n".encode(), CSV),
            (as_stream(table), {"content-type": "application/vnd.apache.arrow.stream"}),
        ]
        for body, headers in bodies:
            for params in ({}, {"on_error": "quarantine"}):
                answer = app.post(dataset, body, headers=headers, params=params)
                if answer.status_code == 202:
                    job = app.job(answer)
                    assert job["record_counts"]["succeeded"] == 0
                    continue
                assert answer.status_code == 422
                assert "reserved_name" in [one["code"] for one in answer.json()["errors"]]
        assert app.rows(dataset) == []

    def test_what_passes_beside_the_steps_is_bounded_too(self, app: InProcess) -> None:
        body = {
            "name": "x",
            "input": [{"name": "list", "type": "json"}],
            "fields": [{"name": "n", "type": "integer", "computed": True}],
            "pipeline": [{"op": "explode", "column": "list", "as": "n"}],
            "unknown_fields": "collect",
        }
        name = app.dataset(body)
        job = app.job(app.post(name, [{"list": list(range(2200)), "note": "x" * 1_000_000}]))
        assert (job["state"], "beside the steps" in job["error"]["detail"]) == ("failed", True)
        assert app.job(app.post(name, [{"list": [1, 2], "note": "y"}]))["state"] == "succeeded"
        assert [row["_extra"] for row in app.rows(name)] == [{"note": "y"}, {"note": "y"}]

    def test_a_few_bytes_never_become_an_object_of_long_names_each(self, app: InProcess) -> None:
        fields = [{"name": "k", "type": "integer"}]
        name = app.dataset({"name": "x", "fields": fields, "unknown_fields": "collect"})
        names = [f"{n:0500}" for n in range(70)]
        body = f"k,{','.join(names)}\n1{',x' * 70}\n".encode()
        refused = app.post(name, body, headers=CSV)
        assert [(one["pointer"], one["code"]) for one in refused.json()["errors"]] == [("", "too_long")]
        ignoring = app.dataset({"name": "x", "fields": fields, "unknown_fields": "ignore"})
        assert app.job(app.post(ignoring, body, headers=CSV))["record_counts"]["succeeded"] == 1
