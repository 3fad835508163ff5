"""Whole columns are judged exactly as single records are: the same accepted, with equal values and equal mistakes."""

import datetime as dt
import io
from decimal import Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import Contract, parse_contract
from gristmill.records.readers import columnar
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.context import ReadContext, Reader, RecordBlock
from gristmill.records.readers.csv import read_csv
from gristmill.records.reject import Reject
from gristmill.records.validation.columns import Mask, check_columns, check_schema
from gristmill.records.validation.rows import Problems, RecordValidator, validator_of

FIELDS: dict[str, dict[str, Any]] = {
    "text": {"type": "text", "max_length": 4},
    "integer": {"type": "integer"},
    "small integer": {"type": "integer", "minimum": -5, "maximum": 300},
    "float": {"type": "float"},
    "small float": {"type": "float", "minimum": -1, "maximum": 1e10},
    "decimal": {"type": "decimal"},
    "money": {"type": "decimal", "precision": 6, "scale": 2},
    "whole": {"type": "decimal", "precision": 4, "scale": 0},
    "fraction": {"type": "decimal", "precision": 3, "scale": 3},
    "price": {"type": "decimal", "precision": 6, "scale": 2, "minimum": "-1.01", "maximum": "99.99"},
    "boolean": {"type": "boolean"},
    "timestamp": {"type": "timestamp"},
    "late timestamp": {"type": "timestamp", "minimum": "2026-01-31T12:00:00Z", "maximum": "2026-06-30T12:00:00+02:00"},
    "local timestamp": {"type": "timestamp", "zone": "Europe/Berlin"},
    "far timestamp": {"type": "timestamp", "zone": "Australia/Lord_Howe"},
    "date": {"type": "date"},
    "late date": {"type": "date", "minimum": "2026-01-31", "maximum": "2026-03-01"},
    "uuid": {"type": "uuid"},
    "json": {"type": "json"},
    "vector": {"type": "vector", "dimensions": 2},
    "image": {"type": "image", "max_bytes": 20},
}


def contract_of(kind: str, required: bool = False) -> Contract:
    field = {"name": "x", "required": required, **FIELDS[kind]}
    return parse_contract({"name": "things", "fields": [{"name": "n", "type": "integer"}, field]})


def read(reader: Reader, body: bytes, contract: Contract, precise: bool) -> tuple[list[Any], list[Reject]]:
    """Return (index and payload row of every valid record, the rejects). precise: every record goes the precise way."""

    def mark_all(validator: RecordValidator, table: pa.Table, cells: bool = False) -> tuple[pa.Table, Mask]:
        return check_columns(validator, table, cells)[0], np.ones(table.num_rows, np.bool_)

    rejects: list[Reject] = []
    with pytest.MonkeyPatch.context() as patch:
        if precise:
            patch.setattr(columnar, "check_columns", mark_all)
        source = ReadContext(io.BytesIO(body), validator_of(contract), Problems(), 32, rejects.append)
        steps: list[RecordBlock] = list(reader(source))
    rows = [pair for step in steps for pair in zip(step.ords.tolist(), step.table.to_pylist(), strict=True)]
    for step in steps:
        step.table.validate(full=True)
    return rows, rejects


def assert_same(reader: Reader, body: bytes, contract: Contract) -> list[Any]:
    fast, precise = (read(reader, body, contract, way) for way in (False, True))
    assert fast == precise
    return fast[0]


# Cells that stand near the limits of what some type takes.
CELLS = [
    "", "0", "-0", "+0", "00", "007", "7", "-7", "+7", " 7", "7 ", "1e3", "1E3", "1.", ".5", "-.5", "1.5", "0x1F",
    "1_0", "1,0", "300", "301", "-5", "-6", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "-9223372036854775809", "999999999999999999", "1e308", "1e309", "-1e309", "1e-400", "4.9e-324", "0.1", "1e10",
    "10000000001", "1e99", "1e100", "inf", "nan", "NaN", "Infinity", "-inf", "1.7976931348623157e308", "12.50",
    "12.500", "12.505", "-1.00", "-1.01", "-1.005", "99.99", "99.995", "100", "9999", "9999.99", "10000", "0.00",
    "-0.00", "0.001", ".001", "1e2", "1E-2", "1" * 19, "1" * 38, "1" * 39, "0." + "1" * 19, "0." + "1" * 38,
    "0." + "1" * 39, "1" * 20 + "." + "1" * 19, "true", "false", "True", "TRUE", "1", "yes", "null",
    "2026-01-31T12:00:00Z", "2026-01-31T11:59:59.999999Z", "2026-01-31t12:00:00z", "2026-01-31 12:00Z",
    "2026-01-31T12:00", "2026-01-31T12:00:00", "2026-01-31T12:00:00.1234567Z", "2026-01-31T12:00:00.123456Z",
    "2026-01-31T12:00:00.1+01:00", "2026-01-31T12:00:00+0100", "2026-01-31T12:00:00+01", "2026-01-31T12:00:60Z",
    "2026-01-31T24:00:00Z", "2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "2026-02-30T00:00:00Z",
    "2026-06-30T10:00:00Z", "2026-06-30T10:00:00.000001Z", "2026-01-31T12Z", "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-01:00", "1000-01-01T00:00:00Z",
    "0000-01-01T00:00:00Z", "2026-03-29T02:30:00", "2026-10-25T02:30:00", "2026-10-25T02:30:00+01:00",
    "2026-10-25T03:00:00", "2026-03-29T01:59:59.999999", "2026-03-29T03:00:00", "2040-07-01T12:00:00",
    "1890-01-01T00:00:00", "2026-04-05T01:45:00", "2026-10-04T02:15:00", "2026-10-04T02:30:00",
    "9999-12-31T23:59:59", "0001-01-01T00:00:00", "2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00+23:59",
    "2026-01-31T12:00:00-00:00", "1769860800", "2026-01-31", "2026-1-31", "2026-02-29", "2026-03-01", "2026-03-02",
    "2026-01-30", "0001-01-01", "9999-12-31", "0000-01-01", "10000-01-01", "20260131",
    "0192f0c2-7d3a-7000-8000-0123456789ab", "0192F0C2-7D3A-7000-8000-0123456789AB",
    "0192f0c27d3a700080000123456789ab", "{0192f0c2-7d3a-7000-8000-0123456789ab}",
    "0192f0c2-7d3a-7000-8000-0123456789ag", "0192f0c2-7d3a-7000-80000-123456789ab",
    "0192f0c2_7d3a_7000_8000_0123456789ab", "é192f0c2-7d3a-7000-8000-0123456789a", "abcd", "abcde", "éééé", "éééée",
    "😀😀😀😀", "a\0b", "\0", "{}", '{"a":1}', "[1,2]", "[1]", "[1,2", "[1,null]", '"text"', "[1e39,0]",
    "[3.4028235e38,0]", "NaN", '"\\ud800"', "1e400", "[" * 33 + "]" * 33, "iVBORw0KGgo=", "iVBORw0KGgoAAAAA",
    "R0lGODlh", "aGVsbG8=", "iVBORw0KGgp=", "iVBORw0KGgo", "٣", "1\n", "\n1", "2026-01-31\n", "true\n", "a,b",
    'a"b', "a\rb", "a\r\nb", "-", "--1", "1-1", "e", "1e", "1e+", "1e+2", "1e-2", "1E05", "٢٠٢٦-01-31",
]  # fmt: skip

cells = st.sampled_from(CELLS) | st.text(max_size=6) | st.from_regex(r"-?[0-9]{1,22}(\.[0-9]{0,5})?", fullmatch=True)


def quoted(cell: str | None) -> str:
    if cell is None:
        return ""
    return '"' + cell.replace('"', '""') + '"'


class TestCells:
    @pytest.mark.parametrize("kind", FIELDS)
    @pytest.mark.parametrize("required", [False, True])
    def test_every_cell_near_a_limit_is_judged_as_by_itself(self, kind: str, required: bool) -> None:
        contract = contract_of(kind, required)
        lines = [f"{n},{quoted(cell)}" for n, cell in enumerate([None, *CELLS])]
        body = "\n".join(["n,x", *lines]).encode()
        rows = assert_same(read_csv, body, contract)
        # The block as a whole holds a NUL and a lone carriage return, which single rows do not.
        alone = [pair[1]["x"] for line in lines for pair in assert_same(read_csv, f"n,x\n{line}\n".encode(), contract)]
        assert [row["x"] for _, row in rows] == alone
        assert rows, "no cell at all is valid"

    @given(data=st.data(), kind=st.sampled_from(sorted(FIELDS)))
    def test_columns_of_any_cells_are_judged_as_their_rows_are(self, data: st.DataObject, kind: str) -> None:
        texts = data.draw(st.lists(st.none() | cells, min_size=1, max_size=12))
        lines = [f"{n},{quoted(cell)}" for n, cell in enumerate(texts)]
        assert_same(read_csv, "\n".join(["n,x", *lines]).encode("utf-8", "replace"), contract_of(kind))

    @given(body=st.binary(max_size=60) | st.text('",\n\r a1é\0', max_size=40).map(str.encode))
    @example(b'1,"a"\n2,"a""b"\n3,""\n4,\n')
    @example(b'1,"a\nb"\r\n\r\n\n2,"\r\n"\r\n')
    @example(b'1,a"b\n2,"c\n')
    @example(b'1,""""\n2,"""a"""\n')
    @example(b'1,"a"b\n')
    @example(b"1,a\r\r\n2,b")
    @example(b"1,a\r2,b\n")
    def test_any_bytes_are_split_into_the_rows_that_the_reader_of_rows_sees(self, body: bytes) -> None:
        fields = [{"name": "a", "type": "text"}, {"name": "b", "type": "text"}]
        contract = parse_contract({"name": "two", "fields": fields})
        found = []
        for by_row in (False, True):
            with pytest.MonkeyPatch.context() as patch:
                if by_row:
                    patch.setattr("gristmill.records.readers.csv_blocks._parse", lambda *_: None)
                try:
                    found.append(read(read_csv, b"a,b\n" + body, contract, False))
                except Invalid as error:
                    found.append((type(error), error.violations))  # type: ignore[arg-type]
        assert found[0] == found[1]

    @given(rows=st.lists(st.text('ab",\n\r é', max_size=8), min_size=1, max_size=30), block=st.integers(1, 50))
    def test_blocks_are_cut_between_rows_whatever_their_size(self, rows: list[str], block: int) -> None:
        contract = parse_contract({"name": "one", "fields": [{"name": "a", "type": "text", "max_length": 6}]})
        body = "\n".join(["a", *(quoted(text) for text in rows)]).encode()
        whole = read(read_csv, body, contract, False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gristmill.records.readers.csv_blocks.BLOCK_BYTES", block)
            assert read(read_csv, body, contract, False) == whole
        assert len(whole[0]) + len(whole[1]) == len(rows)


def stream(column: pa.Array) -> bytes:
    table = pa.table({"n": pa.array(range(len(column))), "x": column})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def timestamps(unit: str, tz: str | None) -> Any:
    low, high = np.datetime64("0001-01-01", unit), np.datetime64("9999-12-31", unit)
    bounds = (-(2**63) + 1, 2**63 - 1) if unit == "ns" else (int(low.astype(int)) - 5, int(high.astype(int)) + 5)
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    changes = [1_774_749_600, 1_792_893_600, 1_790_985_600 + 9000]
    near = [(second + shift) * per_second for second in changes for shift in (0, 1800, 3599, 3600, 5400, 7200)]
    numbers = (
        st.integers(*bounds)
        | st.sampled_from([*near, *bounds, 0, -1, 1, 1000, 999])
        | st.integers(0, 2 * 10**9).map(lambda n: n * per_second)
    )
    return st.lists(st.none() | numbers, max_size=8).map(lambda v: pa.array(v, pa.int64()).cast(pa.timestamp(unit, tz)))


def integers(kind: pa.DataType) -> Any:
    low, high = (
        (0, 2**kind.bit_width - 1)
        if str(kind).startswith("u")
        else (-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1)
    )
    return arrays(st.integers(low, high) | st.sampled_from([low, high, 0, 1, 100]), kind)


def arrays(values: Any, kind: pa.DataType) -> Any:
    return st.lists(st.none() | values, max_size=8).map(lambda found: pa.array(found, kind))


def decimals(kind: pa.DataType) -> Any:
    digits = 10 ** min(kind.precision, 76) - 1
    near = [0, 5, 100, 12345, 10**kind.scale, 99 * 10**kind.scale, -(10**kind.scale)]
    numbers = (
        st.integers(-digits, digits) | st.sampled_from([n for n in near if abs(n) <= digits]) | st.integers(-999, 999)
    )
    return arrays(numbers.map(lambda n: Decimal(n).scaleb(-kind.scale, _WIDE)), kind)


PNG = b"\x89PNG\r\n\x1a\n"
_WIDE = Context(prec=100)
_INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
_TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
_texts = st.sampled_from(CELLS) | st.text(max_size=6)
_float32 = st.floats(width=32) | st.sampled_from([1e-18, 1e18, 3.4e38, 0.0, -0.0, 1e-30])
_numbers = st.floats() | st.sampled_from(
    [3.4028235e38, 3.4028234663852886e38, 3.4028234663852889e38, 1e-46, 16777217.0]
)
COLUMNS: dict[str, list[Any]] = {
    "text": [arrays(_texts, kind) for kind in _TEXTS],
    "integer": [integers(kind) for kind in _INTEGERS],
    "small integer": [integers(kind) for kind in _INTEGERS],
    "float": [
        arrays(st.floats(), pa.float64()), arrays(st.floats(width=32), pa.float32()),
        arrays(st.floats(width=16), pa.float16()), *(integers(kind) for kind in _INTEGERS),
    ],
    "small float": [arrays(st.floats(), pa.float64()), integers(pa.int64()), arrays(st.floats(-2, 2), pa.float64())],
    "decimal": [
        *(decimals(pa.decimal128(p, s)) for p, s in ((38, 0), (38, 38), (38, 10), (12, 2), (20, 9))),
        decimals(pa.decimal256(76, 38)), decimals(pa.decimal256(50, 0)), integers(pa.int64()), integers(pa.uint64()),
        arrays(_texts, pa.string()),
    ],
    "boolean": [arrays(st.booleans(), pa.bool_())],
    "timestamp": [
        *(timestamps(unit, "UTC") for unit in ("s", "ms", "us", "ns")),
        timestamps("us", "Asia/Tokyo"), arrays(_texts, pa.string()),
    ],
    "local timestamp": [
        *(timestamps(unit, tz) for unit in ("s", "ms", "us", "ns") for tz in (None, "UTC")),
        arrays(_texts, pa.string()),
    ],
    "date": [
        arrays(st.dates(), pa.date32()), arrays(st.dates(), pa.date64()),
        arrays(st.integers(-(2**31), 2**31 - 1), pa.int32()).map(lambda a: a.view(pa.date32())),
        arrays(st.integers(-(10**7), 10**7), pa.int64()).map(lambda a: pc.multiply(a, 86_400_000).view(pa.date64())),
        arrays(_texts, pa.string()),
    ],
    "uuid": [arrays(st.binary(min_size=16, max_size=16), pa.binary(16)), arrays(_texts, pa.large_string())],
    "json": [arrays(_texts, kind) for kind in _TEXTS],
    "vector": [
        *(
            arrays(st.lists(st.none() | _float32, min_size=low, max_size=3 - (low > 1)), kind(pa.float32()))
            for low, kind in ((0, pa.list_), (1, pa.large_list), (2, lambda inner: pa.list_(inner, 2)))
        ),
        arrays(st.lists(st.none() | _numbers, min_size=2, max_size=2), pa.list_(pa.float64())),
        arrays(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=2), pa.list_(pa.int64())),
    ],
    "image": [
        arrays(st.sampled_from([PNG, b"\xff\xd8\xff", b"RIFF1234WEBPxx", b"RIFF1234", b"", PNG * 9]), kind)
        for kind in (pa.binary(), pa.large_binary(), pa.binary_view())
    ] + [arrays(_texts, pa.string())],
}  # fmt: skip
for _same, _other in (
    ("money", "decimal"), ("whole", "decimal"), ("fraction", "decimal"), ("price", "decimal"),
    ("late timestamp", "timestamp"), ("far timestamp", "local timestamp"), ("late date", "date"),
):  # fmt: skip
    COLUMNS[_same] = COLUMNS[_other]


class TestColumns:
    @pytest.mark.parametrize("kind", sorted(FIELDS))
    @settings(max_examples=30)
    @given(data=st.data())
    def test_arrow_columns_are_judged_as_their_rows_are(self, kind: str, data: st.DataObject) -> None:
        column = data.draw(st.sampled_from(COLUMNS[kind]).flatmap(lambda strategy: strategy))
        start = data.draw(st.integers(0, 3))
        contract = contract_of(kind, data.draw(st.booleans()))
        if check_schema(validator_of(contract), pa.schema({"n": pa.int64(), "x": column.type})):
            raise AssertionError(f"{column.type} is not accepted for {kind}")
        assert_same(read_arrow, stream(column.slice(start)), contract)

    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    @pytest.mark.parametrize("storage", ["vector", "halfvec"])
    @settings(max_examples=30)
    @given(column=st.sampled_from(COLUMNS["vector"]).flatmap(lambda strategy: strategy))
    def test_embeddings_are_judged_as_their_rows_are(self, metric: str, storage: str, column: pa.Array) -> None:
        contract = parse_contract(
            {
                "name": "e",
                "fields": [{"name": "n", "type": "integer"}],
                "embedding": {"dimensions": 2, "metric": metric, "storage": storage},
            }
        )
        body = stream(column)
        table = pa.ipc.open_stream(body).read_all().rename_columns(["n", "_embedding"])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        assert_same(read_arrow, sink.getvalue().to_pybytes(), contract)

    def test_plain_good_columns_never_take_the_slow_way(self) -> None:
        good = {
            "text": pa.array(["a", None]),
            "integer": pa.array([1, None]),
            "float": pa.array([0.5, None]),
            "money": pa.array([Decimal("1.50"), None]),
            "price": pa.array([Decimal("1.50"), None]),
            "boolean": pa.array([True, None]),
            "timestamp": pa.array([dt.datetime(2026, 1, 1), None], pa.timestamp("ms", "UTC")),
            "local timestamp": pa.array([dt.datetime(2026, 1, 1), None], pa.timestamp("ns")),
            "late date": pa.array([dt.date(2026, 2, 1), None]),
            "uuid": pa.array([b"0123456789abcdef", None], pa.binary(16)),
            "json": pa.array(['{"a":[1.5]}', None]),
            "vector": pa.array([[1.0, 2.0], None]),
            "image": pa.array([b"\x89PNG\r\n\x1a\n", None]),
        }
        for kind, column in good.items():
            columns, bad = check_columns(validator_of(contract_of(kind)), pa.table({"x": column}))
            assert (kind, bad.tolist()) == (kind, [False, False])
            assert columns.column("x").null_count == 1
