"""What a Parquet file would need in memory, found out before it is read: its page headers, decoded.

Readers of Parquet unpack one page of each column at a time, into as much memory as the page's header says. The file's
footer says nothing certain about that, so the headers themselves are walked: a few bytes for each page.

Source of the format: https://parquet.apache.org/docs/file-format/ and parquet.thrift, in Thrift's compact protocol.
"""

from dataclasses import dataclass
from typing import Any, BinaryIO

from gristmill.core.errors import Invalid, Malformed, Place
from gristmill.records.readers.source import malformed

# What the pages that are unpacked at one time may take together. The largest that common writers make have 100 MB.
MAX_OPEN_BYTES = 256 * 1024 * 1024
# Longest header of a page; it may hold the page's smallest and largest value.
_MAX_HEADER = 1024 * 1024
_FIRST_READ = 512


@dataclass(slots=True)
class GroupSize:
    """What a row group takes. open_bytes: its largest pages, unpacked. bytes_per_row: at its densest page, unpacked."""

    open_bytes: int = 0
    bytes_per_row: float = 0.0


def check_group(file: BinaryIO, metadata: Any, group: int) -> GroupSize:
    """Return the size of a row group. Raises Malformed for pages that are not there, Invalid for too large ones."""
    facts = metadata.row_group(group)
    size = GroupSize()
    for number in range(facts.num_columns):
        chunk = facts.column(number)
        largest, dictionary, densest = _walk(file, chunk, group)
        size.open_bytes += largest + dictionary
        per_row = chunk.num_values / max(1, facts.num_rows)
        size.bytes_per_row += densest * per_row
    if size.open_bytes > MAX_OPEN_BYTES:
        reason = (
            f"Row group {group} of the Parquet file has pages that take {size.open_bytes} bytes at one time: at most "
            f"{MAX_OPEN_BYTES} are allowed. Write it with smaller data pages"
        )
        raise Invalid(reason, [Place("", "pages_too_large", reason)])
    return size


def _walk(file: BinaryIO, chunk: Any, group: int) -> tuple[int, int, float]:
    """Return (bytes of the largest page, packed and unpacked; of the dictionary; most bytes a value) of one column."""
    position = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < position:
        position = chunk.dictionary_page_offset
    end = position + chunk.total_compressed_size
    if position < 0 or end < position:
        raise _broken(
            f"The column {chunk.path_in_schema} in row group {group} of the Parquet file stands nowhere in it"
        )
    largest = dictionary = page = seen = 0
    densest = 0.0
    while position < end and seen < chunk.num_values:
        where = f"Page {page} of the column {chunk.path_in_schema} in row group {group} of the Parquet file"
        header, length = _read_header(file, position, where)
        unpacked, packed = header.get(2), header.get(3)
        if not isinstance(unpacked, int) or not isinstance(packed, int) or unpacked < 0 or packed < 0:
            raise _broken(f"{where} has no size")
        position += length + packed
        if position > end:
            raise _broken(f"{where} goes on beyond the end of the column: the file is damaged")
        if header.get(1) == 2:
            dictionary += unpacked
        else:
            facts = header.get(5) or header.get(8) or {}
            values = facts.get(1) if isinstance(facts, dict) else None
            count = values if isinstance(values, int) and values > 0 else 0
            seen += count
            largest = max(largest, unpacked + packed)
            densest = max(densest, unpacked / max(1, count))
        page += 1
    return largest, dictionary, densest


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
        if depth > 8:
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
                return self._skip(8)
            case 8:
                return self._skip(self._varint())
            case 9 | 10:
                head = self._byte()
                count = head >> 4 if head >> 4 != 15 else self._varint()
                for _ in range(count):
                    self._value(head & 0x0F if head & 0x0F > 2 else 3, depth + 1)
                return None
            case 12:
                return self._struct(depth + 1)
        raise ValueError(f"it has a field of the unknown type {kind}")

    def _byte(self) -> int:
        value = self._raw[self._at]
        self._at += 1
        return value

    def _skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._raw):
            raise IndexError

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
