"""Comparisons: exact between integers and floats, texts by code points, and unknown where a side is null."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.transforms.expression.arithmetic import Operation

_FUNCTIONS: dict[str, Callable[..., pa.Array]] = {
    "==": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip
# The right side of these may be one value for all rows.
COMPARES_NUMBERS = list(_FUNCTIONS.values())
_NUMPY: dict[str, Callable[[Any, int], Any]] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip
_SWAPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_ORDERED = ("integer", "float", "decimal", "text", "timestamp", "date", "duration", "uuid")


def comparison(operator: str, left: str, right: str) -> Operation | None:
    """Return what compares values of two types, None where that has no meaning."""
    types = {left, right}
    if types == {"integer", "float"}:
        if left == "float":
            return lambda a, b: _mixed(_SWAPPED[operator], b, a)
        return lambda a, b: _mixed(operator, a, b)
    if types in ({"decimal"}, {"decimal", "integer"}):
        return lambda a, b: _decimals(operator, a, b)
    if left != right or (left not in _ORDERED and not (left == "boolean" and operator in ("==", "!="))):
        return None
    return _FUNCTIONS[operator]


def _mixed(operator: str, integers: pa.Array, floats: pa.Array) -> pa.Array:
    """Compare integers with floats as numbers: neither is rounded to the other's type."""
    valid = pc.and_(integers.is_valid(), floats.is_valid()).to_numpy(zero_copy_only=False)
    whole = integers.fill_null(0).to_numpy(zero_copy_only=False)
    numbers = floats.fill_null(0.0).to_numpy(zero_copy_only=False)
    floor = np.floor(numbers)
    inside = (floor >= -(2.0**63)) & (floor < 2.0**63)
    lower = np.where(inside, floor, 0.0).astype(np.int64)
    # -1, 0 or 1: the integer is smaller, equal, larger.
    order = np.where(whole < lower, -1, np.where(whole > lower, 1, np.where(numbers > floor, -1, 0)))
    order = np.where(inside, order, np.where(numbers > 0, -1, 1))
    return pa.array(_NUMPY[operator](order, 0), pa.bool_(), mask=~valid)


def _decimals(operator: str, a: pa.Array, b: pa.Array) -> pa.Array:
    """Compare decimals by value: 1.5 is 1.50."""
    left, right = ([None if value is None else Decimal(value) for value in array.to_pylist()] for array in (a, b))
    order = [
        None if one is None or other is None else (one > other) - (one < other)
        for one, other in zip(left, right, strict=True)
    ]
    return _FUNCTIONS[operator](pa.array(order, pa.int8()), pa.scalar(0, pa.int8()))
