"""Columns of text, UUIDs, JSON and images, judged as a whole; see ``vectorised``.

A judge takes the field and a column without dictionaries. It returns the payload column and a mask of the values that
are wrong or that it cannot judge; nulls are never marked.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import ValidationError, from_json

from gristmill.datasets.contract import DEFAULT_MAX_BYTES, DEFAULT_MAX_LENGTH, FieldSpec
from gristmill.datasets.types import TYPES, dump_json
from gristmill.datasets.validation import is_image

Checked = tuple[pa.Array, npt.NDArray[np.bool_]]

# Places of the hyphens in a UUID, and of its 32 digits.
_HYPHENS = [8, 13, 18, 23]
_DIGITS = [place for place in range(36) if place not in _HYPHENS]
_NIBBLES = np.full(256, 255, np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_NIBBLES[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)


def check_text(field: FieldSpec, array: pa.Array) -> Checked:
    """UTF-8 has been checked where the column was read."""
    limit = field.max_length or DEFAULT_MAX_LENGTH
    bad = np.zeros(len(array), np.bool_)
    # No text has more characters than bytes, so most columns need no look at their characters.
    if (pc.max(pc.binary_length(array)).as_py() or 0) > limit:
        bad |= to_mask(pc.greater(pc.utf8_length(array), limit))
    if not content(array).all():
        bad |= to_mask(pc.match_substring(array, "\0"))
    return array, bad


def check_uuid(_field: FieldSpec, array: pa.Array) -> Checked:
    """Takes texts, and values of 16 bytes."""
    if pa.types.is_fixed_size_binary(array.type):
        return array, np.zeros(len(array), np.bool_)
    valid = valid_mask(array)
    fits = valid & (pc.binary_length(array).fill_null(0).to_numpy() == 36)
    texts = content(array.filter(pa.array(fits))).reshape(-1, 36)
    nibbles = _NIBBLES[texts[:, _DIGITS]]
    right = (nibbles < 16).all(axis=1) & (texts[:, _HYPHENS] == ord("-")).all(axis=1)
    values = np.zeros((len(array), 16), np.uint8)
    values[fits] = nibbles[:, 0::2] << 4 | nibbles[:, 1::2] & 15
    good = fits.copy()
    good[fits] = right
    return from_buffer(pa.binary(16), values, good), valid & ~good


def check_json(field: FieldSpec, array: pa.Array) -> Checked:
    """Texts of JSON. There is no compiled check for what jsonb takes, so the values are judged one by one."""
    values: list[str | None] = []
    bad = np.zeros(len(array), np.bool_)
    for index, text in enumerate(array.to_pylist()):
        try:
            value = None if text is None else TYPES["json"].parse(field, from_json(text, allow_inf_nan=False))
        except (ValidationError, ValueError):
            value = None
        # The JSON text null stands for no value, which a required field does not take.
        bad[index] = text is not None and value is None
        values.append(None if value is None else dump_json(value))
    return pa.array(values, pa.string()), bad


def check_image(field: FieldSpec, array: pa.Array) -> Checked:
    """Takes the bytes of images; texts of base64 are left to the precise way."""
    if pa.types.is_string(array.type):
        return pa.nulls(len(array), pa.binary()), valid_mask(array)
    limit = field.max_bytes or DEFAULT_MAX_BYTES
    bad = [value.is_valid and not (len(value.as_buffer()) <= limit and is_image(value.as_py()[:16])) for value in array]
    return array, np.array(bad, np.bool_)


def valid_mask(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which values are not null."""
    if not array.null_count:
        return np.ones(len(array), np.bool_)
    return array.is_valid().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def to_mask(answers: Any) -> npt.NDArray[np.bool_]:
    """Return a boolean column as a mask, null as False."""
    return answers.fill_null(False).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def content(array: pa.Array) -> npt.NDArray[np.uint8]:
    """Return the bytes of all values of a string or binary column, one after the other."""
    _, offsets, data = array.buffers()
    if data is None or not len(array):
        return np.empty(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4)
    return np.frombuffer(data, np.uint8, int(ends[-1] - ends[0]), int(ends[0]))


def from_buffer(kind: pa.DataType, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> pa.Array:
    """Return a column of a fixed-width ``kind`` over ``values``, null where not ``valid``."""
    nulls = int(len(valid) - valid.sum())
    bitmap = pa.py_buffer(np.packbits(valid, bitorder="little")) if nulls else None
    return pa.Array.from_buffers(kind, len(valid), [bitmap, pa.py_buffer(np.ascontiguousarray(values))], nulls)
