"""Inference: what is proposed for a file is accepted, and its records read back as they were."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.support.in_process import CSV, NDJSON, InProcess
from tests.support.tables import Table, agrees, tables

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
    job = app.job(app.post(name, raw, headers=kind))
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


class TestRoundTrip:
    @pytest.mark.promise(9)
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(table=tables())
    def test_a_csv_file_is_accepted_as_proposed_and_reads_back_as_it_was(self, app: InProcess, table: Table) -> None:
        check(table, *load(app, table.to_csv(), CSV))

    @pytest.mark.promise(9)
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
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
