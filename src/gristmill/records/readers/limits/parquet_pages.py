"""What a Parquet file would need in memory, found out before it is read: its footer and page headers, decoded.

Readers of Parquet unpack one page of each column at a time, into as much memory as the page's header says. The file's
footer says nothing certain about that, so the headers themselves are walked: a few bytes for each page. The footer is
decoded here too, as pyarrow's view of it ends the whole process when it meets some kinds of damage.

Source of the format: https://parquet.apache.org/docs/file-format/ and parquet.thrift, in Thrift's compact protocol.
"""

import io
import struct
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from gristmill.core.errors import Invalid, Malformed, Violation
from gristmill.records.readers.context import malformed
from gristmill.records.readers.limits.parquet_dictionary import Dictionaries
from gristmill.records.readers.limits.thrift import I32, I64, Compact

# What the pages that are unpacked at one time may take together. The largest that common writers make have 100 MB.
MAX_OPEN_BYTES = 256 * 1024 * 1024
# The footer has some hundred bytes for each column of each row group.
MAX_FOOTER_BYTES = 8 * 1024 * 1024
# Longest header of a page; it may hold the page's smallest and largest value.
_MAX_HEADER = 1024 * 1024
_FIRST_READ = 512
_MAGIC = b"PAR1"
# Kinds of pages and encodings, as parquet.thrift numbers them.
_DICTIONARY_PAGE, _DATA_PAGE_V2 = 2, 3
# The field of a page header that has what is said of its kind.
_HEADERS = {0: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_V2: 8}
_PLAIN_DICTIONARY, _DELTA_LENGTHS, _DICTIONARY = 2, 6, 8
# A page holds these texts as they are.
_PLAIN = frozenset({0, _DELTA_LENGTHS})
# What a value takes besides its text: a number, or where its text begins.
_VALUE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Leaf:
    """One column of the schema as pyarrow reads it; one leaf of it, where it is nested.

    path: the names that lead to it, with dots between them. texts: whether its values have lengths of their own.
    levels: of how many lists it is a part.
    """

    path: str
    texts: bool
    levels: int

    @property
    def nested(self) -> bool:
        return "." in self.path


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """A leaf in a row group.

    values: how many there are, nulls and empty lists among them. start, size: its bytes, packed. codec: the number that
    parquet.thrift has for it.
    """

    path: tuple[str, ...]
    values: int
    start: int
    size: int
    codec: int

    @property
    def column(self) -> str:
        return self.path[0]


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


_NOT_READ = ChunkSize(0, 0.0, 0, 0)


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
        return [_row_group(group) for group in _typed(footer, 4, list)]
    except (IndexError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise _broken(f"The footer of the Parquet file is damaged: {error}"[:300]) from error


def _row_group(group: dict[int, Any]) -> RowGroup:
    return RowGroup(_typed(group, 3, I64), tuple(_chunk(column[3]) for column in _typed(group, 1, list)))


def _chunk(facts: dict[int, Any]) -> ColumnChunk:
    data = _typed(facts, 9, I64)
    dictionary = _typed(facts, 11, I64) if 11 in facts else 0
    start = dictionary if 0 < dictionary < data else data
    path = tuple(name.decode() for name in _typed(facts, 3, list))
    return ColumnChunk(path or ("",), _typed(facts, 5, I64), start, _typed(facts, 7, I64), _typed(facts, 4, I32))


def _typed(fields: dict[int, Any], number: int, kind: type[Any]) -> Any:
    """Return a field. Raises ValueError unless it is there and written as its type: readers pass over others."""
    found = fields.get(number)
    if not isinstance(found, kind):
        raise ValueError(f"the field {number} is not there, or not of its type")
    return found


def check_group(
    file: BinaryIO,
    group: RowGroup,
    number: int,
    leaves: Sequence[Leaf],
    dictionaries: Dictionaries,
    passed_over: Container[int] = (),
) -> GroupSize:
    """Return the size of a row group. Raises Malformed for pages that are not there, Invalid for too large ones.

    passed_over: indexes of leaves that are not read, and so take nothing.
    """
    _check_chunks(file, group, number, leaves)
    chunks = [
        _NOT_READ if index in passed_over else _walk(file, chunk, number, leaf, dictionaries)
        for index, (chunk, leaf) in enumerate(zip(group.chunks, leaves, strict=True))
    ]
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


def _check_chunks(file: BinaryIO, group: RowGroup, number: int, leaves: Sequence[Leaf]) -> None:
    """Raise Malformed where a row group is not what the schema says: sizes are found out by the schema."""
    size = file.seek(0, io.SEEK_END)
    what = f"Row group {number} of the Parquet file"
    if [".".join(chunk.path) for chunk in group.chunks] != [leaf.path for leaf in leaves]:
        shown = ", ".join(".".join(chunk.path) for chunk in group.chunks)[:200]
        raise _broken(f"{what} has the columns {shown}: these are not the ones of the schema")
    for chunk, leaf in zip(group.chunks, leaves, strict=True):
        if not 0 <= chunk.start <= chunk.start + chunk.size <= size or chunk.size < 0:
            raise _broken(f"The column {chunk.column} in row group {number} of the Parquet file stands nowhere in it")
        if not 0 <= group.rows <= chunk.values or (chunk.values != group.rows and not leaf.levels):
            raise _broken(f"{what} has {group.rows} records, and {chunk.values} values in the column {chunk.column}")


def _walk(file: BinaryIO, chunk: ColumnChunk, group: int, leaf: Leaf, dictionaries: Dictionaries) -> ChunkSize:
    position, end = chunk.start, chunk.start + chunk.size
    page = seen = largest = dictionary = in_dictionary = longest = written_out = 0
    densest = 0.0
    while position < end and seen < chunk.values:
        where = f"Page {page} of the column {chunk.column} in row group {group} of the Parquet file"
        header, length = _read_header(file, position, where)
        try:
            kind, unpacked, packed = (_typed(header, field, I32) for field in (1, 2, 3))
            count, encoding = _values_and_encoding(header, kind)
        except ValueError as error:
            raise _broken(f"{where} has no readable header: {error}") from error
        if unpacked < 0 or packed < 0 or count < 0 or (not chunk.codec and packed != unpacked):
            raise _broken(f"{where} has no size")
        if position + length + packed > end:
            raise _broken(f"{where} goes on beyond the end of the column: the file is damaged")
        if kind == _DICTIONARY_PAGE:
            dictionary += max(packed, unpacked)
            if leaf.texts:
                file.seek(position + length)
                in_dictionary = max(in_dictionary, dictionaries.longest_in(file, chunk.codec, packed, unpacked, count))
        else:
            seen += count
            largest = max(largest, unpacked + packed)
            # A list takes a number for each of its values, and one that says where it begins.
            least = _VALUE_BYTES * (1 + leaf.levels) if leaf.nested else 0
            densest = max(densest, unpacked / max(1, count), least)
            # Texts that are told by those before them may have any part of the page, or of the dictionary if it is
            # not known how they are told.
            repeated = in_dictionary if encoding == _DICTIONARY else max(unpacked, dictionary)
            repeated = repeated if leaf.texts and encoding not in _PLAIN else 0
            longest = max(longest, repeated)
            written_out += unpacked + count * (_VALUE_BYTES * (1 + leaf.levels) + repeated)
        position += length + packed
        page += 1
    if seen != chunk.values:
        raise _broken(
            f"The column {chunk.column} in row group {group} of the Parquet file has {seen} values in its pages, and "
            f"should have {chunk.values}"
        )
    return ChunkSize(largest + dictionary, densest, longest, written_out)


def _values_and_encoding(header: dict[int, Any], kind: int) -> tuple[int, int]:
    """Return how many values a page has, and how they are encoded (both ways of dictionaries as one).

    Raises ValueError for kinds of pages that no writer puts there, and for a header that is of two kinds: other readers
    may take another one.
    """
    if kind not in _HEADERS or [field for field in _HEADERS.values() if field in header] != [_HEADERS[kind]]:
        raise ValueError(f"it is a page of the kind {kind} without that kind's header alone")
    facts = _typed(header, _HEADERS[kind], dict)
    encoding = _typed(facts, 4 if kind == _DATA_PAGE_V2 else 2, I32)
    return _typed(facts, 1, I32), _DICTIONARY if encoding == _PLAIN_DICTIONARY else encoding


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
