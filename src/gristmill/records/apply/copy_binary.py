"""PostgreSQL's binary COPY format, made from Arrow columns without a step of Python per row.

Source of the format: https://www.postgresql.org/docs/18/sql-copy.html, "Binary Format"; a row is an int16 count of
fields, then for each an int32 length (-1: null) and the bytes, big-endian. pgvector's vector is int16 dimensions, int16
zero, big-endian float4s, its halfvec the same with float2s. Each column is turned into Arrow binary arrays, and one
``binary_join_element_wise`` weaves them into rows in compiled code.

Arrow types and what they become: string text, int64 bigint, float64 double precision, bool boolean, timestamp(us)
timestamptz, date32 date, fixed_size_binary(16) uuid, fixed_size_list(float32) vector, fixed_size_list(float16)
halfvec, binary bytea.
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from gristmill.core.copy import BINARY_HEAD, BINARY_TAIL, copy_in

_POSTGRES_EPOCH_MICROSECONDS = 946_684_800_000_000  # 2000-01-01 in Unix time
_POSTGRES_EPOCH_DAYS = 10_957
BLOCK_BYTES = 8 * 1024 * 1024

Bytes = npt.NDArray[np.uint8]


def copy_table(connection: Connection, sql: str, table: pa.Table) -> None:
    """Run ``sql``, a COPY … FROM STDIN (FORMAT binary), with the rows of ``table`` on a SQLAlchemy connection."""
    copy_in(connection, sql, encode_copy(table))


def encode_copy(table: pa.Table, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes | memoryview]:
    """Yield the COPY data of ``table`` in blocks of about ``block_bytes``; memory stays at a few blocks."""
    yield BINARY_HEAD
    rows = max(1, int(table.num_rows * block_bytes / max(1, table.nbytes)))
    for start in range(0, table.num_rows, rows):
        piece = table.slice(start, rows)
        yield _encode_rows([column.combine_chunks() for column in piece.columns])
    yield BINARY_TAIL


def _encode_rows(columns: list[Any]) -> memoryview:
    count = len(columns[0])
    parts = [_fixed(np.broadcast_to(np.frombuffer(struct.pack("!h", len(columns)), np.uint8), (count, 2)), None)]
    for column in columns:
        # combine_chunks gives a chunked array back when there was no chunk or text too long for one.
        parts.extend(_encode_column(pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column))
    joined = pc.binary_join_element_wise(*parts, b"")
    size = int(np.frombuffer(joined.buffers()[1], np.int32)[count])
    return memoryview(joined.buffers()[2])[:size]


def _encode_column(array: pa.Array) -> list[pa.Array]:
    """Return the binary arrays that stand for the column in each row: lengths, and content if it varies in size."""
    kind = array.type
    valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        lengths = pc.fill_null(pc.binary_length(array), -1).to_numpy()
        content = array.cast(pa.binary())
        return [_fixed(_bytes(lengths, ">i4"), None), pc.fill_null(content, b"") if valid is not None else content]
    if pa.types.is_fixed_size_list(kind):
        return [_fixed(_vectors(array), valid)]
    return [_fixed(_with_length(_fixed_content(array)), valid)]


def _vectors(array: pa.Array) -> Bytes:
    """Return vectors with their lengths, shape (rows, width); nulls hold anything."""
    size, rows = array.type.list_size, len(array)
    width = 2 if pa.types.is_float16(array.type.value_type) else 4
    numbers = array.values.slice(array.offset * size, rows * size).to_numpy(zero_copy_only=False)
    out = np.empty((rows, 8 + width * size), np.uint8)
    out[:, :8] = np.frombuffer(struct.pack("!ihh", 4 + width * size, size, 0), np.uint8)
    # Swapped as they are copied: vectors are most of what most datasets have, and every further copy of them shows.
    out[:, 8:].view(f">f{width}")[...] = numbers.reshape(rows, size)
    return out


def _fixed_content(array: pa.Array) -> Bytes:
    """Return the values of a fixed-width column as big-endian bytes, shape (rows, width); nulls hold anything."""
    kind = array.type
    if pa.types.is_boolean(kind):
        return _bytes(_values(array.cast(pa.uint8()), np.uint8), "u1")
    if pa.types.is_int64(kind):
        return _bytes(_values(array, np.int64), ">i8")
    if pa.types.is_float64(kind):
        return _bytes(_values(array, np.float64), ">f8")
    if pa.types.is_timestamp(kind) and kind.unit == "us":
        # The slot of a null may hold any bits, so its difference may wrap around; nobody reads it.
        with np.errstate(over="ignore"):
            return _bytes(_values(array, np.int64) - _POSTGRES_EPOCH_MICROSECONDS, ">i8")
    if pa.types.is_date32(kind):
        return _bytes(_values(array, np.int32).astype(np.int64) - _POSTGRES_EPOCH_DAYS, ">i4")
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        return _values(array, np.dtype("V16")).view(np.uint8).reshape(-1, 16)
    raise TypeError(f"binary COPY does not know the Arrow type {kind}")


def _values(array: pa.Array, dtype: Any) -> npt.NDArray[Any]:
    return np.frombuffer(array.buffers()[1], dtype, count=len(array), offset=array.offset * np.dtype(dtype).itemsize)


def _bytes(values: npt.NDArray[Any], dtype: str) -> Bytes:
    """Return ``values``, shape (rows,) or (rows, k), as the bytes of ``dtype``, shape (rows, width)."""
    converted = np.ascontiguousarray(values, dtype=dtype)
    return converted.view(np.uint8).reshape(len(values), -1)


def _with_length(content: Bytes) -> Bytes:
    rows, width = content.shape
    out = np.empty((rows, width + 4), np.uint8)
    out[:, :4] = np.frombuffer(struct.pack("!i", width), np.uint8)
    out[:, 4:] = content
    return out


def _fixed(framed: Bytes, valid: npt.NDArray[np.bool_] | None) -> pa.Array:
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
