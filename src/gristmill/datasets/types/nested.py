"""Columns of structs, lists and maps, for fields of type json."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.datasets.types.columns import is_number, is_text, text_bytes

# Kinds of values, and of what JSON has a text for.
_PLAIN: tuple[Callable[[pa.DataType], bool], ...] = (pa.types.is_null, pa.types.is_boolean, is_number)
_AS_TEXT = (pa.types.is_date, pa.types.is_timestamp, pa.types.is_decimal)
# Bytes that a null, a boolean or a number has in JSON at least, with the comma.
_LEAST = 2
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = dt.datetime(1970, 1, 1)


def fits_json(kind: pa.DataType, depth: int) -> bool:
    """Say whether a struct, list or map of at most ``depth`` levels holds nothing but what JSON has a form for."""
    if not depth:
        return False
    if pa.types.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        return len(set(names)) == len(names) and all(_fits(field.type, depth) for field in kind.fields)
    if pa.types.is_map(kind):
        return is_text(kind.key_type) and _fits(kind.item_type, depth)
    return _is_list(kind) and _fits(kind.value_type, depth)


def fits_member(kind: pa.DataType, depth: int) -> bool:
    """Say whether a value of any kind, of at most ``depth`` levels, is one that JSON has a form for."""
    return _fits(kind, depth + 1)


def count_values(array: pa.Array) -> int:
    """Return how many values an array has on all levels, without looking at them."""
    if pa.types.is_struct(array.type):
        inner = sum(count_values(array.field(index)) for index in range(array.type.num_fields))
    else:
        inner = count_values(_items(array)[1]) if pa.types.is_nested(array.type) else 0
    return len(array) + inner


def longest_list(array: pa.Array) -> int:
    """Return how many items the longest list or map on any level has."""
    if pa.types.is_struct(array.type):
        return max((longest_list(array.field(index)) for index in range(array.type.num_fields)), default=0)
    if not pa.types.is_nested(array.type):
        return 0
    offsets, items = _items(array)
    return max(int(np.diff(offsets).max(initial=0)), longest_list(items))


def json_bytes(array: pa.Array) -> npt.NDArray[np.float64]:
    """Return how many bytes of JSON each value has at least."""
    kind = array.type
    if pa.types.is_struct(kind):
        sizes = np.full(len(array), float(_LEAST))
        for field, values in zip(kind.fields, array.flatten(), strict=True):
            sizes += json_bytes(values) + len(field.name)
    elif pa.types.is_nested(kind):
        offsets, items = _items(array)
        inner = json_bytes(items.field(0)) + json_bytes(items.field(1)) if pa.types.is_map(kind) else json_bytes(items)
        ends = np.concatenate([[0.0], np.cumsum(inner)])
        sizes = ends[offsets[1:]] - ends[offsets[:-1]] + _LEAST
    elif _is_text(kind):
        sizes = text_bytes(array).fill_null(0).to_numpy(zero_copy_only=False) + float(_LEAST)
    elif pa.types.is_floating(kind):
        # Large ones are written with all their digits. Infinite ones are not written: they are refused by themselves.
        numbers = np.abs(array.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False))
        sizes = np.where((numbers >= 1e16) & np.isfinite(numbers), np.log10(np.maximum(numbers, 1.0)), float(_LEAST))
    else:
        sizes = np.full(len(array), float(_LEAST))
    if array.null_count:
        sizes[array.is_null().to_numpy(zero_copy_only=False)] = _LEAST
    return sizes


def json_value(scalar: pa.Scalar) -> Any:
    """Return a value that ``fits_member`` as JSON has it: moments and decimals are texts with all their digits.

    Moments with a time zone are in UTC. Raises ValueError for maps with a repeated key, and for what has no text.
    """
    try:
        return _walk(scalar) if _has_moments(scalar.type) else _plain(scalar.as_py(maps_as_pydicts="strict"))
    except (KeyError, ValueError, OverflowError, pa.ArrowException) as error:
        raise ValueError(f"a value in it cannot be written as JSON: {error}"[:300]) from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, dt.date) else value


def _walk(scalar: pa.Scalar) -> Any:
    """Do what ``_plain`` does from Arrow's own values: Python's moments end at a year, and have no nanoseconds."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_timestamp(kind):
        return _moment(scalar.value, _PER_SECOND[kind.unit], kind.tz is not None)
    if pa.types.is_struct(kind):
        return {field.name: _walk(scalar[index]) for index, field in enumerate(kind.fields)}
    if pa.types.is_map(kind):
        pairs = [(entry[0].as_py(), _walk(entry[1])) for entry in scalar.values]
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a map has a key twice")
        return found
    return [_walk(item) for item in scalar.values] if _is_list(kind) else _plain(scalar.as_py())


def _moment(value: int, per_second: int, zoned: bool) -> str:
    """Return the text of a moment, with six digits, or nine if it needs them, or none behind the point."""
    seconds, parts = divmod(value, per_second)
    nanoseconds = parts * (10**9 // per_second)
    text = (_EPOCH + dt.timedelta(seconds=seconds)).isoformat()
    if nanoseconds:
        text += f".{nanoseconds:09d}" if nanoseconds % 1000 else f".{nanoseconds // 1000:06d}"
    return text + "Z" if zoned else text


@cache
def _has_moments(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) or any(_has_moments(kind.field(index).type) for index in range(kind.num_fields))


def _fits(kind: pa.DataType, depth: int) -> bool:
    return _is_text(kind) or any(test(kind) for test in (*_PLAIN, *_AS_TEXT)) or fits_json(kind, depth - 1)


def _is_text(kind: pa.DataType) -> bool:
    return is_text(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _items(array: pa.Array) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Return the items of a list or map column and where those of each value begin, and the last end."""
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        return np.arange(len(array) + 1) * size, array.values.slice(array.offset * size, len(array) * size)
    if not len(array):
        # Its offsets may be missing altogether.
        return np.zeros(1, np.int64), array.values.slice(0, 0)
    offsets = array.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0], array.values.slice(offsets[0], offsets[-1] - offsets[0])
