"""Parquet and Arrow streams: equal records from every format, exact refusals, and memory that stays bounded."""

import datetime as dt
import io
import json
import random
import struct
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.columnar import SMALL, WAYS, as_parquet, as_stream, both, read, refusal
from tests.support.values import CASES

from gristmill.core.errors import Invalid, Malformed
from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.types import TYPES
from gristmill.records.readers import open_reader
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.context import ReadContext, Reader
from gristmill.records.readers.limits import parquet_pages
from gristmill.records.readers.parquet import read_parquet
from gristmill.records.reject import Reject
from gristmill.records.validation.rows import Problems, validator_of

CONTRACT = parse_contract(
    {
        "name": "things",
        "fields": [
            {"name": "id", "type": "integer", "required": True},
            {"name": "name", "type": "text", "max_length": 10},
            {"name": "price", "type": "decimal", "precision": 8, "scale": 2},
            {"name": "at", "type": "timestamp"},
            {"name": "day", "type": "date"},
            {"name": "ok", "type": "boolean"},
            {"name": "size", "type": "float"},
            {"name": "uid", "type": "uuid"},
            {"name": "extra", "type": "json"},
            {"name": "v", "type": "vector", "dimensions": 2},
        ],
        "key": ["id"],
        "embedding": {"dimensions": 3},
    }
)
RECORDS: list[dict[str, Any]] = [
    {
        "id": n * 10**16,
        "name": None if n % 5 == 0 else 'ä"b,\n'[: n % 6],
        "price": None if n % 7 == 0 else f"{n}.50",
        "at": f"2026-01-31T12:00:{n % 60:02d}.{n:06d}Z",
        "day": None if n % 3 == 0 else "2026-02-28",
        "ok": n % 2 == 0,
        "size": None if n % 4 == 0 else n / 7,
        "uid": f"0192f0c2-7d3a-7000-8000-{n:012d}",
        "extra": None if n % 6 == 0 else {"a": [n, None, "x"]},
        "v": [n / 3, -1.0],
        "_embedding": None if n % 9 == 0 else [1.0, n / 9, 0.1],
    }
    for n in range(60)
]


def csv_cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return '"' + text.replace('"', '""') + '"'


def as_columns(records: list[dict[str, Any]]) -> pa.Table:
    def column(name: str, kind: pa.DataType, convert: Callable[[Any], Any] = lambda value: value) -> pa.Array:
        return pa.array([None if row[name] is None else convert(row[name]) for row in records], kind)

    return pa.table(
        {
            "id": column("id", pa.uint64()),
            "name": column("name", pa.dictionary(pa.int16(), pa.string())),
            "price": column("price", pa.decimal128(20, 2), Decimal),
            "at": column("at", pa.timestamp("us", "Europe/Berlin"), dt.datetime.fromisoformat),
            "day": column("day", pa.date32(), dt.date.fromisoformat),
            "ok": column("ok", pa.bool_()),
            "size": column("size", pa.float64()),
            "uid": column("uid", pa.large_string()),
            "extra": column("extra", pa.string(), json.dumps),
            "v": column("v", pa.list_(pa.float64())),
            "_embedding": column("_embedding", pa.list_(pa.float64(), 3)),
        }
    )


class TestFormats:
    def test_the_same_records_are_equal_in_every_format(self) -> None:
        names = list(RECORDS[0])
        lines = [",".join(csv_cell(row[name]) for name in names) for row in RECORDS]
        table = as_columns(RECORDS)
        bodies = {
            "application/json": json.dumps(RECORDS).encode(),
            "application/x-ndjson": "\n".join(json.dumps(row) for row in RECORDS).encode(),
            "text/csv": "\n".join([",".join(names), *lines]).encode(),
            "application/vnd.apache.parquet": as_parquet(table),
            "application/x-parquet": as_parquet(table, compression="zstd", data_page_version="2.0", row_group_size=7),
            "application/parquet": as_parquet(table, use_dictionary=False, compression="none"),
            "application/vnd.apache.arrow.stream": as_stream(table, rows=9, compression="zstd"),
        }
        found = {}
        for kind, body in bodies.items():
            (batch,) = read(open_reader(kind), body, CONTRACT)
            assert (batch.first_record, batch.ords, batch.table.num_rows) == (0, None, 60)
            found[kind] = batch.table.combine_chunks()
        first = found.pop("application/json")
        assert first.column("id").to_pylist()[-1] == 59 * 10**16
        for kind, table in found.items():
            assert table.equals(first), kind

    @both
    def test_chunks_are_cut_and_records_keep_their_places(self, reader: Reader) -> None:
        table = pa.table({"n": pa.array(range(50_000)), "t": ["text"] * 50_000})
        batches = read(reader, WAYS[reader](table), SMALL)
        assert [batch.first_record for batch in batches] == [0, 20_000, 40_000]
        assert [n for batch in batches for n in batch.table.column("n").to_pylist()] == list(range(50_000))

    @both
    def test_an_empty_table_is_refused_as_an_empty_batch(self, reader: Reader) -> None:
        error = refusal(reader, WAYS[reader](pa.table({"n": pa.array([], pa.int64())})), SMALL)
        assert error.violations[0].code == "empty"


class TestDocs:
    def test_the_column_types_of_every_type_are_in_its_table(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "types.md").read_text()
        table = page.split("## Parquet and Arrow")[1].split("\n- ")[0]
        rows = {line.split("|")[1].split(",")[0].strip(): line for line in table.splitlines() if line.startswith("| ")}
        assert rows.keys() - {"type"} == TYPES.keys()
        for name, case in CASES.items():
            field = FieldSpec(name="x", type=name, **case.limits)  # type: ignore[arg-type]
            for kind in case.arrow:
                shown = str(kind).split("<")[0].split("(")[0].split("[")[0]
                assert TYPES[name].accepts_column(field, kind), (name, kind)
                assert shown in rows[name], (name, kind)
            assert not TYPES[name].accepts_column(field, pa.struct([("a", pa.binary())]))
            assert TYPES[name].accepts_column(field, pa.struct([("a", pa.int64())])) == (name == "json")


class TestMistakes:
    @both
    def test_a_wrong_schema_has_one_place_for_each_column(self, reader: Reader) -> None:
        table = pa.table(
            {
                "name": pa.array([1], pa.int32()),
                "price": pa.array([1.5]),
                "at": pa.array([dt.datetime(2026, 1, 1)], pa.timestamp("us")),
                "ok": pa.array(["yes"]),
                "what": pa.array([1]),
                "v": pa.array([["a"]]),
                "size": pa.array([{"a": 1}]),
            }
        )
        error = refusal(reader, WAYS[reader](table), CONTRACT)
        assert type(error) is Invalid
        found = {place.pointer: (place.code, place.field, place.record) for place in error.violations}
        assert found == {
            "/name": ("wrong_type", "name", None),
            "/price": ("wrong_type", "price", None),
            "/at": ("wrong_type", "at", None),
            "/ok": ("wrong_type", "ok", None),
            "/what": ("unknown_field", "what", None),
            "/v": ("wrong_type", "v", None),
            "/size": ("wrong_type", "size", None),
            "/id": ("missing", "id", None),
            "/_embedding": ("missing", "_embedding", None),
        }
        reasons = {place.field: place.reason for place in error.violations}
        for field, shown in (("name", "int32"), ("name", "string"), ("price", "double"), ("price", "decimal128")):
            assert shown in reasons[field]
        assert "time zone" in reasons["at"]

    def test_a_union_of_types_is_refused_by_its_column(self) -> None:
        mixed = pa.UnionArray.from_dense(
            pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["a"])]
        )
        error = refusal(read_arrow, as_stream(pa.table({"n": mixed})), SMALL)
        assert (error.violations[0].field, error.violations[0].code) == ("n", "wrong_type")
        assert "union" in error.violations[0].reason

    @both
    def test_a_column_twice_is_refused(self, reader: Reader) -> None:
        table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["n", "n"])
        place = refusal(reader, WAYS[reader](table), SMALL).violations[0]
        assert (place.pointer, place.code) == ("/n", "duplicate")

    @both
    def test_values_that_do_not_fit_are_named_and_the_others_go_on(self, reader: Reader) -> None:
        table = as_columns(RECORDS[:6])
        ids = pa.array([0, 2**63, 2, 3, None, 5], pa.uint64())
        moments = pa.array([0, 1000, 1001, 0, 0, 10**18], pa.timestamp("ns", "UTC"))
        numbers = [[0.0, 0.0, 0.0], [1.0, 0, 0], [1, 1, 1], [1, float("nan"), 1], None, [1, 1, 1]]
        vectors = pa.array(numbers, pa.list_(pa.float32()))
        table = table.set_column(0, "id", ids).set_column(3, "at", moments).set_column(10, "_embedding", vectors)
        rejects: list[Reject] = []
        (batch,) = read(reader, as_parquet(table) if reader is read_parquet else as_stream(table), CONTRACT, rejects)
        assert (batch.table.column("id").to_pylist(), batch.ords) == ([5], None)
        found = [(r.record, r.line, [(p.field, p.code) for p in r.violations]) for r in rejects]
        assert found == [
            (0, None, [("_embedding", "zero_vector")]),
            (1, None, [("id", "out_of_range")]),
            (2, None, [("at", "not_a_timestamp")]),
            (3, None, [("_embedding", "not_finite")]),
            (4, None, [("id", "null")]),
        ]
        assert "1970-01-01T00:00:00.000001001Z" in rejects[2].violations[0].reason
        assert json.loads(rejects[1].raw)["id"] == 2**63

    @both
    def test_json_columns_that_hold_no_json_are_named(self, reader: Reader) -> None:
        contract = parse_contract({"name": "j", "fields": [{"name": "x", "type": "json"}]})
        error = refusal(reader, WAYS[reader](pa.table({"x": ["{}", "{", '"\\u0000"']})), contract)
        assert [(p.record, p.code, p.pointer) for p in error.violations] == [
            (1, "not_json", "/1/x"),
            (2, "nul", "/2/x"),
        ]

    @both
    @pytest.mark.parametrize(
        "body", [b"", b"x", b"PAR1", b"PAR1" + b"\0" * 40 + b"PAR1", b"ARROW1\0\0", b"\xff" * 64, b'[{"n":1}]']
    )
    def test_what_is_another_format_is_malformed(self, reader: Reader, body: bytes) -> None:
        assert type(refusal(reader, body, SMALL)) is Malformed

    @both
    def test_a_body_that_is_broken_off_is_malformed_wherever_that_is(self, reader: Reader) -> None:
        body = WAYS[reader](pa.table({"n": list(range(1000)), "t": [f"text {n}" for n in range(1000)]}))
        for end in [*range(0, len(body) - 20, len(body) // 40), len(body) - 20]:
            error = refusal(reader, body[:end], SMALL)
            assert type(error) is Malformed, end
            assert error.violations[0].code == "malformed"

    def test_a_batch_that_is_broken_off_is_named_with_its_records(self) -> None:
        body = as_stream(pa.table({"n": list(range(1000)), "t": ["text"] * 1000}), rows=100)
        assert (
            "Record batch 9 of the Arrow stream, from record 900 on" in refusal(read_arrow, body[:-100], SMALL).detail
        )

    def test_an_arrow_stream_that_ends_between_two_batches_without_its_marker_is_refused(self) -> None:
        table = pa.table({"n": list(range(30)), "t": ["text"] * 30})
        whole = as_stream(table, rows=10)
        marker = whole[-8:]
        assert marker == b"\xff\xff\xff\xff\0\0\0\0"
        assert "broken off" in refusal(read_arrow, whole[:-8], SMALL).detail
        first = as_stream(table.slice(0, 10), rows=10)
        assert whole.startswith(first[:-8])
        assert "Record batch 1 of the Arrow stream, from record 10 on" in refusal(read_arrow, first[:-8], SMALL).detail

    def test_what_follows_an_arrow_stream_is_refused_and_not_passed_over(self) -> None:
        body = as_stream(pa.table({"n": [1], "t": ["text"]}))
        for more in (body, b"x", b"\0" * 8):
            error = refusal(read_arrow, body + more, SMALL)
            assert type(error) is Malformed
            assert f"{len(more)} bytes follow the end" in error.detail

    def test_a_page_that_is_damaged_is_named_with_its_column(self) -> None:
        table = pa.table({"n": list(range(5000)), "t": [f"text {n}" for n in range(5000)]})
        body = bytearray(as_parquet(table, row_group_size=1000, use_dictionary=False))
        offset = pq.ParquetFile(io.BytesIO(bytes(body))).metadata.row_group(3).column(1).data_page_offset
        body[offset : offset + 8] = b"\xff" * 8
        error = refusal(read_parquet, bytes(body), SMALL)
        assert type(error) is Malformed
        assert "column t in row group 3" in error.detail

    @both
    def test_any_damaged_byte_gives_an_answer_and_never_another_error(self, reader: Reader) -> None:
        table = pa.table({"n": list(range(300)), "t": [f"täxt {n % 7}" for n in range(300)]})
        whole, dice = WAYS[reader](table), random.Random(7)
        refused = 0
        for _ in range(400):
            body = bytearray(whole)
            for _ in range(dice.choice([1, 1, 4])):
                body[dice.randrange(len(body))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
            try:
                batches = read(reader, bytes(body), SMALL)
            except Invalid:
                refused += 1
            else:
                for batch in batches:
                    batch.table.validate(full=True)
        assert refused > 40

    def test_no_damage_of_a_footer_ends_the_process(self) -> None:
        """Statistics of lists that contradict the schema made pyarrow's view of the footer abort."""
        whole = as_parquet(as_columns(RECORDS), compression="none")
        (length,) = struct.unpack("<I", whole[-8:-4])
        answers = set()
        for place in range(len(whole) - 8 - length, len(whole) - 8, 13):
            body = bytearray(whole)
            body[place] = (body[place] + 3) % 256
            try:
                read(read_parquet, bytes(body), CONTRACT)
            except Invalid as error:
                answers.add(type(error))
        assert answers == {Invalid, Malformed}

    def test_a_footer_that_is_too_large_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parquet_pages, "MAX_FOOTER_BYTES", 1000)
        table = pa.table({"n": list(range(100))})
        assert (
            refusal(read_parquet, as_parquet(table, row_group_size=1), SMALL).violations[0].code == "footer_too_large"
        )


def test_the_index_of_a_pandas_frame_is_named_as_what_it_is() -> None:
    """A filtered frame keeps its index, and writes it beside its columns."""
    contract = parse_contract({"name": "t", "fields": [{"name": "x", "type": "integer"}]})
    frame = pd.DataFrame({"x": [1, -1, 2, 3]})
    out = io.BytesIO()
    frame[frame.x > 0].to_parquet(out)
    with pytest.raises(Invalid) as caught:
        for _ in read_parquet(ReadContext(out, validator_of(contract), Problems())):
            pass
    (violation,) = caught.value.violations
    assert violation.field == "__index_level_0__"
    assert "index=False" in violation.reason
