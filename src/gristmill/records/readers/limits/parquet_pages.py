"""What a Parquet file would need in memory, found out before it is read: its footer and page headers, decoded.

Readers of Parquet unpack one page of each column at a time, into as much memory as the page's header says. The file's
footer says nothing certain about that, so the headers themselves are walked: a few bytes for each page. The footer is
decoded here too, as pyarrow's view of it ends the whole process when it meets some kinds of damage.

Source of the format: https://parquet.apache.org/docs/file-format/ and parquet.thrift, in Thrift's compact protocol.
"""

import io
import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from gristmill.core.errors import Invalid, Malformed, Violation
from gristmill.records.readers.context import malformed

# What the pages that are unpacked at one time may take together. The largest that common writers make have 100 MB.
MAX_OPEN_BYTES = 256 * 1024 * 1024
# The footer has some hundred bytes for each column of each row group.
MAX_FOOTER_BYTES = 8 * 1024 * 1024
# Longest header of a page; it may hold the page's smallest and largest value.
_MAX_HEADER = 1024 * 1024
_FIRST_READ = 512
_MAGIC = b"PAR1"
# Encodings of pages, as parquet.thrift numbers them.
_PLAIN_DICTIONARY, _DELTA_BYTES, _DICTIONARY = 2, 7, 8
# Values are told by those before them, or nobody knows how.
_BY_OTHERS = frozenset({_DELTA_BYTES, -1})


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """One column of a row group. column: name of the column in the schema. start, size: its packed bytes."""

    column: str
    values: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    rows: int
    chunks: tuple[ColumnChunk, ...]


@dataclass(slots=True)
class GroupSize:
    """What a row group takes. open_bytes: its largest pages, unpacked. bytes_per_row: at its densest page, unpacked.

    A page may hold a long text once and repeat it any number of times, by its index in a dictionary or as a prefix of
    others. in_dictionary: names of the columns that begin with a page of indexes into a dictionary, which tells how
    long their texts are. longest: of other columns that may repeat texts, bytes that no text exceeds.
    """

    open_bytes: int = 0
    bytes_per_row: float = 0.0
    in_dictionary: list[str] = field(default_factory=list)
    longest: dict[str, int] = field(default_factory=dict)


def read_footer(file: BinaryIO) -> list[RowGroup]:
    """Return the row groups. Raises Malformed where there is no whole footer, Invalid for one that is too large."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    file.seek(0)
    if size < 12 or tail[4:] != _MAGIC or file.read(4) != _MAGIC:
        seen = "the body is empty" if size == 0 else "it does not begin and end with PAR1"
        raise _broken(f"The body is not a whole Parquet file: {seen}")
    (length,) = struct.unpack("<I", tail[:4])
    if length > size - 12:
        raise _broken("The footer of the Parquet file is longer than the file")
    if length > MAX_FOOTER_BYTES:
        reason = f"The footer of the Parquet file has {length} bytes: at most {MAX_FOOTER_BYTES} are allowed"
        raise Invalid(reason, [Violation("", "footer_too_large", reason)])
    file.seek(size - 8 - length)
    try:
        footer, _ = _Compact(file.read(length)).struct_and_length()
        return [_row_group(group) for group in footer.get(4, [])]
    except (IndexError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise _broken(f"The footer of the Parquet file is damaged: {error}"[:300]) from error


def _row_group(group: dict[int, Any]) -> RowGroup:
    chunks = []
    for facts in (column[3] for column in group.get(1, [])):
        data, dictionary = int(facts[9]), facts.get(11)
        start = dictionary if dictionary is not None and 0 < dictionary < data else data
        chunks.append(ColumnChunk(facts[3][0].decode(), int(facts[5]), int(start), int(facts[7])))
    return RowGroup(int(group[3]), tuple(chunks))


def check_group(file: BinaryIO, group: RowGroup, number: int) -> GroupSize:
    """Return the size of a row group. Raises Malformed for pages that are not there, Invalid for too large ones."""
    size = GroupSize()
    for chunk in group.chunks:
        pages = _walk(file, chunk, number)
        size.open_bytes += pages.largest + pages.dictionary
        size.bytes_per_row += pages.densest * chunk.values / max(1, group.rows)
        if pages.encodings[:1] == [_DICTIONARY] and not _BY_OTHERS.intersection(pages.encodings):
            size.in_dictionary.append(chunk.column)
        elif pages.dictionary or _BY_OTHERS.intersection(pages.encodings):
            size.longest[chunk.column] = max(pages.dictionary, pages.largest)
    if size.open_bytes > MAX_OPEN_BYTES:
        reason = (
            f"Row group {number} of the Parquet file has pages that take {size.open_bytes} bytes at one time: at most "
            f"{MAX_OPEN_BYTES} are allowed. Write it with smaller data pages"
        )
        raise Invalid(reason, [Violation("", "pages_too_large", reason)])
    return size


@dataclass(slots=True)
class _Pages:
    """The pages of one column. largest: bytes of one, packed and unpacked. densest: most bytes a value in one.

    dictionary: bytes of the dictionary. encodings: of the pages of values, each that differs from the one before.
    """

    largest: int = 0
    dictionary: int = 0
    densest: float = 0.0
    encodings: list[int] = field(default_factory=list)


def _walk(file: BinaryIO, chunk: ColumnChunk, group: int) -> _Pages:
    position, end = chunk.start, chunk.start + chunk.size
    if position < 0 or end < position:
        raise _broken(f"The column {chunk.column} in row group {group} of the Parquet file stands nowhere in it")
    pages = _Pages()
    page = seen = 0
    while position < end and seen < chunk.values:
        where = f"Page {page} of the column {chunk.column} in row group {group} of the Parquet file"
        header, length = _read_header(file, position, where)
        unpacked, packed = header.get(2), header.get(3)
        if not isinstance(unpacked, int) or not isinstance(packed, int) or unpacked < 0 or packed < 0:
            raise _broken(f"{where} has no size")
        position += length + packed
        if position > end:
            raise _broken(f"{where} goes on beyond the end of the column: the file is damaged")
        if header.get(1) == 2:
            pages.dictionary += unpacked
        else:
            count, encoding = _values_and_encoding(header)
            seen += count
            pages.largest = max(pages.largest, unpacked + packed)
            pages.densest = max(pages.densest, unpacked / max(1, count))
            if pages.encodings[-1:] != [encoding]:
                pages.encodings.append(encoding)
        page += 1
    return pages


def _values_and_encoding(header: dict[int, Any]) -> tuple[int, int]:
    """Return how many values a page has, and how they are encoded (both ways of dictionaries as one)."""
    first, second = header.get(5), header.get(8)
    facts = first if isinstance(first, dict) else second if isinstance(second, dict) else {}
    values, encoding = facts.get(1), facts.get(2 if isinstance(first, dict) else 4)
    count = values if isinstance(values, int) and values > 0 else 0
    return count, _DICTIONARY if encoding == _PLAIN_DICTIONARY else encoding if isinstance(encoding, int) else -1


def _read_header(file: BinaryIO, position: int, where: str) -> tuple[dict[int, Any], int]:
    """Return the header that starts at ``position``, and how long it is."""
    size = _FIRST_READ
    while True:
        file.seek(position)
        raw = file.read(size)
        try:
            return _Compact(raw).struct_and_length()
        except IndexError:
            if len(raw) < size or size >= _MAX_HEADER:
                raise _broken(f"{where} is not there: the file is truncated or damaged") from None
            size = min(_MAX_HEADER, size * 16)
        except ValueError as error:
            raise _broken(f"{where} has no readable header: {error}") from error


def _broken(reason: str) -> Malformed:
    return Malformed(reason, [malformed(reason)])


class _Compact:
    """Decodes Thrift's compact protocol, structs as dicts by field number. Raises IndexError at the end of ``raw``."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def struct_and_length(self) -> tuple[dict[int, Any], int]:
        found = self._struct(0)
        return found, self._at

    def _struct(self, depth: int) -> dict[int, Any]:
        if depth > 16:
            raise ValueError("it nests too deep")
        fields: dict[int, Any] = {}
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                return fields
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(head & 0x0F, depth)

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2:
                return kind == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._zigzag()
            case 7:
                return self._take(8)
            case 8:
                return self._take(self._varint())
            case 9 | 10:
                head = self._byte()
                count = head >> 4 if head >> 4 != 15 else self._varint()
                # In a list a boolean takes a byte; elsewhere it is part of the head.
                inner = head & 0x0F if head & 0x0F > 2 else 3
                return [self._value(inner, depth + 1) for _ in range(count)]
            case 12:
                return self._struct(depth + 1)
        raise ValueError(f"it has a field of the unknown type {kind}")

    def _byte(self) -> int:
        value = self._raw[self._at]
        self._at += 1
        return value

    def _take(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._raw):
            raise IndexError("it ends too early")
        return self._raw[self._at - size : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("it has a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
