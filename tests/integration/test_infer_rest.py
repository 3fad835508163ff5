"""Inference: what is proposed for a file is accepted, and its records read back as they were."""

import gzip
import io
import json
import uuid
import zipfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.in_process import CSV, NDJSON, InProcess
from tests.support.tables import Table, agrees, tables

from gristmill.records.infer.sample import MAX_BYTES

JSON = {"content-type": "application/json"}
PARQUET = {"content-type": "application/vnd.apache.parquet"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
INFER = "/api/v1/datasets/infer"


def infer(app: InProcess, raw: bytes, kind: dict[str, str], status: int = 200, **params: Any) -> Any:
    answer = app.http.post(INFER, content=raw, headers=kind, params=params)
    assert answer.status_code == status, answer.text
    return answer.json()


def load(
    app: InProcess, raw: bytes, kind: dict[str, str], **params: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Infer, create, submit as ``gristmill load --yes`` does; return the inference and the records."""
    name = f"t_{uuid.uuid4().hex[:10]}"
    found = infer(app, raw, kind, name=name, **params)
    created = app.http.post("/api/v1/datasets", json=found["contract"])
    assert created.status_code == 202, created.text
    job = app.job(app.post(name, raw, headers=kind, params=found["csv"]))
    assert job["state"] == "succeeded", job
    return found, app.rows(name)


def check(table: Table, found: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Check that the records are those of the table: in their order, or by their key."""
    by_header = {one["column"]: (one["field"], one["type"]) for one in found["columns"]}
    columns = [by_header[header] for header in table.headers]
    left = list(rows)
    assert len(rows) == len(table.rows)
    for row in table.rows:
        match = next(
            (
                one
                for one in left
                if all(agrees(kind, *cell, one[name]) for (name, kind), cell in zip(columns, row, strict=True))
            ),
            None,
        )
        assert match is not None, (row, columns, left[:3])
        left.remove(match)


def zipped() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "id\n1\n")
    return packed.getvalue()


class TestRoundTrip:
    @pytest.mark.promise(9)
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        table=tables(),
        delimiter=st.sampled_from(",;\t|"),
        encoding=st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16"]),
    )
    def test_a_csv_file_is_accepted_as_proposed_and_reads_back_as_it_was(
        self, app: InProcess, table: Table, delimiter: str, encoding: str
    ) -> None:
        check(table, *load(app, table.to_csv(delimiter, encoding), CSV))

    @pytest.mark.promise(9)
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(table=tables())
    def test_ndjson_is_accepted_as_proposed_and_reads_back_as_it_was(self, app: InProcess, table: Table) -> None:
        check(table, *load(app, table.to_ndjson(), NDJSON))


class TestAnswer:
    def test_it_says_what_was_seen_and_stores_nothing(self, app: InProcess) -> None:
        before = app.http.get("/api/v1/datasets").json()
        found = infer(app, b"id,Flight No.,n\n1,AA,7\n2,BA,n/a\n", CSV, name="flights")
        assert app.http.get("/api/v1/datasets").json() == before
        assert found["read"] == {"bytes": 32, "records": 2, "complete": True, "rejected": 0}
        fields = {one["name"]: one for one in found["contract"]["fields"]}
        assert fields["flight_no"]["sent_as"] == "Flight No."
        assert found["contract"]["key"] == ["id"]
        assert json.dumps(found["contract"]["pipeline"]).count("n/a") == 1
        assert [one["because"] for one in found["columns"]][
            2
        ] == 'the values are integers, apart from "n/a", read as null'


class TestBadInput:
    @pytest.mark.parametrize("kind", [CSV, NDJSON, JSON, PARQUET, ARROW])
    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"\0\0\0",
            b"PAR1",
            b"[[[[" * 10_000,
            b'{"a": ' * 5000,
            b'"' * 5001,
            b"a,a\n1,2\n",
            b"\xff\xfe\x00",
            # Without the time, which is among the first bytes: workers would name the test differently.
            gzip.compress(b"a,b\n1,2\n", mtime=0),
            zipped(),
            b"a" * 300 + b",b\n1,2\n",
            b"_embedding,_extra\n1,2\n",
            (",".join(f"c{n}" for n in range(2000)) + "\n").encode(),
            json.dumps([{"": 1, "a.b": None, "\ud800": 1}]).encode(),
        ],
        ids=lambda raw: str(raw[:8]),
    )
    def test_nothing_that_is_sent_is_a_defect(self, app: InProcess, raw: bytes, kind: dict[str, str]) -> None:
        for params in ({}, {"partial": "true"}):
            answer = app.http.post(INFER, content=raw, headers=kind, params=params)
            assert answer.status_code in (200, 400, 422), answer.text
            assert answer.status_code == 200 or answer.json()["errors"], answer.text

    @pytest.mark.parametrize(
        ("params", "headers", "status"),
        [
            ({"answers": "{"}, CSV, 400),
            ({"answers": "[]"}, CSV, 422),
            ({"answers": '{"key": ["n"]}'}, CSV, 422),
            ({"name": "No Name"}, CSV, 422),
            ({"partial": "perhaps"}, CSV, 422),
            ({}, {"content-type": "text/html"}, 415),
            ({}, {"content-type": "application/zip"}, 415),
            ({}, {**CSV, "content-encoding": "gzip"}, 400),
            ({}, {**CSV, "content-encoding": "br"}, 415),
        ],
    )
    def test_what_is_asked_wrongly_is_refused(
        self, app: InProcess, params: dict[str, str], headers: dict[str, str], status: int
    ) -> None:
        answer = app.http.post(INFER, content=b"n\n1\n", headers=headers, params=params)
        assert answer.status_code == status, answer.text

    @pytest.mark.promise(7)
    def test_a_body_is_inflated_as_far_as_a_sample_goes(self, app: InProcess) -> None:
        raw = gzip.compress(b"n,m\n" + b"1,2\n" * (20 * 1024 * 1024), 1)
        found = infer(app, raw, {**CSV, "content-encoding": "gzip"})
        assert found["read"] == {"bytes": MAX_BYTES, "records": 100_000, "complete": False, "rejected": 0}
        # The first part of a compressed file is broken off.
        found = infer(app, raw[: len(raw) // 2], {**CSV, "content-encoding": "gzip"}, partial="true")
        assert found["read"]["records"] == 100_000

    def test_a_gzip_of_a_zip_is_refused(self, app: InProcess) -> None:
        body = gzip.compress(zipped())
        for kind in (CSV, NDJSON, JSON, PARQUET, ARROW):
            headers = {**kind, "content-encoding": "gzip"}
            answer = app.http.post(INFER, content=body, headers=headers)
            assert answer.status_code in (400, 422), answer.text

    def test_a_form_is_taken_and_its_zip_is_not(self, app: InProcess) -> None:
        files = {"f": ("orders.csv.gz", gzip.compress(b"id;n\n1;2\n"))}
        found = app.http.post(INFER, files=files, params={"name": "orders"}).json()
        assert (found["format"], found["csv"], found["contract"]["key"]) == ("csv", {"delimiter": ";"}, ["id"])
        assert app.http.post(INFER, files={"f": ("a.zip", zipped())}).status_code == 415

    def test_a_record_beyond_the_sample_that_does_not_fit_is_named(self, app: InProcess) -> None:
        raw = b"n,m\n" + b"1,2\n" * 100_000 + b"1,two\n"
        name = f"t_{uuid.uuid4().hex[:10]}"
        found = infer(app, raw, CSV, name=name)
        assert app.http.post("/api/v1/datasets", json=found["contract"]).status_code == 202
        app.work()
        answer = app.post(name, raw, headers=CSV)
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["record"], error["line"], error["field"]) == (100_000, 100_002, "m")
        assert '"two"' in error["reason"]

    def test_a_record_beyond_the_sample_that_a_step_cannot_read_fails_the_job_by_its_place(
        self, app: InProcess
    ) -> None:
        raw = b"n,m\n" + b"1,2\n" * 99_999 + b"1,n/a\n1,two\n"
        name = f"t_{uuid.uuid4().hex[:10]}"
        found = infer(app, raw, CSV, name=name)
        assert app.http.post("/api/v1/datasets", json=found["contract"]).status_code == 202
        job = app.job(app.post(name, raw, headers=CSV))
        assert job["state"] == "failed"
        (error,) = job["error"]["errors"]
        assert error["record"] == 100_000
        assert "'two'" in error["reason"]
