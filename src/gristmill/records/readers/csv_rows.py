"""CSV row by row, so that every mistake has its line. An unquoted empty cell is null, ``""`` is the empty string."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gristmill.core.errors import Malformed
from gristmill.records.readers.context import MAX_RECORD_BYTES, malformed, read_lines
from gristmill.records.validation.tokens import BOM

_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",]*))(,|$)', re.DOTALL)

# A cell is its text, or None when it was empty and not quoted.
Cells = list[str | None]


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row of the body. cells: None where the row cannot be split, for the reason ``broken``."""

    line: int
    raw: bytes
    cells: Cells | None
    broken: str = ""


def read_rows(file: BinaryIO, before: int = 0) -> Iterator[CsvRow]:
    """Yield the rows from the file's position on, the header's included. Raises Malformed at a quote never closed.

    before: how many lines of the body come before the position.
    """
    lines = read_lines(file, before)
    for number, raw in lines:
        if raw.count(b'"') % 2:
            raw = _join_quoted(number, raw, lines)
        raw = raw.rstrip(b"\r\n")
        if not raw:
            continue
        if raw.startswith(BOM):
            reason = "The row starts with a byte order mark, which may only stand at the very start of a body"
            yield CsvRow(number, raw, None, reason)
            continue
        try:
            yield CsvRow(number, raw, split_row(raw.decode()))
        except UnicodeDecodeError as error:
            reason = f"Byte {error.start + 1} of the row, 0x{raw[error.start]:02x}, is not UTF-8"
            yield CsvRow(number, raw, None, reason)
        except ValueError as error:
            yield CsvRow(number, raw, None, str(error))


def _join_quoted(number: int, raw: bytes, lines: Iterator[tuple[int, bytes]]) -> bytes:
    """Return the whole row that starts with ``raw``, whose last quoted cell goes on in the next lines."""
    parts, size = [raw], len(raw)
    for _, more in lines:
        parts.append(more)
        size += len(more)
        if size > MAX_RECORD_BYTES:
            break
        if more.count(b'"') % 2:
            return b"".join(parts)
    reason = "A quote is opened in this row and never closed"
    raise Malformed(f"Line {number}: {reason}", [malformed(reason, line=number)])


def split_row(text: str) -> Cells:
    """Return the cells of one row. Raises ValueError where a quote stands inside a cell."""
    if '"' not in text:
        return [cell or None for cell in text.split(",")]
    cells: Cells = []
    position = 0
    while True:
        match = _CELL.match(text, position)
        if match is None:
            rule = "quote the whole cell, and double the quotes in it"
            raise ValueError(f"Cell {len(cells) + 1} has a quote in the wrong place: {rule}")
        quoted, plain, end = match.groups()
        cells.append(quoted.replace('""', '"') if quoted is not None else plain or None)
        position = match.end()
        if not end:
            return cells
