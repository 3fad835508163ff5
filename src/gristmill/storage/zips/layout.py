"""Bytes of the ZIP format, after PKWARE's APPNOTE.TXT 6.3.10: stored entries with known checksums, ZIP64 where needed.

The standard library's zipfile keeps an object for each entry and writes an archive from its start to its end; neither
serves an archive of a million entries that is read at any place.
"""

import struct
from typing import NamedTuple

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END64 = struct.Struct("<IQHHIIQQQQ")
_LOCATOR = struct.Struct("<IIQI")
_END = struct.Struct("<IHHHHIIH")
_EXTRA = struct.Struct("<HH")
_LARGE, _MANY = 0xFFFFFFFF, 0xFFFF
# The first of January 1980: the same files make the same archive, whenever they were written.
_DATE = 0x21
# Names are in UTF-8.
_FLAGS = 0x0800
_PLAIN, _ZIP64 = 20, 45
_UNIX = 3 << 8
_MODE = 0o100644 << 16


class Entry(NamedTuple):
    """A file of an archive. name: below the archive. size: bytes. crc: its CRC-32."""

    name: str
    size: int
    crc: int


def local_header(entry: Entry) -> bytes:
    """Return what stands before the bytes of a file."""
    name = entry.name.encode()
    large = entry.size >= _LARGE
    extra = _EXTRA.pack(1, 16) + struct.pack("<QQ", entry.size, entry.size) if large else b""
    size, version = (_LARGE, _ZIP64) if large else (entry.size, _PLAIN)
    fixed = _LOCAL.pack(0x04034B50, version, _FLAGS, 0, 0, _DATE, entry.crc, size, size, len(name), len(extra))
    return fixed + name + extra


def central_header(entry: Entry, offset: int) -> bytes:
    """Return the line of the directory about a file. offset: of its local header."""
    name = entry.name.encode()
    long = [entry.size, entry.size] if entry.size >= _LARGE else []
    long += [offset] if offset >= _LARGE else []
    extra = _EXTRA.pack(1, 8 * len(long)) + struct.pack(f"<{len(long)}Q", *long) if long else b""
    size, version = min(entry.size, _LARGE), _ZIP64 if long else _PLAIN
    fixed = _CENTRAL.pack(
        0x02014B50, _UNIX | version, version, _FLAGS, 0, 0, _DATE, entry.crc, size, size,
        len(name), len(extra), 0, 0, 0, _MODE, min(offset, _LARGE),
    )  # fmt: skip
    return fixed + name + extra


def read_central(line: bytes) -> Entry:
    """Return the entry that ``central_header`` was given."""
    fields = _CENTRAL.unpack_from(line)
    crc, size, length = fields[7], fields[9], fields[10]
    name = line[_CENTRAL.size : _CENTRAL.size + length].decode()
    if size == _LARGE:
        (size,) = struct.unpack_from("<Q", line, _CENTRAL.size + length + _EXTRA.size)
    return Entry(name, size, crc)


def end_of_directory(entries: int, size: int, offset: int) -> bytes:
    """Return the end of an archive. size, offset: of its directory."""
    end = _END.pack(
        0x06054B50, 0, 0, min(entries, _MANY), min(entries, _MANY), min(size, _LARGE), min(offset, _LARGE), 0
    )
    if entries < _MANY and size < _LARGE and offset < _LARGE:
        return end
    end64 = _END64.pack(0x06064B50, _END64.size - 12, _UNIX | _ZIP64, _ZIP64, 0, 0, entries, entries, size, offset)
    return end64 + _LOCATOR.pack(0x07064B50, 0, offset + size, 1) + end
