"""Footers and page headers of Parquet, taken apart and put together again with something else in them.

A struct is a list of [field number, wire type, value], so that it can say what no writer would.
"""

import struct
from collections.abc import Callable
from typing import Any

Struct = list[list[Any]]
I32, I64, LIST, STRUCT = 5, 6, 9, 12


def read_struct(raw: bytes, at: int = 0) -> tuple[Struct, int]:
    """Return the struct that begins at a place, and where it ends."""
    found: Struct = []
    number = 0
    while raw[at]:
        head = raw[at]
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(raw, at)
        value, at = _read(raw, at, head & 15)
        found.append([number, head & 15, value])
    return found, at + 1


def write_struct(fields: Struct) -> bytes:
    made, number = b"", 0
    for field, kind, value in fields:
        kind = (1 if value else 2) if kind in (1, 2) else kind
        step = field - number
        made += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + _signed(field)
        made += _write(kind, value)
        number = field
    return made + b"\0"


def get(fields: Struct, number: int) -> Any:
    return next(value for field, _, value in fields if field == number)


def put(fields: Struct, number: int, value: Any) -> None:
    for field in fields:
        if field[0] == number:
            field[2] = value


def changed(
    body: bytes,
    footer: Callable[[Struct], None] = lambda footer: None,
    pages: Callable[[list[tuple[Struct, bytes]]], None] = lambda pages: None,
) -> bytes:
    """Return a file of one row group with its footer, and the pages of its only column, changed."""
    (length,) = struct.unpack("<I", body[-8:-4])
    facts, _ = read_struct(body[-8 - length : -8])
    chunk = chunk_of(facts)
    start = get(chunk, 11) if any(field == 11 for field, *_ in chunk) else get(chunk, 9)
    end, found = start + get(chunk, 7), []
    while start < end:
        header, start = read_struct(body, start)
        packed = get(header, 3)
        found.append((header, body[start : start + packed]))
        start += packed
    pages(found)
    made, data = bytearray(b"PAR1"), 0
    for header, content in found:
        data = data or (len(made) if get(header, 1) != 2 else 0)
        made += write_struct(header) + content
    put(chunk, 11, 4)
    put(chunk, 9, data)
    put(chunk, 7, len(made) - 4)
    footer(facts)
    end_of_file = write_struct(facts)
    return bytes(made) + end_of_file + struct.pack("<I", len(end_of_file)) + b"PAR1"


def group_of(footer: Struct) -> Struct:
    group: Struct = get(footer, 4)[1][0]
    return group


def chunk_of(footer: Struct) -> Struct:
    """Return the metadata of the first column chunk."""
    chunk: Struct = get(get(group_of(footer), 1)[1][0], 3)
    return chunk


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _zigzag(raw: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(raw, at)
    return (value >> 1) ^ -(value & 1), at


def _read(raw: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2):
        return kind == 1, at
    if kind in (4, I32, I64):
        return _zigzag(raw, at)
    if kind == 8:
        length, at = _varint(raw, at)
        return raw[at : at + length], at + length
    if kind == LIST:
        head = raw[at]
        count, at = (head >> 4, at + 1) if head >> 4 != 15 else _varint(raw, at + 1)
        values = []
        for _ in range(count):
            value, at = _read(raw, at, head & 15)
            values.append(value)
        return (head & 15, values), at
    assert kind == STRUCT, kind
    return read_struct(raw, at)


def _unsigned(value: int) -> bytes:
    made = bytearray()
    while value >= 128:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def _signed(value: int) -> bytes:
    return _unsigned(value << 1 if value >= 0 else ((-value) << 1) - 1)


def _write(kind: int, value: Any) -> bytes:
    if kind in (1, 2):
        return b""
    if kind in (4, I32, I64):
        return _signed(value)
    if kind == 8:
        return _unsigned(len(value)) + value
    if kind == LIST:
        inner, values = value
        head = bytes([len(values) << 4 | inner]) if len(values) < 15 else bytes([0xF0 | inner]) + _unsigned(len(values))
        return head + b"".join(_write(inner, one) for one in values)
    return write_struct(value)
