"""Strategies of Arrow columns, with nulls in them."""

from decimal import Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
UNITS = ("s", "ms", "us", "ns")
_WIDE = Context(prec=100)


def arrays(values: Any, kind: pa.DataType) -> Any:
    return st.lists(st.none() | values, max_size=8).map(lambda found: pa.array(found, kind))


def integers(kind: pa.DataType) -> Any:
    low, high = (
        (0, 2**kind.bit_width - 1)
        if str(kind).startswith("u")
        else (-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1)
    )
    return arrays(st.integers(low, high) | st.sampled_from([low, high, 0, 1, 100]), kind)


def decimals(kind: pa.DataType) -> Any:
    digits = 10 ** min(kind.precision, 76) - 1
    near = [0, 5, 100, 12345, 10**kind.scale, 99 * 10**kind.scale, -(10**kind.scale)]
    numbers = (
        st.integers(-digits, digits) | st.sampled_from([n for n in near if abs(n) <= digits]) | st.integers(-999, 999)
    )
    return arrays(numbers.map(lambda n: Decimal(n).scaleb(-kind.scale, _WIDE)), kind)


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
