"""Enum and default over REST, whatever the format of the records; texts for people reach the table."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.columnar import as_parquet, as_stream
from tests.support.in_process import CSV, NDJSON, InProcess

PAINT = {
    "title": "Paint",
    "fields": [
        {"name": "id", "type": "integer", "required": True, "description": "100 % ours, it's counted", "unit": "%s"},
        {"name": "colour", "type": "text", "enum": ["red", "blue"], "default": "red"},
        {"name": "at", "type": "timestamp", "default": "2026-01-31T13:00:00+01:00"},
        {"name": "price", "type": "decimal", "enum": ["1.5", "2"], "default": "2"},
        {"name": "more", "type": "json", "default": {"coats": 1}},
    ],
    "key": ["id"],
}
ID = {"name": "id", "type": "integer", "required": True}
DEFAULTS = {"colour": "red", "at": "2026-01-31T12:00:00Z", "price": "2", "more": {"coats": 1}}
PARQUET, ARROW = "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"


def bodies(**columns: list[Any]) -> list[tuple[bytes, dict[str, str]]]:
    """The same records in every format; a null is explicit."""
    table = pa.table(columns)
    rows = table.to_pylist()
    text = "\n".join(",".join("" if cell is None else str(cell) for cell in row.values()) for row in rows)
    lines = b"\n".join(_json(row) for row in rows)
    return [
        (b"[" + b",".join(_json(row) for row in rows) + b"]", {"content-type": "application/json"}),
        (lines, NDJSON),
        (f"{','.join(columns)}\n{text}\n".encode(), CSV),
        (as_parquet(table), {"content-type": PARQUET}),
        (as_stream(table), {"content-type": ARROW}),
    ]


def _json(row: dict[str, Any]) -> bytes:
    members = (f'"{name}": {"null" if cell is None else cell if name == "id" else chr(34) + cell + chr(34)}'
               for name, cell in row.items())  # fmt: skip
    return ("{" + ", ".join(members) + "}").encode()


def test_an_absent_field_gets_its_default_and_a_null_stays_null_in_every_format(app: InProcess) -> None:
    for body, headers in bodies(id=[1, 2]):
        name = app.dataset(PAINT)
        assert app.job(app.post(name, body, headers=headers))["state"] == "succeeded"
        assert app.rows(name) == [{"id": number, **DEFAULTS} for number in (1, 2)]
    for body, headers in bodies(id=[1, 2], colour=pa.array([None, "blue"]), price=pa.array(["1.50", None])):
        name = app.dataset(PAINT)
        assert app.job(app.post(name, body, headers=headers))["state"] == "succeeded"
        assert app.rows(name) == [
            {"id": 1, **DEFAULTS, "colour": None, "price": "1.50"},
            {"id": 2, **DEFAULTS, "colour": "blue", "price": None},
        ]


def test_a_value_outside_of_the_enum_is_refused_in_every_format_with_its_place(app: InProcess) -> None:
    name = app.dataset(PAINT)
    for body, headers in bodies(id=[1, 2], colour=["red", "green"], price=["3", "2.0"]):
        answer = app.post(name, body, headers=headers)
        assert answer.status_code == 422, answer.text
        found = [(one["pointer"], one["code"], one["record"]) for one in answer.json()["errors"]]
        assert sorted(found) == [("/0/price", "not_in_enum", 0), ("/1/colour", "not_in_enum", 1)]
        assert {one["reason"].split(": ")[-1] for one in answer.json()["errors"]} == {'"red", "blue"', '"1.5", "2"'}
    quarantined = app.job(app.post(name, [{"id": 1, "colour": "no"}, {"id": 2}], params={"on_error": "quarantine"}))
    assert quarantined["record_counts"] | {"rejected": 1, "succeeded": 1} == quarantined["record_counts"]
    answer = app.http.patch(app.key(name, "2"), json={"colour": "green"})
    assert answer.json()["errors"][0]["code"] == "not_in_enum"


def test_a_filter_may_name_what_the_enum_does_not(app: InProcess) -> None:
    name = app.dataset(PAINT)
    app.job(app.post(name, [{"id": 1}]))
    answer = app.http.get(f"/api/v1/datasets/{name}/records", params={"where": '{"colour": "green"}'})
    assert (answer.status_code, answer.json()["records"]) == (200, [])


def test_a_default_that_is_added_counts_for_what_is_submitted_from_then_on(app: InProcess) -> None:
    name = app.dataset({"fields": PAINT["fields"][:1], "key": ["id"]})  # type: ignore[index]
    app.job(app.post(name, [{"id": 1}]))
    app.post(name, [{"id": 2}])
    path = f"/api/v1/datasets/{name}"
    field = {"name": "colour", "type": "text", "default": "red", "title": "Colour", "enum": ["red", "blue"]}
    assert app.http.patch(path, json={"add_fields": [field], "title": "Paint"}).status_code == 202
    assert app.job(app.post(name, [{"id": 3}]))["state"] == "succeeded"
    assert [row["colour"] for row in app.rows(name)] == [None, None, "red"]
    wider = {"name": "colour", "enum": ["red", "blue", "green"], "default": "green", "title": None}
    assert app.job(app.http.patch(path, json={"alter_fields": [wider], "title": None}))["state"] == "succeeded"
    app.job(app.post(name, [{"id": 4}, {"id": 5, "colour": "blue"}]))
    assert [row["colour"] for row in app.rows(name)] == [None, None, "red", "green", "blue"]
    contract = app.http.get(path).json()["contract"]
    assert "title" not in contract
    assert contract["fields"][1]["enum"] == ["red", "blue", "green"]


def test_texts_for_people_are_comments_of_the_columns(app: InProcess) -> None:
    name = app.dataset(PAINT)
    app.work()
    app.job(
        app.http.patch(
            f"/api/v1/datasets/{name}",
            json={
                "alter_fields": [{"name": "id", "unit": None}, {"name": "price", "title": "Price"}],
                "add_fields": [{"name": "n", "type": "text", "description": "new"}],
            },
        )
    )
    sql = "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = %(table)s::regclass"
    with app.gristmill.database.autocommit() as connection:
        found = {
            column: text
            for column, text in connection.exec_driver_sql(sql, {"table": f"data.{name}"})
            if text is not None and not column.startswith("_")
        }
    assert found == {"id": "100 % ours, it's counted", "price": "Price", "n": "new"}


@pytest.mark.parametrize("file_format", ["csv", "ndjson", "parquet"])
def test_an_export_goes_in_again(app: InProcess, file_format: str) -> None:
    name, other = app.dataset(PAINT), app.dataset(PAINT)
    app.job(app.post(name, [{"id": 1}, {"id": 2, "colour": None, "price": "1.5"}]))
    answer = app.http.get(f"/api/v1/datasets/{name}/export", params={"format": file_format})
    kind = answer.headers["content-type"].split(";")[0]
    if file_format == "parquet":
        schema = pq.read_schema(pa.BufferReader(answer.content))
        assert schema.field("id").metadata | {b"unit": b"%s"} == schema.field("id").metadata
        assert schema.field("colour").metadata is None or b"unit" not in schema.field("colour").metadata
    assert app.job(app.post(other, answer.content, headers={"content-type": kind}))["state"] == "succeeded"
    assert app.rows(other) == app.rows(name)


def test_a_merge_keeps_what_is_there_and_fills_in_new_records(app: InProcess) -> None:
    fields = [PAINT["fields"][0], {**PAINT["fields"][1], "required": True}, PAINT["fields"][3]]  # type: ignore[index]
    name = app.dataset({"fields": fields, "key": ["id"]})
    app.job(app.post(name, [{"id": 1, "colour": "blue", "price": None}]))
    merged = app.job(app.post(name, [{"id": 1, "price": "1.5"}, {"id": 2}], params={"mode": "merge"}))
    assert merged["state"] == "succeeded", merged
    assert app.rows(name) == [{"id": 1, "colour": "blue", "price": "1.5"}, {"id": 2, "colour": "red", "price": "2"}]
    refused = app.post(name, [{"id": 1, "price": "9"}], params={"mode": "merge"})
    assert refused.json()["errors"][0]["code"] == "not_in_enum"


def test_what_a_pipeline_makes_of_sent_or_absent_values_is_held_against_the_enum(app: InProcess) -> None:
    contract = {
        "input": ["id", {"name": "word", "type": "text", "enum": ["r", "g", "x"], "default": "r"}],
        "fields": [ID, {"name": "colour", "type": "text", "computed": True, "enum": ["red", "green"]}],
        "key": ["id"],
        "pipeline": [
            {"op": "map", "column": "word", "as": "colour", "values": {"r": "red", "g": "green", "x": "pink"}}
        ],
    }
    name = app.dataset(contract)
    assert app.post(name, [{"id": 1, "word": "y"}]).json()["errors"][0]["code"] == "not_in_enum"
    assert app.job(app.post(name, [{"id": 1}, {"id": 2, "word": "g"}]))["state"] == "succeeded"
    assert app.rows(name) == [{"id": 1, "colour": "red"}, {"id": 2, "colour": "green"}]
    failed = app.job(app.post(name, [{"id": 3, "word": "x"}]))
    assert (failed["state"], failed["error"]["code"]) == ("failed", "record_unfit")
    assert failed["error"]["errors"][0]["code"] == "not_in_enum"
    defaulted = {**contract["fields"][1], "default": "red"}  # type: ignore[dict-item]
    refused = app.http.post("/api/v1/datasets", json={**contract, "name": "d", "fields": [ID, defaulted]})
    assert refused.json()["errors"][0] | {"pointer": "/fields/1/default"} == refused.json()["errors"][0]
