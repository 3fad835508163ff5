"""CSV after RFC 4180, with a header row, read by line so that every error has its line number.

The standard library's reader cannot tell an empty cell from a quoted empty string, and Arrow's gives no line numbers:
here an unquoted empty cell is null and ``""`` is the empty string.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pydantic_core import ValidationError

from gristmill.core.errors import Invalid, Malformed, Place
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.records.readers.rows import Rows
from gristmill.records.readers.source import MAX_RECORD_BYTES, Source, Step, malformed, read_lines, refuse, skip_bom
from gristmill.records.reject import RAW_COLUMN
from gristmill.records.validate import Problems, Row, escape_pointer, shorten_name

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


def read_csv(source: Source) -> Iterator[Step]:
    """Yield the records of a CSV body."""
    skip_bom(source.file)
    csv_rows = _read_rows(source.file)
    first = next(csv_rows, None)
    if first is None:
        raise Invalid("The body is empty: a CSV body starts with a header row", [Place("", "empty", "No header row")])
    names = _check_header(source, first)
    if source.on_header is not None:
        source.on_header(names)
    rows = Rows(source)
    for record, csv_row in enumerate(csv_rows):
        row = _validate(source, names, csv_row, record)
        if row is not None:
            rows.add(record, row, len(csv_row.raw))
            if rows.full:
                yield from rows.take()
    yield from rows.take()


def _check_header(source: Source, row: CsvRow) -> list[str]:
    """Return the names in the header. Raises Malformed, and Invalid for empty, unknown and repeated names."""
    problems = Problems()
    if row.cells is None:
        problems.add(malformed(row.broken, line=row.line))
    names = [name or "" for name in row.cells or []]
    fields = source.validator.fields
    known = ", ".join(fields)
    for place, name in enumerate(names):
        pointer = f"/{escape_pointer(shorten_name(name))}"
        if name not in fields and name not in source.passed_over:
            reason = f"Column {place + 1} of the header, {shorten(name)}, is not a field; the fields are: {known}"
            problems.add(Place(pointer, "unknown_field", reason, line=1, field=shorten_name(name)))
        elif name in names[:place]:
            reason = f"The header names {name} twice"
            problems.add(Place(pointer, "duplicate", reason, line=1, field=name))
    problems.raise_if_any()
    return names


def _validate(source: Source, names: list[str], csv_row: CsvRow, record: int) -> Row | None:
    """Return the record in a row, or None after refusing it."""
    validator, line = source.validator, csv_row.line
    values: Row | Place = _read_values(source, names, csv_row, record)
    if isinstance(values, Place):
        refuse(source, record, line, csv_row.raw, [values])
        return None
    try:
        return validator.validate_python(values)
    except ValidationError as error:
        places, total = validator.places(error, f"/{record}", record, line)
        refuse(source, record, line, csv_row.raw, places, total)
        return None


def _read_values(source: Source, names: list[str], csv_row: CsvRow, record: int) -> Row | Place:
    """Return the JSON-like values of a row, or what is wrong with the row."""
    cells, line = csv_row.cells, csv_row.line
    if cells is None:
        return malformed(csv_row.broken, record, line)
    if len(cells) != len(names):
        reason = f"The row has {len(cells)} cells, the header {len(names)}"
        return Place(f"/{record}", "uneven_row", reason, record, line)
    values: Row = {}
    for name, cell in zip(names, cells, strict=True):
        if name in source.passed_over:
            if name == RAW_COLUMN and cell:
                reason = f"The record was not mended: move what {shorten(cell)} says to its columns and empty {name}"
                return Place(f"/{record}/{name}", "not_mended", reason, record, line, name)
            continue
        field = source.validator.fields[name]
        try:
            values[name] = None if cell is None else TYPES[field.type].from_text(field, cell)
        except ValueError as error:
            return Place(f"/{record}/{name}", "not_json", f"{shorten(cell)}: {error}", record, line, name)
    return values


def _read_rows(file: BinaryIO) -> Iterator[CsvRow]:
    """Yield the rows of the body, the header's included. Raises Malformed where a quote is never closed."""
    lines = read_lines(file)
    for number, raw in lines:
        if raw.count(b'"') % 2:
            raw = _join_quoted(number, raw, lines)
        raw = raw.rstrip(b"\r\n")
        if not raw:
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
