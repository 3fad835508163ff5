"""The messages of an Arrow IPC stream, walked before they are read: where they end, and what they would unpack to.

A stream is read one record batch at a time, each as a whole; the size that a batch declares is what readers allocate.

Source of the format: https://arrow.apache.org/docs/format/Columnar.html, "Encapsulated message format".
"""

import io
import struct
from typing import BinaryIO

from gristmill.core.errors import Invalid, Malformed, Violation
from gristmill.records.readers.context import malformed

# Most bytes of one record batch, and of all dictionaries together, unpacked.
MAX_BATCH_BYTES = 128 * 1024 * 1024
_MAX_METADATA = 16 * 1024 * 1024
_CONTINUES = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3


def check_frames(file: BinaryIO) -> None:
    """Walk the stream from its start. Raises Malformed where it is broken off, Invalid for too large a batch."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    records = batches = messages = 0
    dictionaries: dict[int, int] = {}
    while True:
        what = f"Record batch {batches} of the Arrow stream, from record {records} on," if messages else "The stream"
        metadata = _read_metadata(file, what, first=not messages)
        if metadata is None:
            more = size - file.tell()
            if more:
                raise _broken(f"{more} bytes follow the end of the Arrow stream: send one stream in a request")
            return
        message = _Table.root(metadata)
        kind, length = message.number(1, "<B"), message.number(3, "<q")
        start = file.tell()
        if length < 0 or start + length > size:
            raise _broken(f"{what} is broken off: {size - start} of its {length} bytes are there")
        if (kind == _SCHEMA) != (messages == 0):
            raise _broken(
                f"{what} stands where a schema was due" if not messages else f"{what} follows a second schema"
            )
        if kind == _DICTIONARY:
            header = message.table(2)
            unpacked = _unpacked(file, start, length, header.table(1))
            key = header.number(0, "<q")
            dictionaries[key] = unpacked + (dictionaries.get(key, 0) if header.number(2, "<B") else 0)
            _check_size(sum(dictionaries.values()), f"The dictionaries before record {records} of the Arrow stream")
        elif kind == _BATCH:
            header = message.table(2)
            _check_size(_unpacked(file, start, length, header), what)
            records += max(0, header.number(0, "<q"))
            batches += 1
        elif kind != _SCHEMA:
            raise _broken(f"{what} is a message of the unknown kind {kind}")
        file.seek(start + length)
        messages += 1


def whole_messages(file: BinaryIO) -> BinaryIO:
    """Return the messages that are whole at the start of a stream that may be broken off, ended by its marker.

    Raises Malformed where not even the schema is whole.
    """
    size, end, first = file.seek(0, io.SEEK_END), 0, True
    file.seek(0)
    while True:
        try:
            metadata = _read_metadata(file, "The stream", first)
        except Malformed:
            if first:
                raise
            break
        length = 0 if metadata is None else _Table.root(metadata).number(3, "<q")
        if metadata is None or length < 0 or file.tell() + length > size:
            break
        end, first = file.seek(file.tell() + length), False
    file.seek(0)
    return io.BytesIO(file.read(end) + struct.pack("<II", _CONTINUES, 0))


def _read_metadata(file: BinaryIO, what: str, first: bool) -> bytes | None:
    """Return the metadata of the next message, or None at the end of the stream.

    The format lets a stream end without its marker. One that was broken off between two batches looks the same, so
    the marker is asked for.
    """
    head = file.read(4)
    if not head and not first:
        raise _broken(f"{what} is not there, and neither is the marker of the stream's end: it was broken off")
    if head[:4] == b"ARRO" or head[:4] == b"PAR1":
        name = "an Arrow file (Feather)" if head[:4] == b"ARRO" else "a Parquet file"
        raise _broken(f"The body is {name}: send an Arrow IPC stream, or the Content-Type that it has")
    if len(head) < 4:
        raise _broken(f"{what} is broken off" if head else "The body is empty: it should be an Arrow IPC stream")
    (length,) = struct.unpack("<I", head)
    if length == _CONTINUES:
        head = file.read(4)
        if len(head) < 4:
            raise _broken(f"{what} is broken off")
        (length,) = struct.unpack("<I", head)
    if length == 0 and not first:
        return None
    if not 8 <= length <= _MAX_METADATA:
        raise _broken("The body is not an Arrow IPC stream" if first else f"{what} is damaged: no message starts there")
    metadata = file.read(length)
    if len(metadata) < length:
        raise _broken(f"{what} is broken off" if not first else "The body is no whole Arrow IPC stream")
    return metadata


def _unpacked(file: BinaryIO, start: int, length: int, batch: "_Table") -> int:
    """Return how many bytes the buffers of a batch take in memory."""
    if not batch.has(3):
        return length
    total = 0
    for offset, size in batch.pairs(2):
        if not 0 <= offset <= offset + size <= length:
            raise _broken("The Arrow stream is damaged: a buffer leads out of its message")
        if size >= 8:
            # A packed buffer begins with its size unpacked; -1 stands for one that was left as it was.
            file.seek(start + offset)
            (unpacked,) = struct.unpack("<q", file.read(8))
            total += size if unpacked == -1 else max(0, unpacked)
    return total


def _check_size(size: int, what: str) -> None:
    if size > MAX_BATCH_BYTES:
        reason = (
            f"{what} takes {size} bytes: at most {MAX_BATCH_BYTES} are allowed. Write the stream in smaller batches, "
            "with pyarrow for example by write_table(table, max_chunksize=10000)"
        )
        raise Invalid(reason, [Violation("", "batch_too_large", reason)])


def _broken(reason: str) -> Malformed:
    return Malformed(reason, [malformed(reason)])


class _Table:
    """A table of a flatbuffer: fields by their number, absent ones as zero. Raises Malformed for what leads nowhere."""

    def __init__(self, raw: bytes, at: int) -> None:
        self._raw, self._at = raw, at
        self._fields = at - self._unpack("<i", at)
        self._size = self._unpack("<H", self._fields)

    @classmethod
    def root(cls, raw: bytes) -> "_Table":
        return cls(raw, cls._at_offset(raw, 0))

    def has(self, field: int) -> bool:
        return self._place(field) is not None

    def number(self, field: int, form: str) -> int:
        place = self._place(field)
        return 0 if place is None else self._unpack(form, place)

    def table(self, field: int) -> "_Table":
        place = self._place(field)
        if place is None:
            raise _broken("The Arrow stream is damaged: a message has no header")
        return _Table(self._raw, self._at_offset(self._raw, place))

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """Return a vector of structs of two 64-bit numbers."""
        place = self._place(field)
        if place is None:
            return []
        start = self._at_offset(self._raw, place)
        count = self._unpack("<I", start)
        if start + 4 + 16 * count > len(self._raw):
            raise _broken("The Arrow stream is damaged: a message is shorter than it says")
        return list(struct.iter_unpack("<qq", self._raw[start + 4 : start + 4 + 16 * count]))

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        offset = self._unpack("<H", self._fields + slot) if slot + 2 <= self._size else 0
        return self._at + offset if offset else None

    def _unpack(self, form: str, at: int) -> int:
        return _unpack(self._raw, form, at)

    @staticmethod
    def _at_offset(raw: bytes, at: int) -> int:
        return at + _unpack(raw, "<I", at)


def _unpack(raw: bytes, form: str, at: int) -> int:
    if at < 0 or at + struct.calcsize(form) > len(raw):
        raise _broken("The Arrow stream is damaged: a message leads out of itself")
    value: int = struct.unpack_from(form, raw, at)[0]
    return value
