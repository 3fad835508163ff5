"""Columns of pandas as the client sends them: each arrives as it is, or is refused with column, row and value."""

import datetime as dt
import io
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.frames import column, refused, sent

from gristmill.client import _frames, _pandas_columns, _pandas_objects
from gristmill.client._frames import write_frame

UTC = dt.UTC
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_frames, _pandas_columns, _pandas_objects):
        monkeypatch.setattr(module, "BATCH_ROWS", 3)


class TestColumnsOfPandas:
    @pytest.mark.parametrize(
        ("values", "kind"),
        [
            (pd.array([2**53 + 1, None], "Int64"), pa.int64()),
            (pd.array([2**63 - 1, -(2**63)], "int64"), pa.int64()),
            (pd.array([2**64 - 1, 0], "uint64"), pa.uint64()),
            (pd.array([True, None], "boolean"), pa.bool_()),
            (pd.array([0.5, None], "Float32"), pa.float32()),
            (pd.array(["x", None, ""], "string"), pa.large_string()),
            (pd.array(["NA", None, "nan"], "str"), pa.large_string()),
            (pd.array([1, 2], "int8"), pa.int8()),
            (np.array([1.5, 2**-14], np.float16), pa.float16()),
            (np.array([True, False]), pa.bool_()),
        ],
    )
    def test_numbers_and_texts_keep_type_and_value(self, values: Any, kind: pa.DataType) -> None:
        table = sent(pd.DataFrame({"a": values}))
        assert table.schema.field("a").type == kind
        assert table.column("a").to_pylist() == [None if pd.isna(one) else one for one in values]

    @pytest.mark.parametrize(
        "values",
        [
            np.array([1.5, np.nan]), np.array([1.5, np.nan], np.float16), pd.array([1.5, None], "Float64"),
            pd.array(["x", None], "str"), pd.array(["x", pd.NA], "string"),
            pd.to_datetime(["2026-01-31T12:00Z", None]), pd.to_timedelta(["1 day", None]),
            pd.Categorical(["x", None]), pd.array([1, None], "Int64"),
            pd.arrays.ArrowExtensionArray(pa.array([1.5, float("nan")])),
            pd.arrays.ArrowExtensionArray(pa.chunked_array([[1.5], [None]])),
            *(np.array([one, gone], object) for one in ("x", 1, 1.5, Decimal("1.5"), True, NOON, NOON.date(), {"a": 1})
              for gone in (None, np.nan, pd.NA, pd.NaT)),
        ],
    )  # fmt: skip
    def test_whatever_is_missing_there_is_null(self, values: Any) -> None:
        table = sent(pd.DataFrame({"a": values}))
        assert table.column("a").is_valid().to_pylist() == [True, False]

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    @pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "+05:45"])
    def test_times_keep_unit_zone_and_digits(self, unit: str, zone: str | None) -> None:
        numbers = [1_769_860_800_123_456_789 // 10 ** {"s": 9, "ms": 6, "us": 3, "ns": 0}[unit], -1, 0]
        values = pd.Series(np.array(numbers, f"datetime64[{unit}]")).dt.tz_localize("UTC")
        table = sent(pd.DataFrame({"a": values.dt.tz_convert(zone) if zone else values.dt.tz_localize(None)}))
        assert table.schema.field("a").type == pa.timestamp(unit, zone)
        assert table.column("a").cast(pa.int64()).to_pylist() == numbers

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_durations_keep_unit_and_digits(self, unit: str) -> None:
        table = sent(pd.DataFrame({"a": np.array([1, -1, 10**9 + 1], f"timedelta64[{unit}]")}))
        assert table.schema.field("a").type == pa.duration(unit)
        assert table.column("a").cast(pa.int64()).to_pylist() == [1, -1, 10**9 + 1]

    def test_categories_are_a_dictionary_that_is_written_once(self) -> None:
        words = [f"{'x' * 200}{number}" for number in range(1000)]
        frame = pd.DataFrame({"a": pd.Categorical([words[row % 1000] for row in range(200_000)], categories=words)})
        file = io.BytesIO()
        write_frame(frame, file)
        assert file.tell() < 2 * 200_000 + 2 * 200 * 1000
        assert sent(frame).column("a").to_pylist() == list(frame["a"])

    @pytest.mark.parametrize("values", [[3, None, 1], [1.5, None], [NOON, None], ["a", None, "b"], [True, None]])
    def test_categories_of_any_type(self, values: list[Any]) -> None:
        assert sent(pd.DataFrame({"a": pd.Categorical(values)})).column("a").to_pylist() == values

    def test_columns_that_are_arrows_own_keep_their_type(self) -> None:
        kinds = {
            "d": pa.array([Decimal("1.50"), None], pa.decimal128(5, 2)), "l": pa.array([[1, None], None]),
            "s": pa.array([{"x": "a"}, None]), "v": pa.array(["x", None], pa.string_view()),
            "c": pa.array(["x", None]).dictionary_encode(), "n": pa.array([2**63 - 1, None]),
            "f": pa.array([[1, 2], None], pa.list_(pa.float32(), 2)), "b": pa.array([b"x", None], pa.binary_view()),
        }  # fmt: skip
        frame = pd.DataFrame({name: pd.Series(pd.arrays.ArrowExtensionArray(one)) for name, one in kinds.items()})
        table = sent(frame)
        for name, one in kinds.items():
            assert table.column(name).to_pylist() == one.to_pylist()
            assert table.schema.field(name).type == {"v": pa.large_string(), "b": pa.large_binary()}.get(name, one.type)

    @pytest.mark.parametrize(
        "values",
        [pd.period_range("2026", periods=2), pd.interval_range(0, 2), pd.arrays.SparseArray([0, 1]), np.array([1j, 0])],
    )
    def test_types_that_no_field_has_are_refused_by_name(self, values: Any) -> None:
        frame = pd.DataFrame({"a": values})
        assert refused(frame).startswith(f"the column 'a' has the type {frame['a'].dtype}, which no field can hold")


class TestObjects:
    @pytest.mark.parametrize(
        ("values", "kind", "found"),
        [
            ([1, None, 2**63 - 1], pa.int64(), [1, None, 2**63 - 1]),
            ([1, 2.5], pa.float64(), [1.0, 2.5]),
            ([np.int8(1), 2], pa.int64(), [1, 2]),
            ([Decimal("1.50"), 3, None], pa.large_string(), ["1.50", "3", None]),
            ([Decimal("1E+5"), Decimal("-0.00")], pa.large_string(), ["1E+5", "-0.00"]),
            ([uuid.UUID(int=1)], pa.large_string(), ["00000000-0000-0000-0000-000000000001"]),
            ([b"a", bytearray(b"b"), memoryview(b"c")], pa.large_binary(), [b"a", b"b", b"c"]),
            ([dt.date(1, 1, 1), dt.date(9999, 12, 31)], pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
            ([NOON, NOON.astimezone(dt.timezone(dt.timedelta(hours=2)))], pa.timestamp("us", "UTC"), [NOON, NOON]),
            ([dt.datetime(1, 1, 1), None], pa.timestamp("us"), [dt.datetime(1, 1, 1), None]),
            ([dt.timedelta(days=-1), None], pa.duration("us"), [dt.timedelta(days=-1), None]),
            ([{"a": 1}, {"b": None}, None, [1, "x"]], None, ['{"a":1}', '{"b":null}', None, '[1,"x"]']),
            ([[1, 2], None, []], pa.list_(pa.int64()), [[1, 2], None, []]),
            ([np.array([1, 2], np.float32), None], pa.list_(pa.float32()), [[1, 2], None]),
            ([(0.5, None), [1]], pa.list_(pa.float64()), [[0.5, None], [1.0]]),
            ([[1], ["x"]], None, ["[1]", '["x"]']),
            ([[2**64], [1]], None, ["[18446744073709551616]", "[1]"]),
            ([[[1]], [[2]]], None, ["[[1]]", "[[2]]"]),
            ([None, np.nan, pd.NaT], pa.null(), [None, None, None]),
        ],
    )
    def test_each_has_the_type_of_its_values(self, values: list[Any], kind: pa.DataType | None, found: Any) -> None:
        table = sent(column(*values))
        assert table.schema.field("a").type == (kind or pa.json_(pa.large_string()))
        assert table.column("a").to_pylist() == found

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ([None, 1, "x"], "mixes types: row 1 has 1 (int), row 2 has 'x' (str)"),
            (["x", b"y"], "mixes types: row 0 has 'x' (str), row 1 has b'y' (bytes)"),
            ([True, 5], "mixes types: row 0 has True (bool), row 1 has 5 (int)"),
            ([Decimal(1), 0.5], "mixes types: row 0 has Decimal('1') (Decimal), row 1 has 0.5 (float)"),
            ([{"a": 1}, "x"], "mixes types: row 0 has {'a': 1} (dict), row 1 has 'x' (str)"),
            ([NOON, NOON.date()], "(datetime), row 1 has datetime.date(2026, 1, 31) (date)"),
            ([NOON.replace(tzinfo=None), None, NOON], "mixes times with and without a zone: row 2 has"),
            ([2**53 + 1, 0.5], "has 9007199254740993 (int) in row 0, which cannot be sent as double"),
            (
                [1, 2**64],
                "has 18446744073709551616 (int) in row 1, which cannot be sent as int64: it is beyond 64 bits",
            ),
            ([None, object], "(type) in row 1, which no field can hold"),
            ([dt.time(1)], "has datetime.time(1, 0) (time) in row 0, which no field can hold"),
            ([None, {"a": float("nan")}], "has {'a': nan} (dict) in row 1, which cannot be sent as JSON"),
            ([{"a": {1, 2}}], "in row 0, which cannot be sent as JSON: cannot be written as JSON: a value of type set"),
            (["x", "\ud800"], "has '\\ud800' (str) in row 1, which cannot be sent as large_string"),
            ([Decimal("sNaN")], "has a signalling NaN"),
            ([pd.Timestamp("2026-01-01T00:00:00.000000001Z"), dt.datetime(9999, 1, 1, tzinfo=UTC)], "in row 1"),
        ],
    )
    def test_what_has_no_one_type_is_named_with_its_row(self, values: list[Any], said: str) -> None:
        message = refused(column(*values))
        assert message.startswith("the column 'a' ")
        assert said in message

    def test_categories_of_mixed_types_are_named_by_their_rows(self) -> None:
        frame = pd.DataFrame({"a": pd.Categorical([None, "x", 5])})
        assert "mixes types: row 1 has 'x' (str), row 2 has 5 (int)" in refused(frame)

    def test_nanoseconds_of_objects_are_not_cut(self) -> None:
        moment, length = pd.Timestamp("2026-01-01T00:00:00.000000001Z"), pd.Timedelta(1, "ns")
        frame = pd.DataFrame({"a": pd.Series([moment, NOON], dtype=object), "b": pd.Series([length] * 2, dtype=object)})
        table = sent(frame)
        assert table.schema.types == [pa.timestamp("ns", "UTC"), pa.duration("ns")]
        assert table.column("a")[0].value % 1000 == 1
        assert table.column("b")[0].value == 1

    @pytest.mark.usefixtures("_small_batches")
    @settings(max_examples=100)
    @given(data=st.data())
    def test_one_family_is_sent_as_it_is_and_two_are_refused_however_the_rows_are_cut(
        self, data: st.DataObject
    ) -> None:
        families: list[Any] = [
            st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(st.characters(exclude_categories=["Cs"])),
            st.binary(), st.dates(), st.datetimes(timezones=st.just(UTC)), st.timedeltas(
                dt.timedelta(days=-(10**8)), dt.timedelta(days=10**8)),
        ]  # fmt: skip
        missing = st.sampled_from([None, np.nan, pd.NaT, pd.NA])
        one, other = data.draw(st.permutations(families))[:2]
        values = data.draw(st.lists(missing | one, max_size=12))
        table = sent(column(*values))
        assert table.column("a").to_pylist() == [None if pd.isna(value) else value for value in values]
        stranger = data.draw(other)
        place = data.draw(st.integers(0, len(values)))
        mixed = [*values[:place], stranger, *values[place:]]
        present = [(row, value) for row, value in enumerate(mixed) if not pd.isna(value)]
        if len(present) > 1:
            first = present[0]
            second = next(pair for pair in present[1:] if type(pair[1]) is not type(first[1]))
            message = refused(column(*mixed))
            for row, value in (first, second):
                assert f"row {row} has " in message
                assert f"({type(value).__name__})" in message
