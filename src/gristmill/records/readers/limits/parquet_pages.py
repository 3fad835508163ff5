"""What a Parquet file would need in memory, found out before it is read: its footer and page headers, decoded.

Readers of Parquet unpack one page of each column at a time, into as much memory as the page's header says. The file's
footer says nothing certain about that, so the headers themselves are walked: a few bytes for each page. The footer is
decoded here too, as pyarrow's view of it ends the whole process when it meets some kinds of damage.

Source of the format: https://parquet.apache.org/docs/file-format/ and parquet.thrift, in Thrift's compact protocol.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from gristmill.core.errors import Invalid, Malformed, Violation
from gristmill.records.readers.context import malformed
from gristmill.records.readers.limits.parquet_dictionary import longest_in
from gristmill.records.readers.limits.thrift import Compact

# What the pages that are unpacked at one time may take together. The largest that common writers make have 100 MB.
MAX_OPEN_BYTES = 256 * 1024 * 1024
# The footer has some hundred bytes for each column of each row group.
MAX_FOOTER_BYTES = 8 * 1024 * 1024
# Longest header of a page; it may hold the page's smallest and largest value.
_MAX_HEADER = 1024 * 1024
_FIRST_READ = 512
_MAGIC = b"PAR1"
# The type, the kind of page and the encodings, as parquet.thrift numbers them.
_BYTE_ARRAY = 6
_DICTIONARY_PAGE = 2
_PLAIN_DICTIONARY, _DELTA_LENGTHS, _DELTA_BYTES, _DICTIONARY = 2, 6, 7, 8
_PLAIN = frozenset({0, _DELTA_LENGTHS})
# Values are told by those before them, or nobody knows how.
_BY_OTHERS = frozenset({_DELTA_BYTES, -1})
# What a value takes besides its text: a number, or where its text begins.
_VALUE_BYTES = 8


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """One column of a row group; one leaf of it, where it is nested.

    column: name of the column in the schema. values: how many there are, nulls and empty lists among them. start, size:
    its packed bytes. texts: whether its values have lengths of their own. codec: parquet.thrift's number.
    """

    column: str
    values: int
    start: int
    size: int
    texts: bool
    codec: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    rows: int
    chunks: tuple[ColumnChunk, ...]


@dataclass(slots=True)
class ChunkSize:
    """What one column chunk takes in memory.

    open_bytes: its largest page, packed and unpacked, and its dictionary. densest: most bytes a value in a page.
    longest: bytes that no text exceeds which a page may repeat any number of times, by its index in a dictionary or as
    a prefix of others; 0 where pages hold their texts. written_out: what all values take at most, written out.
    """

    open_bytes: int
    densest: float
    longest: int
    written_out: int


@dataclass(slots=True)
class GroupSize:
    """What a row group takes. bytes_per_row: at its densest page, unpacked. chunks: in the order of the row group."""

    bytes_per_row: float
    chunks: list[ChunkSize]


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
        footer, _ = Compact(file.read(length)).struct_and_length()
        return [_row_group(group) for group in footer.get(4, [])]
    except (IndexError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise _broken(f"The footer of the Parquet file is damaged: {error}"[:300]) from error


def _row_group(group: dict[int, Any]) -> RowGroup:
    chunks = []
    for facts in (column[3] for column in group.get(1, [])):
        data, dictionary = int(facts[9]), facts.get(11)
        start = dictionary if dictionary is not None and 0 < dictionary < data else data
        column, values, texts = facts[3][0].decode(), int(facts[5]), facts[1] == _BYTE_ARRAY
        chunks.append(ColumnChunk(column, values, int(start), int(facts[7]), texts, int(facts[4])))
    return RowGroup(int(group[3]), tuple(chunks))


def check_group(file: BinaryIO, group: RowGroup, number: int) -> GroupSize:
    """Return the size of a row group. Raises Malformed for pages that are not there, Invalid for too large ones."""
    chunks = [_walk(file, chunk, number) for chunk in group.chunks]
    open_bytes = sum(chunk.open_bytes for chunk in chunks)
    if open_bytes > MAX_OPEN_BYTES:
        reason = (
            f"Row group {number} of the Parquet file has pages that take {open_bytes} bytes at one time: at most "
            f"{MAX_OPEN_BYTES} are allowed. Write it with smaller data pages"
        )
        raise Invalid(reason, [Violation("", "pages_too_large", reason)])
    bytes_per_row = sum(
        size.densest * chunk.values / max(1, group.rows) for size, chunk in zip(chunks, group.chunks, strict=True)
    )
    return GroupSize(bytes_per_row, chunks)


def _walk(file: BinaryIO, chunk: ColumnChunk, group: int) -> ChunkSize:
    position, end = chunk.start, chunk.start + chunk.size
    if position < 0 or end < position:
        raise _broken(f"The column {chunk.column} in row group {group} of the Parquet file stands nowhere in it")
    page = seen = largest = dictionary = in_dictionary = longest = written_out = 0
    densest = 0.0
    while position < end and seen < chunk.values:
        where = f"Page {page} of the column {chunk.column} in row group {group} of the Parquet file"
        header, length = _read_header(file, position, where)
        unpacked, packed = header.get(2), header.get(3)
        if not isinstance(unpacked, int) or not isinstance(packed, int) or unpacked < 0 or packed < 0:
            raise _broken(f"{where} has no size")
        if position + length + packed > end:
            raise _broken(f"{where} goes on beyond the end of the column: the file is damaged")
        if header.get(1) == _DICTIONARY_PAGE:
            dictionary += unpacked
            if chunk.texts:
                file.seek(position + length)
                in_dictionary = max(in_dictionary, longest_in(file, chunk.codec, packed, unpacked))
        else:
            count, encoding = _values_and_encoding(header)
            seen += count
            largest = max(largest, unpacked + packed)
            densest = max(densest, unpacked / max(1, count))
            # Texts that are told by those before them may have any part of the page, or of the dictionary if it is
            # not known how they are told.
            repeated = max(unpacked, dictionary) if encoding in _BY_OTHERS else in_dictionary
            repeated = repeated if chunk.texts and encoding not in _PLAIN else 0
            longest = max(longest, repeated)
            written_out += unpacked + count * (_VALUE_BYTES + repeated)
        position += length + packed
        page += 1
    return ChunkSize(largest + dictionary, densest, longest, written_out)


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
            return Compact(raw).struct_and_length()
        except IndexError:
            if len(raw) < size or size >= _MAX_HEADER:
                raise _broken(f"{where} is not there: the file is truncated or damaged") from None
            size = min(_MAX_HEADER, size * 16)
        except ValueError as error:
            raise _broken(f"{where} has no readable header: {error}") from error


def _broken(reason: str) -> Malformed:
    return Malformed(reason, [malformed(reason)])
