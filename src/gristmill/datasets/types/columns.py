"""What the types share for whole columns: masks, buffers, and questions about Arrow types."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.datasets.contract import FieldSpec

Mask = npt.NDArray[np.bool_]
# A payload column, and a mask of the values that are wrong or that operations on the column cannot judge.
Checked = tuple[pa.Array, Mask]


def no_mask(array: pa.Array) -> Mask:
    """Return the mask that marks nothing."""
    return np.zeros(len(array), np.bool_)


def valid_mask(array: pa.Array) -> Mask:
    """Return which values are not null."""
    if not array.null_count:
        return np.ones(len(array), np.bool_)
    return array.is_valid().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def to_mask(answers: Any) -> Mask:
    """Return a boolean column as a mask, null as False."""
    return answers.fill_null(False).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def keep_only(array: pa.Array, good: Mask) -> pa.Array:
    """Return ``array`` with null wherever it is not ``good``."""
    return array if good.all() else pc.if_else(pa.array(good), array, pa.scalar(None, array.type))


def within(values: npt.NDArray[Any], minimum: Any, maximum: Any) -> Mask:
    """Return which values lie between the inclusive bounds, None being no bound."""
    good = np.ones(len(values), np.bool_)
    if minimum is not None:
        good &= values >= minimum
    if maximum is not None:
        good &= values <= maximum
    return good


def values_of(array: pa.Array, dtype: Any) -> npt.NDArray[Any]:
    """Return the values of a fixed-width column as they stand in its buffer; those of nulls may be anything."""
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * np.dtype(dtype).itemsize)


def content(array: pa.Array) -> npt.NDArray[np.uint8]:
    """Return the bytes of all values of a string or binary column, one after the other."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return np.empty(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4)
    return np.frombuffer(data, np.uint8, int(ends[-1] - ends[0]), int(ends[0]))


def from_buffer(kind: pa.DataType, values: npt.NDArray[Any], valid: Mask) -> pa.Array:
    """Return a column of a fixed-width ``kind`` over ``values``, null where not ``valid``."""
    nulls = int(len(valid) - valid.sum())
    bitmap = pa.py_buffer(np.packbits(valid, bitorder="little")) if nulls else None
    return pa.Array.from_buffers(kind, len(valid), [bitmap, pa.py_buffer(np.ascontiguousarray(values))], nulls)


def match_cells(array: pa.Array, pattern: str, kind: pa.DataType) -> Checked:
    """Return CSV cells cast to ``kind``, and those that do not match ``pattern`` and so might not be castable."""
    good = to_mask(pc.match_substring_regex(array, pattern))
    return keep_only(array, good).cast(kind), valid_mask(array) & ~good


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that columns of ``kind`` are turned into before they are checked; it holds the same values."""
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(plain_type(kind)))


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def text_bytes(array: pa.Array) -> pa.Array:
    """Return how many bytes each text or binary value of a column has. Nothing is copied where rows share them."""
    if pa.types.is_dictionary(array.type):
        return pc.take(text_bytes(array.dictionary), array.indices)
    if not (pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type)):
        return pc.binary_length(array)
    # A view is 16 bytes, of which the first four are the length; those of nulls may hold anything.
    views = np.frombuffer(array.buffers()[1], np.int32, 4 * len(array), 16 * array.offset).reshape(-1, 4)
    mask = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    return pa.array(views[:, 0].copy(), pa.int32(), mask=mask)


def as_python(scalar: pa.Scalar) -> Any:
    """Return a value for a person to see: as text where Python has none such, as moments after the year 9999."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, KeyError, pa.ArrowException):
        return f"a value of the type {scalar.type}"[:200]


def bounds_phrase(field: FieldSpec, least: str = " of at least {}", most: str = " of at most {}") -> str:
    """Return minimum and maximum as the end of a phrase, "" where there are none."""
    if field.minimum is not None and field.maximum is not None:
        return f" from {field.minimum} to {field.maximum}"
    if field.minimum is not None:
        return least.format(field.minimum)
    return "" if field.maximum is None else most.format(field.maximum)
