"""CSV after RFC 4180, with a header row, read by line so that every error has its line number.

The standard library's reader cannot tell an empty cell from a quoted empty string, and Arrow's gives no line numbers:
here an unquoted empty cell is null and ``""`` is the empty string.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from pydantic_core import ValidationError

from gristmill.core.errors import Invalid, Malformed, Place
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.records.readers.source import MAX_RECORD_BYTES, Source, malformed, read_lines, skip_bom
from gristmill.records.validate import Problems, RecordValidator, Row, escape_pointer, shorten_name

_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",]*))(,|$)', re.DOTALL)

# A cell is its text, or None when it was empty and not quoted.
Cells = list[str | None]


def read_csv(source: Source) -> Iterator[tuple[Row, int]]:
    """Yield the records of a CSV body."""
    skip_bom(source.file)
    rows = _read_rows(source.file, source.problems)
    first = next(rows, None)
    if first is None:
        source.problems.raise_if_any()
        raise Invalid("The body is empty: a CSV body starts with a header row", [Place("", "empty", "No header row")])
    names = _check_header(source.validator, first[1])
    for record, (line, cells, size) in enumerate(rows):
        row = None if cells is None else _validate(source, names, cells, record, line)
        if row is not None:
            yield row, size


def _check_header(validator: RecordValidator, cells: Cells | None) -> list[str]:
    """Return the names in the header. Raises Invalid for empty, unknown and repeated ones."""
    problems = Problems()
    names = [name or "" for name in cells or []]
    known = ", ".join(validator.fields)
    for place, name in enumerate(names):
        pointer = f"/{escape_pointer(shorten_name(name))}"
        if name not in validator.fields:
            reason = f"Column {place + 1} of the header, {shorten(name)}, is not a field; the fields are: {known}"
            problems.add(Place(pointer, "unknown_field", reason, line=1, field=shorten_name(name)))
        elif name in names[:place]:
            reason = f"The header names {name} twice"
            problems.add(Place(pointer, "duplicate", reason, line=1, field=name))
    problems.raise_if_any()
    return names


def _validate(source: Source, names: list[str], cells: Cells, record: int, line: int) -> Row | None:
    validator, pointer = source.validator, f"/{record}"
    if len(cells) != len(names):
        reason = f"The row has {len(cells)} cells, the header {len(names)}"
        source.problems.add(Place(pointer, "uneven_row", reason, record, line))
        return None
    values: Row = {}
    for name, cell in zip(names, cells, strict=True):
        field = validator.fields[name]
        try:
            values[name] = None if cell is None else TYPES[field.type].from_text(field, cell)
        except ValueError as error:
            reason = f"{shorten(cell)}: {error}"
            source.problems.add(Place(f"{pointer}/{name}", "not_json", reason, record, line, name))
            return None
    try:
        return validator.validate_python(values)
    except ValidationError as error:
        places, total = validator.places(error, pointer, record, line)
        source.problems.add(*places, total=total)
        return None


def _read_rows(file: BinaryIO, problems: Problems) -> Iterator[tuple[int, Cells | None, int]]:
    """Yield (first line, cells, bytes) of each row; the cells are None where the row was reported as a problem."""
    record = -1  # The header is no record.
    lines = read_lines(file)
    for number, raw in lines:
        if raw.count(b'"') % 2:
            raw = _join_quoted(number, raw, lines)
        raw = raw.rstrip(b"\r\n")
        if not raw:
            continue
        where = None if record < 0 else record
        cells: Cells | None = None
        try:
            cells = _split(raw.decode())
        except UnicodeDecodeError as error:
            reason = f"Byte {error.start + 1} of the row, 0x{raw[error.start]:02x}, is not UTF-8"
            problems.add(malformed(reason, where, number))
        except ValueError as error:
            problems.add(malformed(str(error), where, number))
        if record < 0:
            problems.raise_if_any()
        yield number, cells, len(raw)
        record += 1


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


def _split(text: str) -> Cells:
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
