"""Fields that are sent by another name, such as the header of a file's column: in every format, and in refusals."""

import json
from typing import Any

import pyarrow as pa
import pytest
from tests.support.columnar import as_parquet, as_stream
from tests.support.in_process import CSV, NDJSON, InProcess, Job

FLIGHTS: Job = {
    "name": "flights",
    "input": [
        "flight_no",
        "n",
        {"name": "day_text", "type": "text", "sent_as": "day"},
    ],
    "fields": [
        {"name": "flight_no", "type": "text", "required": True, "sent_as": "Flight.No a"},
        {"name": "n", "type": "integer", "sent_as": "Größe"},
        {"name": "day", "type": "date", "computed": True},
    ],
    "key": ["flight_no"],
    "pipeline": [{"op": "cast", "column": "day_text", "as": "day", "type": "date", "format": "%d.%m.%Y"}],
}
SENT = [{"Flight.No a": "LH1", "Größe": 2**60, "day": "31.01.2026"}, {"Flight.No a": "LH2", "Größe": None, "day": None}]
STORED = [
    {"flight_no": "LH1", "n": 2**60, "day": "2026-01-31"},
    {"flight_no": "LH2", "n": None, "day": None},
]
TABLE = pa.Table.from_pylist(SENT)
JSON = {"content-type": "application/json"}
PARQUET = {"content-type": "application/vnd.apache.parquet"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
BODIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "json": (json.dumps(SENT).encode(), JSON),
    "ndjson": (b"\n".join(json.dumps(one).encode() for one in SENT), NDJSON),
    "csv": (f"Flight.No a,Größe,day\nLH1,{2**60},31.01.2026\nLH2,,\n".encode(), CSV),
    "parquet": (as_parquet(TABLE), PARQUET),
    "arrow": (as_stream(TABLE), ARROW),
}


class TestBodies:
    @pytest.mark.parametrize("unknown", ["reject", "ignore", "collect"])
    @pytest.mark.parametrize("format", BODIES)
    def test_a_field_is_read_by_the_name_that_it_is_sent_by(self, app: InProcess, format: str, unknown: str) -> None:
        name = app.dataset({**FLIGHTS, "unknown_fields": unknown})
        body, kind = BODIES[format]
        assert app.job(app.post(name, body, headers=kind))["state"] == "succeeded"
        extra = {"_extra": None} if unknown == "collect" else {}
        assert app.rows(name) == [{**one, **extra} for one in STORED]

    @pytest.mark.parametrize("format", BODIES)
    def test_columns_beside_it_are_passed_over(self, app: InProcess, format: str) -> None:
        name = app.dataset({**FLIGHTS, "unknown_fields": "ignore"})
        table = TABLE.append_column("Flight", pa.array([["x"], ["y"]]))
        bodies = {"parquet": as_parquet(table), "arrow": as_stream(table)}
        bodies["json"] = json.dumps([{**one, "Flight": 1} for one in SENT]).encode()
        bodies["ndjson"] = b"\n".join(json.dumps({**one, "Flight": 1}).encode() for one in SENT)
        bodies["csv"] = f"Flight,Flight.No a,Größe,day\n1,LH1,{2**60},31.01.2026\n2,LH2,,\n".encode()
        assert app.job(app.post(name, bodies[format], headers=BODIES[format][1]))["state"] == "succeeded"
        assert app.rows(name) == STORED

    def test_its_own_name_is_taken_too(self, app: InProcess) -> None:
        name = app.dataset(FLIGHTS)
        records = [{"flight_no": "LH1", "Größe": 1, "day_text": "31.01.2026"}, {"Flight.No a": "LH2", "n": 2}]
        assert app.job(app.post(name, records))["state"] == "succeeded"
        assert [one["n"] for one in app.rows(name)] == [1, 2]

    def test_both_names_in_one_record_are_refused(self, app: InProcess) -> None:
        name = app.dataset(FLIGHTS)
        answer = app.post(name, [{"flight_no": "a", "Flight.No a": "b"}])
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["code"], error["field"]) == (422, "duplicate", "flight_no")
        answer = app.post(name, b"flight_no,Flight.No a\na,b\n", headers=CSV)
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["code"], error["pointer"]) == (422, "duplicate", "/Flight.No a")

    @pytest.mark.parametrize("format", ["json", "ndjson", "csv"])
    def test_a_mistake_is_named_by_the_field_and_the_place_where_it_was_sent(self, app: InProcess, format: str) -> None:
        name = app.dataset(FLIGHTS)
        bodies = {
            "json": (json.dumps([{"Flight.No a": "a", "Größe": "x"}]).encode(), "/0/Größe"),
            "ndjson": (json.dumps({"Flight.No a": "a", "Größe": "x"}).encode(), "/0/Größe"),
            "csv": ("Flight.No a,Größe\na,x\n".encode(), "/0/n"),
        }
        body, pointer = bodies[format]
        answer = app.post(name, body, headers=BODIES[format][1])
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["field"], error["pointer"]) == (422, "n", pointer)
        assert '"x" is not an integer' in error["reason"]

    def test_rejects_are_mended_and_sent_again(self, app: InProcess) -> None:
        name = app.dataset(FLIGHTS)
        raw = "Flight.No a,Größe,day\na,x,31.01.2026\nb,1,32.01.2026\nc,2,\n".encode()
        job = app.job(app.post(name, raw, headers=CSV, params={"on_error": "quarantine"}))
        assert job["record_counts"]["rejected"] == 2
        listed = app.http.get(f"/api/v1/jobs/{job['id']}/rejects", params={"format": "csv"}).text
        mended = listed.replace("a,x,31", "a,7,31").replace("b,1,32", "b,1,30")
        again = app.job(app.post(name, mended.encode(), headers=CSV, params={"retry_of": job["id"]}))
        assert again["state"] == "succeeded", again
        assert [(one["flight_no"], one["n"], one["day"]) for one in app.rows(name)] == [
            ("a", 7, "2026-01-31"), ("b", 1, "2026-01-30"), ("c", 2, None),
        ]  # fmt: skip


class TestContract:
    @pytest.mark.parametrize(
        ("change", "pointer", "code"),
        [
            ({"fields": [{"name": "a", "type": "text", "sent_as": "a"}]}, "/fields/0/sent_as", "duplicate"),
            ({"fields": [{"name": "a", "type": "text", "sent_as": "x" * 201}]}, "/fields/0/sent_as", "bad_name"),
            ({"fields": [{"name": "a", "type": "text", "sent_as": "_extra"}]}, "/fields/0/sent_as", "duplicate"),
            (
                {
                    "fields": [
                        {"name": "a", "type": "text", "sent_as": "A"},
                        {"name": "b", "type": "text", "sent_as": "A"},
                    ]
                },
                "/fields/1/sent_as",
                "duplicate",
            ),
            (
                {
                    "fields": [{"name": "a", "type": "text", "sent_as": "A", "computed": True}],
                    "input": [{"name": "b", "type": "text"}],
                },
                "/fields/0/sent_as",
                "not_applicable",
            ),
        ],
    )
    def test_a_name_that_is_none_is_refused(
        self, app: InProcess, change: dict[str, Any], pointer: str, code: str
    ) -> None:
        answer = app.http.post("/api/v1/datasets", json={"name": "other", **change})
        assert answer.status_code == 422
        assert (pointer, code) in [(one["pointer"], one["code"]) for one in answer.json()["errors"]]

    def test_it_may_be_changed(self, app: InProcess) -> None:
        name = app.dataset({"name": "x", "fields": [{"name": "a", "type": "text", "sent_as": "A"}]})
        app.work()
        change = {"alter_fields": [{"name": "a", "sent_as": "Alpha"}]}
        assert app.job(app.http.patch(f"/api/v1/datasets/{name}", json=change))["state"] == "succeeded"
        assert app.post(name, [{"A": "x"}]).status_code == 422
        assert app.job(app.post(name, [{"Alpha": "x"}]))["state"] == "succeeded"
