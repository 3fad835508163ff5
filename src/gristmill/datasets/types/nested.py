"""Columns of structs, lists and maps, for fields of type json."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
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


def count_values(array: pa.Array) -> int:
    """Return how many values an array has on all levels, without looking at them."""
    if pa.types.is_struct(array.type):
        inner = sum(count_values(array.field(index)) for index in range(array.type.num_fields))
    else:
        inner = count_values(_items(array)[1]) if pa.types.is_nested(array.type) else 0
    return len(array) + inner


def json_bytes(array: pa.Array) -> npt.NDArray[np.float64]:
    """Return how many bytes of JSON each value has at least."""
    if pa.types.is_struct(array.type):
        sizes = np.full(len(array), float(_LEAST))
        for field, values in zip(array.type.fields, array.flatten(), strict=True):
            sizes += json_bytes(values) + len(field.name)
    elif pa.types.is_nested(array.type):
        offsets, items = _items(array)
        ends = np.concatenate([[0.0], np.cumsum(json_bytes(items))])
        sizes = ends[offsets[1:]] - ends[offsets[:-1]] + _LEAST
    elif _is_text(array.type):
        sizes = text_bytes(array).fill_null(0).to_numpy(zero_copy_only=False) + float(_LEAST)
    else:
        sizes = np.full(len(array), float(_LEAST))
    if array.null_count:
        sizes[array.is_null().to_numpy(zero_copy_only=False)] = _LEAST
    return sizes


def json_value(scalar: pa.Scalar) -> Any:
    """Return a value that ``fits_json`` as JSON has it: moments and decimals are texts with all their digits.

    Moments with a time zone are in UTC. Raises ValueError for maps with a repeated key, and for what has no text.
    """
    try:
        return _plain(scalar.as_py(maps_as_pydicts="strict"))
    except (KeyError, ValueError, OverflowError, pa.ArrowException) as error:
        raise ValueError(f"a value in it cannot be written as JSON: {error}"[:300]) from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            return value.isoformat()
        return value.astimezone(dt.UTC).isoformat().removesuffix("+00:00") + "Z"
    return value.isoformat() if isinstance(value, dt.date) else value


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
    offsets = array.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0], array.values.slice(offsets[0], offsets[-1] - offsets[0])
