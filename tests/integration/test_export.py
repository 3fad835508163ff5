"""Exports in one process: formats, selection, pages, and what a reader gets while records are written."""

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from fastapi.testclient import TestClient
from tests.support.system import eventually

from gristmill.api.app import make_app
from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor
from gristmill.core.config import Settings
from gristmill.core.errors import NotFound
from gristmill.jobs.repository.dispatch import mark_sent
from gristmill.records.export import scan
from gristmill.records.export.scan import ExportQuery
from gristmill.records.export.service import ContractChanged, Export, RecordExports

READINGS = {
    "name": "readings",
    "fields": [
        {"name": "sensor", "type": "text", "required": True},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "value", "type": "integer"},
        {"name": "note", "type": "text"},
    ],
    "key": ["sensor", "at"],
    "time_field": "at",
}
EVENTS = {"name": "events", "fields": [{"name": "n", "type": "integer"}, {"name": "note", "type": "text"}]}
VECTORS = {
    "name": "vectors",
    "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "v", "type": "vector", "dimensions": 2}],
    "key": ["id"],
    "embedding": {"dimensions": 3, "metric": "l2"},
}
Row = dict[str, Any]


def reading(number: int, value: int = 0) -> Row:
    at = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    return {"sensor": f"s{number % 7}", "at": at, "value": value, "note": None}


class Mill:
    """The REST interface, and a worker that runs when it is told to."""

    def __init__(self, url: str) -> None:
        self.gristmill = Gristmill(Settings(database_url=url, log_level="error", export_concurrent=2), "test", pool=8)
        self.http = TestClient(make_app(ApiServices(self.gristmill)), base_url="http://localhost/api/v1/")
        self.exports = RecordExports(self.gristmill.database, self.gristmill.dataset_lookup)
        self._executor = build_executor(self.gristmill)

    def work(self) -> None:
        while True:
            with self.gristmill.database.transaction() as connection:
                found = mark_sent(connection, "default", 10)
            if not found:
                return
            for message in found:
                self._executor.run(message.job_id, message.number, message.dispatch)

    def create(self, contract: Row) -> None:
        answer = self.http.post("datasets", json=contract)
        assert answer.status_code == 202, answer.text
        self.work()

    def store(self, name: str, rows: list[Row]) -> None:
        answer = self.http.post(f"datasets/{name}/records", json=rows)
        assert answer.status_code == 202, answer.text
        self.work()
        job = self.http.get(f"jobs/{answer.json()['id']}").json()
        assert job["state"] == "succeeded", job

    def export(self, name: str, status: int = 200, **query: Any) -> Any:
        answer = self.http.get(f"datasets/{name}/export", params=query)
        assert answer.status_code == status, answer.text
        return answer

    def rows(self, name: str, **query: Any) -> list[Row]:
        return [json.loads(line) for line in self.export(name, **query).text.splitlines()]

    def open(self, name: str, format: str = "ndjson", **query: Any) -> Export:
        return self.exports.open(name, ExportQuery(**query), format)

    def query(self, sql: str, *parameters: Any) -> list[Any]:
        with self.gristmill.database.autocommit() as connection:
            return list(connection.exec_driver_sql(sql, parameters))


@pytest.fixture
def mill(database_url: str) -> Iterator[Mill]:
    found = Mill(database_url)
    with found.http:
        yield found
    found.gristmill.database.close()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "PAGE_ROWS", 10)


def rest_of(export: Export) -> list[Row]:
    data = b""
    while not export.done:
        data += export.read()
    return [json.loads(line) for line in data.decode().splitlines()]


def page_of(export: Export) -> list[Row]:
    return [json.loads(line) for line in export.read().decode().splitlines()]


class TestFormats:
    def test_csv_tells_null_from_empty_text_and_keeps_quotes_and_line_ends(self, mill: Mill) -> None:
        mill.create(EVENTS)
        mill.store("events", [{"n": 1, "note": None}, {"n": 2, "note": ""}, {"n": None, "note": 'a "b",\r\nc'}])
        answer = mill.export("events", format="csv")
        assert answer.text == 'n,note\n1,\n2,""\n,"a ""b"",\r\nc"\n'
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["content-disposition"] == 'attachment; filename="events.csv"'

    def test_parquet_has_typed_columns_and_bounded_row_groups(
        self, mill: Mill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scan, "PAGE_ROWS", 10)
        monkeypatch.setattr("gristmill.records.export.formats.GROUP_ROWS", 20)
        mill.create(VECTORS)
        rows = [{"id": n, "v": [n, 0.1] if n % 3 else None, "_embedding": [n, 1, 2]} for n in range(45)]
        mill.store("vectors", rows)
        file = pa.parquet.ParquetFile(io.BytesIO(mill.export("vectors", format="parquet", include="embedding").content))
        assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [20, 20, 5]
        table = file.read()
        assert table.schema.field("_embedding").type == pa.list_(pa.float32(), 3)
        assert table.column("id").to_pylist() == list(range(45))
        assert table.column("v").to_pylist() == [row["v"] and [row["v"][0], np.float32(0.1)] for row in rows]
        assert table.column("_embedding").to_pylist() == [row["_embedding"] for row in rows]

    def test_vectors_stored_in_half_the_size_are_exported_as_they_are_read(self, mill: Mill) -> None:
        mill.create({**VECTORS, "embedding": {"dimensions": 3, "metric": "l2", "storage": "halfvec"}})
        mill.store("vectors", [{"id": n, "v": [n, 1], "_embedding": [n, 0.1, -0.0]} for n in range(3)])
        page = mill.http.get("datasets/vectors/records", params={"include": "embedding"}).json()["records"]
        assert mill.rows("vectors", include="embedding") == page
        file = io.BytesIO(mill.export("vectors", format="parquet", include="embedding").content)
        read = pa.parquet.read_table(file).column("_embedding").to_pylist()
        for one, other in zip(read, page, strict=True):
            # Reads show 16-bit numbers in as few digits as name a 32-bit one.
            assert [np.float32(number) for number in one] == [np.float32(number) for number in other["_embedding"]]

    @pytest.mark.parametrize("format", ["csv", "ndjson", "parquet"])
    def test_an_empty_dataset_is_a_file_without_records(self, mill: Mill, format: str) -> None:
        mill.create(READINGS)
        data = mill.export("readings", format=format).content
        if format == "parquet":
            table = pa.parquet.read_table(io.BytesIO(data))
            assert (table.num_rows, table.column_names) == (0, ["sensor", "at", "value", "note"])
        else:
            assert data == (b"sensor,at,value,note\n" if format == "csv" else b"")

    def test_a_dataset_that_is_being_created_exports_as_empty(self, mill: Mill) -> None:
        assert mill.http.post("datasets", json=EVENTS).status_code == 202
        assert mill.rows("events") == []


class TestSelection:
    def test_fields_filter_and_window(self, mill: Mill, small_pages: None) -> None:
        mill.create(READINGS)
        mill.store("readings", [reading(n, n) for n in range(100)])
        query = {"where": json.dumps({"value": {"ge": 20}}), "end": "2026-01-01T00:00:59Z", "fields": "value,sensor"}
        expected = [{"value": n, "sensor": f"s{n % 7}"} for n in range(20, 60)]
        # The window is read by time, whose index has the rest of the key behind it.
        assert mill.rows("readings", **query) == expected
        assert list(mill.rows("readings", **query)[0]) == ["value", "sensor"]

    def test_a_filter_that_matches_too_rarely_is_answered_range_by_range(
        self, mill: Mill, small_pages: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scan, "SCANNED_ROWS", 7000)
        monkeypatch.setattr("gristmill.records.export.service.SEARCH_SECONDS", 0.001)
        mill.create(EVENTS)
        with mill.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(
                'INSERT INTO data.events (n, note, "_seq", "_ord") SELECT g, g, 0, g FROM generate_series(1, 60000) g'
            )
        export = mill.open("events", where={"note": {"in": ["3", "30000", "30001", "60000"]}})
        # Looking for all matches in the table takes longer than a millisecond.
        first = page_of(export)
        assert export._scan.bounded
        assert [row["n"] for row in first + rest_of(export)] == [3, 30000, 30001, 60000]

    @pytest.mark.parametrize(
        ("query", "status", "place", "code"),
        [
            ({"fields": "value,colour"}, 422, "/query/fields", "unknown_field"),
            ({"fields": "value,value"}, 422, "/query/fields", "duplicate"),
            ({"fields": ""}, 422, "/query/fields", "unknown_field"),
            ({"where": "{"}, 400, "/query/where", "malformed"),
            ({"where": '{"colour": 1}'}, 422, "/where/colour", "unknown_field"),
            ({"start": "soon"}, 422, "/query/start", "not_a_timestamp"),
            ({"format": "xlsx"}, 422, "/query/format", "literal_error"),
            ({"format": "csv", "fields": "note"}, 422, "/query/format", "ambiguous"),
            ({"order": "value"}, 422, "/query/order", "unknown_parameter"),
            ({"fields": ["id", "value"]}, 422, "/query/fields", "duplicate"),
        ],
    )
    def test_bad_parameters_are_refused_with_their_place(
        self, mill: Mill, query: dict[str, Any], status: int, place: str, code: str
    ) -> None:
        mill.create(READINGS)
        problem = mill.export("readings", status, **query).json()
        assert (problem["errors"][0]["pointer"], problem["errors"][0]["code"]) == (place, code)

    def test_an_unknown_dataset_is_a_404(self, mill: Mill) -> None:
        assert mill.export("nothing", 404).json()["code"] == "unknown_dataset"


class TestPages:
    def test_a_page_ends_by_bytes_and_one_large_record_is_a_page(
        self, mill: Mill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scan, "PAGE_BYTES", 10_000)
        mill.create(EVENTS)
        mill.store("events", [{"n": n, "note": "x" * size} for n, size in enumerate([3000, 3000, 3000, 30_000, 5])])
        export = mill.open("events")
        assert [[row["n"] for row in page_of(export)] for _ in range(3)] == [[0, 1, 2], [3], [4]]
        assert rest_of(export) == []

    def test_nothing_is_held_between_pages(self, mill: Mill, small_pages: None) -> None:
        mill.create(READINGS)
        mill.store("readings", [reading(n) for n in range(50)])
        export = mill.open("readings")
        export.read()
        busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
        holding = f"{busy} AND (backend_xmin IS NOT NULL OR xact_start < now()) AND pid <> pg_backend_pid()"
        assert mill.query(holding) == [(0,)]
        pool = mill.gristmill.database.engine.pool
        assert pool.checkedout() == 0  # type: ignore[attr-defined]

    def test_an_export_gives_its_place_back_however_it_ends(self, mill: Mill) -> None:
        mill.create(EVENTS)
        mill.store("events", [{"n": n, "note": "x" * 1000} for n in range(100)])
        for _ in range(5):  # Two may run at once.
            mill.export("events")
            mill.export("events", 422, fields="colour")
            mill.export("nothing", 404)


class TestWritesMeanwhile:
    """The guarantee: see decision 26."""

    def test_a_record_that_is_replaced_meanwhile_is_met_once_in_one_of_its_states(
        self, mill: Mill, small_pages: None
    ) -> None:
        mill.create(READINGS)
        mill.store("readings", [reading(n, 1) for n in range(100)])
        export = mill.open("readings")
        first = page_of(export)
        # An upsert moves rows to the tail of the table: those met and those not met yet.
        mill.store("readings", [reading(n, 2) for n in range(0, 100, 2)])
        rows = first + rest_of(export)
        keys = [(row["sensor"], row["at"]) for row in rows]
        assert keys == sorted({(row["sensor"], row["at"]) for row in (reading(n) for n in range(100))})
        met = {(row["sensor"], row["at"]) for row in first}
        for row in rows:
            number = int(row["at"][14:16]) * 60 + int(row["at"][17:19])
            assert row["value"] == (1 if number % 2 or (row["sensor"], row["at"]) in met else 2)

    def test_what_is_deleted_or_inserted_meanwhile_is_met_once_or_not_at_all(
        self, mill: Mill, small_pages: None
    ) -> None:
        mill.create(READINGS)
        mill.store("readings", [reading(n, 1) for n in range(50)])
        export = mill.open("readings")
        first = page_of(export)
        answer = mill.http.post("datasets/readings/records/delete", json={"where": {"sensor": {"in": ["s0", "s6"]}}})
        assert answer.status_code == 202
        mill.work()
        mill.store("readings", [{**reading(n, 2), "sensor": f"{letter}9"} for letter in "az" for n in range(20)])
        rows = first + rest_of(export)
        sensors = [row["sensor"] for row in rows]
        assert len({(row["sensor"], row["at"]) for row in rows}) == len(rows)
        assert sensors.count("s6") == 0  # was ahead, and is gone
        assert sensors.count("s0") == len([row for row in first if row["sensor"] == "s0"])
        assert (sensors.count("a9"), sensors.count("z9")) == (0, 20)
        for still in ("s1", "s2", "s3", "s4", "s5"):
            assert sensors.count(still) == len([n for n in range(50) if f"s{n % 7}" == still])

    def test_an_upsert_that_changes_a_time_does_not_show_a_record_twice(self, mill: Mill, small_pages: None) -> None:
        moving = {
            "name": "moving",
            "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "at", "type": "timestamp"}],
            "key": ["id"],
            "time_field": "at",
        }
        mill.create(moving)
        mill.store("moving", [{"id": n, "at": f"2026-01-01T00:00:{n:02}Z"} for n in range(40)])
        export = mill.open("moving", start="2026-01-01T00:00:00Z")
        first = page_of(export)
        mill.store("moving", [{"id": n, "at": f"2026-01-02T00:00:{n:02}Z"} for n in range(40)])
        assert [row["id"] for row in first + rest_of(export)] == list(range(40))

    @pytest.mark.parametrize("contract", [READINGS, EVENTS], ids=["key", "no key"])
    def test_an_open_transaction_shows_nothing_and_the_horizon_lies_below_it(
        self, mill: Mill, small_pages: None, contract: Row
    ) -> None:
        name = contract["name"]
        mill.create(contract)
        before = [reading(n, 1) if name == "readings" else {"n": n, "note": "before"} for n in range(30)]
        mill.store(name, before)
        columns = 'sensor, at, value, "_seq", "_ord"' if name == "readings" else 'n, note, "_seq", "_ord"'
        values = (
            "'a' || g, now(), 9, 0, g FROM generate_series(1, 30) g"
            if name == "readings"
            else "g, 'late', 0, g FROM generate_series(1, 30) g"
        )
        # A job with a smaller number, which commits while the export goes on.
        with mill.gristmill.database.transaction() as late:
            number = late.exec_driver_sql("SELECT pg_current_xact_id()::text::bigint").scalar()
            late.exec_driver_sql(f"INSERT INTO data.{name} ({columns}) SELECT {values}")
            export = mill.open(name)
            first = page_of(export)
        rows = first + rest_of(export)
        assert rows == sorted(rows, key=lambda row: (row.get("sensor", ""), row.get("at", "")))
        assert len(rows) == 30
        assert int(export.horizon) <= number
        again = mill.open(name)
        assert len(rest_of(again)) == 60
        # Transactions of all databases hold the horizon down: it passes this one when the older ones have ended.
        eventually(lambda: int(mill.open(name).horizon) > number, "the horizon lies above it", 60)

    def test_a_dropped_dataset_ends_the_export_even_if_its_name_is_taken_again(
        self, mill: Mill, small_pages: None
    ) -> None:
        mill.create(EVENTS)
        mill.store("events", [{"n": n, "note": "old"} for n in range(50)])
        dropped, replaced = mill.open("events"), mill.open("events")
        dropped.read()
        replaced.read()
        assert mill.http.delete("datasets/events", params={"confirm": "events"}).status_code == 202
        mill.work()
        with pytest.raises(NotFound):
            dropped.read()
        mill.create(EVENTS)
        mill.store("events", [{"n": n, "note": "new"} for n in range(50)])
        with pytest.raises(NotFound, match="dropped while"):
            replaced.read()

    def test_a_wider_contract_does_not_disturb_unless_an_exported_type_changes(
        self, mill: Mill, small_pages: None
    ) -> None:
        mill.create(EVENTS)
        mill.store("events", [{"n": n, "note": "old"} for n in range(50)])
        whole, notes = mill.open("events"), mill.open("events", fields=["note"])
        whole.read()
        notes.read()
        change = {"add_fields": [{"name": "more", "type": "text"}], "alter_fields": [{"name": "n", "type": "decimal"}]}
        assert mill.http.patch("datasets/events", json=change).status_code == 202
        mill.work()
        with pytest.raises(ContractChanged, match="n became decimal"):
            whole.read()
        assert len(rest_of(notes)) == 40
