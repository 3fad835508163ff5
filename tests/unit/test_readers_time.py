"""Times in columns of every unit: stored exactly or refused with the value that was sent, never one that wrapped."""

import datetime as dt
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.columnar import as_parquet, as_stream, read, refusal

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.parquet import read_parquet

pytestmark = [pytest.mark.promise(9), pytest.mark.promise(4)]

JULIAN_EPOCH = 2_440_588
DAY_NS = 86_400 * 10**9
FIRST, LAST = dt.date.min.toordinal() - 719_163, dt.date.max.toordinal() - 719_163


def contract(kind: str, **limits: Any) -> Any:
    return parse_contract({"name": "t", "fields": [{"name": "at", "type": kind, **limits}]})


def int96(values: list[tuple[int, int]]) -> bytes:
    """Return a Parquet body whose column ``at`` has these (days since 1970, nanoseconds of the day)."""
    # Any that can be written; each is found again in the plain page, and replaced.
    marks = [dt.datetime(2000, 1, 1) + dt.timedelta(days=number, microseconds=7) for number in range(len(values))]
    table = pa.table({"at": pa.array(marks, pa.timestamp("us"))})
    body = as_parquet(
        table, use_deprecated_int96_timestamps=True, use_dictionary=False, compression="none", write_statistics=False
    )
    for mark, (days, nanoseconds) in zip(marks, values, strict=True):
        written = struct.pack("<qi", 7000, (mark.date() - dt.date(1970, 1, 1)).days + JULIAN_EPOCH)
        assert body.count(written) == 1
        body = body.replace(written, struct.pack("<QI", nanoseconds, days + JULIAN_EPOCH))
    return body


def stored(reader: Any, body: bytes, kind: Any) -> list[dt.datetime]:
    return [value for batch in read(reader, body, kind) for value in batch.table.column("at").to_pylist()]


def moment(days: int, nanoseconds: int) -> str:
    """Return the value as people write it, with nine digits."""
    seconds, fraction = divmod(days * DAY_NS + nanoseconds, 10**9)
    return f"{np.datetime64(seconds, 's')}.{fraction:09d}"


DAYS = st.one_of(
    st.integers(FIRST, LAST),
    st.sampled_from([FIRST, FIRST - 1, LAST, LAST + 1, 106_751, 106_752, -106_752, -106_753]),
    # A Julian day is unsigned. pyarrow reads day 0, of the year -4713, as 1970: nobody can tell these apart.
    st.integers(1 - JULIAN_EPOCH, 2**32 - 1 - JULIAN_EPOCH),
)
NANOSECONDS = st.one_of(st.integers(0, DAY_NS - 1), st.sampled_from([0, 1, 616, 999, 1000, DAY_NS - 1, DAY_NS - 1000]))


class TestInt96:
    @given(values=st.lists(st.tuples(DAYS, NANOSECONDS), min_size=1, max_size=6))
    def test_each_value_is_stored_exactly_or_refused_with_its_own_digits(self, values: list[tuple[int, int]]) -> None:
        kind = contract("timestamp", zone="UTC")
        bad = [place for place, (days, ns) in enumerate(values) if not FIRST <= days <= LAST or ns % 1000]
        if not bad:
            epoch = dt.datetime(1970, 1, 1)
            wanted = [epoch + dt.timedelta(days=days, microseconds=ns // 1000) for days, ns in values]
            found = stored(read_parquet, int96(values), kind)
            assert [one.replace(tzinfo=None) for one in found] == wanted
            return
        error = refusal(read_parquet, int96(values), kind)
        assert [one.record for one in error.violations] == bad
        for violation in error.violations:
            written = moment(*values[violation.record or 0])
            shown = {written, written.removesuffix("000"), written.removesuffix(".000000000")}
            assert any(f'"{text}"' in violation.reason for text in shown), (violation.reason, written)

    def test_into_a_field_without_a_zone_it_says_that_one_is_needed(self) -> None:
        error = refusal(read_parquet, int96([(0, 0)]), contract("timestamp"))
        assert "zone" in error.violations[0].reason

    def test_the_wrap_that_looked_like_a_valid_time(self) -> None:
        """2300-01-01 with nanoseconds that end in 616 was stored as 1715-06-13."""
        error = refusal(read_parquet, int96([(120_530, 616)]), contract("timestamp", zone="UTC"))
        assert "2300-01-01T00:00:00.000000616" in error.violations[0].reason

    def test_the_end_of_the_calendar_is_stored(self) -> None:
        (found,) = stored(read_parquet, int96([(LAST, DAY_NS - 10**9)]), contract("timestamp", zone="UTC"))
        assert found.replace(tzinfo=None) == dt.datetime(9999, 12, 31, 23, 59, 59)

    def test_nulls_and_several_row_groups(self) -> None:
        moments = [None if n % 3 == 0 else dt.datetime(1 + n * 10, 1, 1, 0, 0, n % 60) for n in range(900)]
        table = pa.table({"at": pa.array(moments, pa.timestamp("us"))})
        body = as_parquet(table, use_deprecated_int96_timestamps=True, row_group_size=70)
        found = stored(read_parquet, body, contract("timestamp", zone="UTC"))
        assert [one and one.replace(tzinfo=None) for one in found] == moments


UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class TestUnits:
    @pytest.mark.parametrize("reader", [read_arrow, read_parquet])
    @pytest.mark.parametrize("unit", UNITS)
    @given(value=st.integers(-(2**63), 2**63 - 1))
    def test_a_timestamp_of_any_unit(self, reader: Any, unit: str, value: int) -> None:
        table = pa.table({"at": pa.array([value], pa.int64()).cast(pa.timestamp(unit, "UTC"))})
        if reader is read_parquet and unit == "s":
            # Parquet has no seconds: what writes them makes milliseconds of them, or refuses to.
            value = max(-(2**53), min(value, 2**53))
            table = pa.table({"at": pa.array([value], pa.int64()).cast(pa.timestamp(unit, "UTC"))})
        body = as_stream(table) if reader is read_arrow else as_parquet(table)
        per_second = UNITS[unit]
        seconds, rest = divmod(value, per_second)
        fits = FIRST * 86_400 <= seconds < (LAST + 1) * 86_400 and rest * 10**6 % per_second == 0
        if fits:
            (found,) = stored(reader, body, contract("timestamp"))
            since = found - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
            assert since == dt.timedelta(seconds=seconds, microseconds=rest * 10**6 // per_second)
        else:
            assert refusal(reader, body, contract("timestamp")).violations[0].record == 0

    @pytest.mark.parametrize("unit", UNITS)
    @given(value=st.integers(-(2**63), 2**63 - 1))
    def test_a_duration_of_any_unit(self, unit: str, value: int) -> None:
        body = as_stream(pa.table({"at": pa.array([value], pa.int64()).cast(pa.duration(unit))}))
        microseconds, rest = divmod(value * 10**6, UNITS[unit])
        try:
            (found,) = stored(read_arrow, body, contract("duration"))
        except Invalid:
            assert rest or not -(2**63) < microseconds < 2**63
            return
        assert rest == 0
        assert found in (microseconds, dt.timedelta(microseconds=0) + microseconds * dt.timedelta(microseconds=1))

    @pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
    @given(days=st.integers(-(2**31), 2**31 - 1), rest=st.sampled_from([0, 1, 86_399_999]))
    def test_a_date_of_either_width(self, kind: pa.DataType, days: int, rest: int) -> None:
        rest = rest if kind == pa.date64() else 0
        raw = pa.array([days], pa.int32()) if kind == pa.date32() else pa.array([days * 86_400_000 + rest], pa.int64())
        column = pa.Array.from_buffers(kind, 1, raw.buffers())
        body = as_stream(pa.table({"at": column}))
        if FIRST <= days <= LAST and rest == 0:
            assert stored(read_arrow, body, contract("date")) == [dt.date(1970, 1, 1) + dt.timedelta(days=days)]
        else:
            assert refusal(read_arrow, body, contract("date")).violations[0].record in (0, None if rest else 0)
