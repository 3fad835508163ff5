"""What the types share for PostgreSQL's binary COPY: columns become Arrow binary arrays without a step per row.

Source of the format: https://www.postgresql.org/docs/18/sql-copy.html, "Binary Format"; in a row each field is an
int32 length (-1: null) and the bytes, big-endian.
"""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes = npt.NDArray[np.uint8]


def varying_fields(array: pa.Array) -> list[pa.Array]:
    """Return lengths and content of a string or binary column."""
    lengths = pc.fill_null(pc.binary_length(array), -1).to_numpy()
    data = array.cast(pa.binary())
    return [_join(big_endian(lengths, ">i4"), None), pc.fill_null(data, b"") if array.null_count else data]


def fixed_fields(array: pa.Array, values: Bytes) -> list[pa.Array]:
    """Return the fields of a column whose ``values``, shape (rows, width), all have the same length."""
    rows, width = values.shape
    out = np.empty((rows, width + 4), np.uint8)
    out[:, :4] = np.frombuffer(struct.pack("!i", width), np.uint8)
    out[:, 4:] = values
    return framed_fields(array, out)


def framed_fields(array: pa.Array, framed: Bytes) -> list[pa.Array]:
    """Return the fields of a column whose rows of ``framed`` begin with their length already; nulls hold anything."""
    return [_join(framed, array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None)]


def repeated(data: bytes, rows: int) -> pa.Array:
    """Return a binary array that has ``data`` in every row."""
    return _join(np.broadcast_to(np.frombuffer(data, np.uint8), (rows, len(data))), None)


def big_endian(values: npt.NDArray[Any], dtype: str) -> Bytes:
    """Return ``values``, shape (rows,) or (rows, k), as the bytes of ``dtype``, shape (rows, width)."""
    return np.ascontiguousarray(values, dtype=dtype).view(np.uint8).reshape(len(values), -1)


def _join(framed: Bytes, valid: npt.NDArray[np.bool_] | None) -> pa.Array:
    """Return a binary array with one row of ``framed`` per row; rows that are not ``valid`` become the null length."""
    rows, width = framed.shape
    if valid is None:
        offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(width)
        data = np.ascontiguousarray(framed)
    else:
        framed[~valid, :4] = 0xFF
        kept = np.zeros(framed.shape, np.bool_)
        kept[:, :4] = True
        kept[valid] = True
        data = framed[kept]
        offsets = np.zeros(rows + 1, np.int32)
        np.cumsum(np.where(valid, width, 4), out=offsets[1:])
    return pa.BinaryArray.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
