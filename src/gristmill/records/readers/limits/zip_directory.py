"""The directory of a zip, measured before anything is made of it: ``zipfile`` makes 600 bytes of each entry.

It is found as ``zipfile`` finds it: by the end record in the last 64 KiB, and that of zip64 before it.
"""

import io
import struct
from typing import BinaryIO

from gristmill.core.errors import Malformed, TooLarge, Violation

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s24x3H12x")
# The end record may be followed by a comment.
_TAIL_BYTES = _END.size + 65_535
# Of an entry on average: 46, a name, and what tools add to it. Names have at most 800.
_ENTRY_BYTES = 320
_READ_BYTES = 256 * 1024


def check_directory(file: BinaryIO, most: int) -> None:
    """Check the directory in constant memory.

    Raises Malformed where the file is no zip, or ends too early; TooLarge for more than ``most`` entries.
    """
    end = file.seek(0, io.SEEK_END)
    file.seek(max(0, end - _TAIL_BYTES))
    tail = file.read()
    place = tail.rfind(b"PK\5\6")
    if end < _END.size or place < 0 or len(tail) - place < _END.size:
        what = "it has no directory at its end: it was cut off, or is no zip"
        raise refuse_zip("not_a_zip", f"The body cannot be read as a zip: {what}")
    if len(tail) - _END.size >= 0 and tail[-_END.size :][:4] == b"PK\5\6":
        place = len(tail) - _END.size
    _, _, _, _, count, size, _, _ = _END.unpack_from(tail, place)
    start = end - len(tail) + place
    count, size, start = _zip64(file, start) or (count, size, start)
    if count > most:
        raise TooLarge(f"The zip has {count} entries: at most {most} are allowed (api_max_zip_entries)", limit=most)
    if size > start:
        raise refuse_zip("malformed", "The zip is damaged: its directory would begin before it")
    if size > 65_536 + count * _ENTRY_BYTES:
        raise TooLarge(f"The directory of the zip has {size} bytes, for {count} entries: names and notes are too long")
    file.seek(start - size)
    found = _count(file, size, most)
    if found != count:
        raise refuse_zip("malformed", f"The zip is damaged: it says that it has {count} entries, and has {found}")


def refuse_zip(code: str, reason: str) -> Malformed:
    """Return the error for a zip that is refused as a whole."""
    return Malformed(f"{reason}; nothing was stored", [Violation("", code, reason)])


def _zip64(file: BinaryIO, end: int) -> tuple[int, int, int] | None:
    """Return (entries, bytes of the directory, where it ends) of a zip64; None where it is none."""
    start = end - _END64_LOCATOR.size - _END64.size
    if start < 0:
        return None
    file.seek(start)
    record, locator = file.read(_END64.size), file.read(_END64_LOCATOR.size)
    if locator[:4] != b"PK\6\7" or record[:4] != b"PK\6\6":
        return None
    count, size = _END64.unpack(record)[7:9]
    return count, size, start


def _count(file: BinaryIO, size: int, most: int) -> int:
    """Return how many entries the directory has; at most one more than ``most``."""
    data, place, left, found = b"", 0, size, 0
    while found <= most:
        if len(data) - place < _ENTRY.size and left:
            more = file.read(min(left, _READ_BYTES))
            data, place, left = data[place:] + more, 0, left - len(more)
            if not more:
                break
            continue
        if place >= len(data) and not left:
            break
        if len(data) - place < _ENTRY.size or data[place : place + 4] != b"PK\1\2":
            raise refuse_zip("malformed", f"The zip is damaged: entry {found + 1} of its directory is none")
        _, name, extra, comment = _ENTRY.unpack_from(data, place)
        place += _ENTRY.size + name + extra + comment
        found += 1
        while place > len(data) and left:
            more = file.read(min(left, _READ_BYTES))
            if not more:
                break
            place, data, left = place - len(data), more, left - len(more)
    return found
