"""Structs, lists and maps of Parquet and Arrow become the JSON that they stand for, and take no more than they may."""

import datetime as dt
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.columnar import MIB, WAYS, as_parquet, as_stream, both, peak, read, refusal
from tests.support.nested_columns import NESTED, NestedColumn
from tests.support.type_case import same_tree

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.types.nested import json_bytes
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.context import Reader
from gristmill.records.readers.limits import nested
from gristmill.records.readers.parquet import read_parquet
from gristmill.records.reject import Reject

CONTRACT = parse_contract({"name": "d", "fields": [{"name": "meta", "type": "json"}]})


def values(reader: Reader, body: bytes) -> list[Any]:
    texts = [text for batch in read(reader, body, CONTRACT) for text in batch.table["meta"].to_pylist()]
    return [None if text is None else json.loads(text) for text in texts]


def one(column: pa.Array) -> pa.Table:
    return pa.table({"meta": column})


class TestValues:
    @pytest.mark.promise(9)
    @settings(max_examples=200)
    @given(column=NESTED, start=st.integers(0, 2))
    def test_any_nested_column_reads_as_its_json(self, column: NestedColumn, start: int) -> None:
        array, shown = column.array.slice(start), column.shown[start:]
        assume(len(array))
        readers = [(read_arrow, as_stream(one(array), rows=2))]
        # pyarrow does not write these into row groups of Parquet yet.
        if not any(name in str(array.type) for name in ("halffloat", "string_view")):
            readers.append((read_parquet, as_parquet(one(array), row_group_size=2)))
        for reader, body in readers:
            found = values(reader, body)
            assert len(found) == len(shown)
            assert all(same_tree(value, got) for value, got in zip(shown, found, strict=True)), (shown, found)

    @both
    def test_frames_of_pandas_and_lists_of_structs(self, reader: Reader) -> None:
        rows = [
            {"tags": ["a", None], "at": [{"n": 2**60 + 1, "d": dt.date(2026, 1, 31)}]},
            None,
            {"tags": [], "at": None},
        ]
        assert values(reader, WAYS[reader](one(pa.array(rows)))) == [
            {"tags": ["a", None], "at": [{"n": 2**60 + 1, "d": "2026-01-31"}]},
            None,
            {"tags": [], "at": None},
        ]

    @both
    def test_nanoseconds_keep_their_digits(self, reader: Reader) -> None:
        column = pa.StructArray.from_arrays([pa.array([1], pa.int64()).cast(pa.timestamp("ns", "UTC"))], ["t"])
        assert values(reader, WAYS[reader](one(column))) == [{"t": "1970-01-01T00:00:00.000000001Z"}]

    @both
    @pytest.mark.parametrize(
        ("values_", "kind", "shown"),
        [
            ([-(2**63)], pa.timestamp("ns"), "1677-09-21T00:12:43.145224192"),
            ([2**63 - 1], pa.timestamp("ns", "Asia/Tokyo"), "2262-04-11T23:47:16.854775807Z"),
            ([-62_135_596_800], pa.timestamp("s", "America/New_York"), "0001-01-01T00:00:00Z"),
            ([253_402_300_799], pa.timestamp("s", "Asia/Tokyo"), "9999-12-31T23:59:59Z"),
            ([1500], pa.timestamp("ms"), "1970-01-01T00:00:01.500000"),
        ],
    )
    def test_moments_at_the_ends(self, reader: Reader, values_: list[int], kind: pa.DataType, shown: str) -> None:
        # Parquet has no seconds.
        unit = "ms" if kind.unit == "s" else kind.unit
        leaf = pa.array(values_, pa.int64()).cast(pa.timestamp(kind.unit)).cast(pa.timestamp(unit))
        column = pa.ListArray.from_arrays(
            pa.array([0, 1], pa.int32()), leaf.cast(pa.int64()).cast(pa.timestamp(unit, kind.tz))
        )
        assert values(reader, WAYS[reader](one(column))) == [[shown]]

    @pytest.mark.parametrize(
        "kind", [pa.list_(pa.int64()), pa.map_(pa.string(), pa.int64()), pa.large_list(pa.string())]
    )
    def test_an_inner_list_without_any_values_needs_no_offsets(self, kind: pa.DataType) -> None:
        column = pa.array([[], None], pa.list_(kind))
        assert values(read_arrow, as_stream(one(column))) == [[], None]
        bare = pa.Array.from_buffers(kind, 0, [None, None], children=[pa.array([], kind.field(0).type)])
        assert json_bytes(bare).tolist() == []

    @both
    def test_texts_stay_texts(self, reader: Reader) -> None:
        assert values(reader, WAYS[reader](one(pa.array([{"t": "[1]"}])))) == [{"t": "[1]"}]


TWICE = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])


class TestMistakes:
    @pytest.mark.parametrize(
        "column",
        [
            pa.array([{"b": b"x"}]),
            pa.array([[b"x"]]),
            pa.array([[("a", 1)]], pa.map_(pa.string(), pa.duration("s"))),
            pa.array([[(1, 1)]], pa.map_(pa.int64(), pa.int64())),
            pa.array([{"t": dt.time(1)}]),
            pa.array([[1]], pa.list_(pa.dictionary(pa.int32(), pa.int64()))),
            TWICE,
        ],
        ids=lambda column: str(column.type)[:30],
    )
    def test_what_json_has_no_form_for_is_refused_as_a_column(self, column: pa.Array) -> None:
        (violation,) = refusal(read_arrow, as_stream(one(column)), CONTRACT).violations
        assert (violation.code, violation.field) == ("wrong_type", "meta")
        assert "struct, list or map" in violation.reason

    def test_int96_inside_of_a_struct(self) -> None:
        table = one(pa.array([{"t": dt.datetime(2026, 1, 31)}]))
        body = as_parquet(table, use_deprecated_int96_timestamps=True)
        (violation,) = refusal(read_parquet, body, CONTRACT).violations
        assert (violation.code, violation.field) == ("wrong_type", "meta")
        assert "INT96" in violation.reason

    @both
    def test_a_value_that_python_cannot_show_is_shown_by_its_type(self, reader: Reader) -> None:
        late = pa.array([10**12], pa.int64()).cast(pa.timestamp("s", "UTC"))
        column = pa.StructArray.from_arrays([late, pa.nulls(1)], ["t", "n"])
        rejects: list[Reject] = []
        read(reader, WAYS[reader](one(column)) if reader is read_arrow else as_parquet(one(column)), CONTRACT, rejects)
        assert [reject.violations[0].code for reject in rejects] == ["not_json"]

    def test_a_stream_without_columns(self) -> None:
        batch = pa.RecordBatch.from_struct_array(pa.array([{}, {}, {}], pa.struct([])))
        (violation,) = refusal(read_arrow, as_stream(pa.Table.from_batches([batch])), CONTRACT).violations
        assert "no column" in violation.reason

    def test_levels_without_end_are_refused(self) -> None:
        kind = pa.int64()
        for _ in range(33):
            kind = pa.list_(kind)
        (violation,) = refusal(read_arrow, as_stream(one(pa.nulls(1, kind))), CONTRACT).violations
        assert violation.code == "wrong_type"

    @both
    @pytest.mark.parametrize(
        ("column", "code"),
        [
            (pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64())), "not_json"),
            (pa.array([[10**12]]).cast(pa.list_(pa.timestamp("s", "UTC"))), "not_json"),
            (pa.array([[1.5, float("nan")]]), "not_finite"),
            (pa.array([[float("inf"), 1.5]]), "not_finite"),
            (pa.array([{"t": "a\0b"}]), "nul"),
        ],
    )
    def test_a_record_that_does_not_fit_is_refused_alone(self, reader: Reader, column: pa.Array, code: str) -> None:
        table = pa.table({"meta": pa.concat_arrays([pa.nulls(2, column.type), column, pa.nulls(1, column.type)])})
        rejects: list[Reject] = []
        (batch,) = read(reader, WAYS[reader](table), CONTRACT, rejects)
        assert batch.table.num_rows == 3
        ((record, violations, raw),) = [(reject.record, reject.violations, reject.raw) for reject in rejects]
        assert (record, [v.code for v in violations], violations[0].pointer) == (2, [code], "/2/meta")
        assert json.loads(raw)["meta"]


@pytest.mark.promise(7)
class TestBounds:
    def test_a_list_of_nulls_that_take_no_bytes(self) -> None:
        most = 2**31 - 2
        column = pa.ListArray.from_arrays(pa.array([0, most], pa.int32()), pa.nulls(most))
        error = refusal(read_arrow, as_stream(one(column)), CONTRACT)
        assert (type(error), error.violations[0].code) == (Invalid, "batch_too_large")
        assert "8388608" in error.detail

    @both
    def test_one_record_of_very_many_values(self, reader: Reader) -> None:
        column = pa.ListArray.from_arrays(pa.array([0, 1, 7 * MIB], pa.int32()), pa.array(np.zeros(7 * MIB, np.int8)))
        error = refusal(reader, WAYS[reader](one(column)), CONTRACT)
        assert (error.violations[0].code, error.violations[0].record) == ("record_too_large", 1)

    def test_numbers_that_are_written_with_all_their_digits(self) -> None:
        column = pa.ListArray.from_arrays(pa.array([0, 300_000], pa.int32()), pa.array(np.full(300_000, 1e308)))
        error = refusal(read_arrow, as_stream(one(column), compression="zstd"), CONTRACT)
        assert error.violations[0].code == "record_too_large"

    def test_a_map_of_many_short_entries_is_no_large_record(self) -> None:
        pairs = [(f"{n:06}", n % 10) for n in range(400_000)]
        (found,) = values(read_arrow, as_stream(one(pa.array([pairs], pa.map_(pa.string(), pa.int64())))))
        assert len(found) == 400_000

    def test_views_of_one_long_text(self) -> None:
        text = pa.array(["x" * MIB], pa.string_view())
        views = text.buffers()[1].to_pybytes()[:16] * 4000
        items = pa.Array.from_buffers(pa.string_view(), 4000, [None, pa.py_buffer(views), *text.buffers()[2:]])
        column = pa.ListArray.from_arrays(pa.array([0, 4000], pa.int32()), items)
        error = refusal(read_arrow, as_stream(one(column)), CONTRACT)
        assert error.violations[0].code == "record_too_large"

    def test_views_of_one_long_text_in_many_records_are_read_piece_by_piece(self) -> None:
        text = pa.array(["x" * MIB], pa.string_view())
        views = text.buffers()[1].to_pybytes()[:16] * 400
        items = pa.Array.from_buffers(pa.string_view(), 400, [None, pa.py_buffer(views), *text.buffers()[2:]])
        body = as_stream(one(pa.ListArray.from_arrays(pa.array(range(401), pa.int32()), items)))
        assert len(body) < 2 * MIB
        assert peak(read_arrow, body, CONTRACT) < 80 * MIB

    @pytest.mark.parametrize("texts", [True, False])
    def test_a_small_page_that_stands_for_lists_of_any_length(self, texts: bool) -> None:
        items = pa.repeat("x" * 10_000, 40_000) if texts else pa.repeat(1.5, 40 * MIB)
        column = pa.LargeListArray.from_arrays(pa.array([0, len(items)], pa.int64()), items)
        body = as_parquet(one(column))
        del items, column
        assert len(body) < 2 * MIB
        before = pa.total_allocated_bytes()
        error = refusal(read_parquet, body, CONTRACT)
        assert (type(error), error.violations[0].code) == (Invalid, "row_group_too_large")
        assert "row_group_size=" in error.detail
        assert pa.total_allocated_bytes() < before + 8 * MIB

    @pytest.mark.parametrize("nulls", [0, 100])
    def test_a_long_text_in_the_dictionary_of_a_struct_is_written_out_piece_by_piece(self, nulls: int) -> None:
        texts = pa.DictionaryArray.from_arrays(
            pa.array([None] * nulls + [0] * 2000, pa.int32()), pa.array(["x" * (MIB // 2)])
        )
        body = as_parquet(one(pa.StructArray.from_arrays([texts], ["t"])))
        assert len(body) < 2 * MIB
        assert peak(read_parquet, body, CONTRACT, most=40) < 60 * MIB

    def test_lists_of_a_large_row_group_take_no_more_than_those_of_a_small_one(self) -> None:
        tags = [f"tag {n % 5000}" for n in range(300_000)]
        column = pa.ListArray.from_arrays(pa.array(range(0, 300_001, 3), pa.int32()), pa.array(tags))
        peaks = [
            peak(read_parquet, as_parquet(one(column), row_group_size=rows), CONTRACT) for rows in (100_000, 20_000)
        ]
        assert peaks[0] < 40 * MIB
        assert peaks[0] < peaks[1] + 4 * MIB

    def test_the_bound_of_lists_counts_what_a_group_has(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nested, "MAX_LIST_BYTES", MIB)
        column = pa.array([["some text"] * 10] * 10_000)
        error = refusal(read_parquet, as_parquet(one(column)), CONTRACT)
        advised = int(error.detail.split("row_group_size=")[1].rstrip(")"))
        assert values(read_parquet, as_parquet(one(column), row_group_size=advised)) == column.to_pylist()
