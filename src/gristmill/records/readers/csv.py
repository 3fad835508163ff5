"""CSV after RFC 4180, with a header row. Rows are read in blocks, and one by one where a block has a mistake in it.

The standard library's reader cannot tell an empty cell from a quoted empty string, and Arrow's gives no line numbers:
here an unquoted empty cell is null and ``""`` is the empty string.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic_core import ValidationError

from gristmill.core.errors import Invalid, Malformed, Violation
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.kit.json_pointer import escape_pointer
from gristmill.records.columns import Row
from gristmill.records.readers.context import ReadContext, RecordBlock, malformed, refuse, skip_bom
from gristmill.records.readers.csv_blocks import read_blocks
from gristmill.records.readers.csv_rows import CsvRow, read_rows
from gristmill.records.reject import RAW_COLUMN
from gristmill.records.validation.collect import check_unknown
from gristmill.records.validation.rows import Problems, shorten_name
from gristmill.records.validation.tokens import Token, read_tokens


def read_csv(source: ReadContext) -> Iterator[RecordBlock]:
    """Yield the records of a CSV body."""
    skip_bom(source.file)
    header = next(read_rows(source.file), None)
    if header is None:
        raise Invalid(
            "The body is empty: a CSV body starts with a header row", [Violation("", "empty", "No header row")]
        )
    names = _check_header(source, header)
    if source.on_header is not None:
        source.on_header(names)
    before = header.line + header.raw.count(b"\n")
    skip_bom(source.file)
    for _ in range(before):
        source.file.readline()
    yield from read_blocks(source, names, before, partial(_validate, source, names))


def _check_header(source: ReadContext, row: CsvRow) -> list[str]:
    """Return the names in the header. Raises Malformed, and Invalid for empty, unknown and repeated names."""
    problems = Problems()
    if row.cells is None:
        problems.add(malformed(row.broken, line=row.line))
    sent = [name or "" for name in row.cells or []]
    names = [name if name in source.passed_over else source.validator.name_of(name) for name in sent]
    fields = source.validator.fields
    delimiter = _delimiter(names, fields)
    if delimiter is not None:
        reason = f"The cells of the header are separated by {delimiter}: a CSV body needs commas"
        raise Malformed(f"line 1: {reason}; nothing was stored", [Violation("", "wrong_delimiter", reason, line=1)])
    known, seen = ", ".join(fields), set[str]()
    for index, name in enumerate(names):
        pointer = f"/{escape_pointer(shorten_name(sent[index]))}"
        if name not in fields and name not in source.passed_over:
            reason = f"Column {index + 1} of the header, {shorten(name)}, is not a field; the fields are: {known}"
            found = source.validator.unknown_member(name, reason)
            if found is not None:
                problems.add(Violation(pointer, *found, line=1, field=shorten_name(name)))
                continue
        if name in seen:
            reason = f"Column {index + 1} of the header is {shorten(sent[index])}, as one before it"
            problems.add(Violation(pointer, "duplicate", reason, line=1, field=shorten_name(name)))
        seen.add(name)
    together = check_unknown(source.validator, [name for name in names if name not in source.passed_over])
    problems.add(*(replace(violation, line=1) for violation in together))
    problems.raise_if_any()
    return names


def _delimiter(names: list[str], fields: Iterable[str]) -> str | None:
    """Return what a header that makes no sense with commas is separated by, shown as JSON."""
    for delimiter in (";", "\t", "|"):
        parts = ",".join(names).split(delimiter)
        if len(parts) > 1 and parts[0].strip('" ') in fields and names[0] not in fields:
            return json.dumps(delimiter)
    return None


def _validate(source: ReadContext, names: list[str], csv_row: CsvRow, record: int) -> Row | None:
    """Return the record in a row, or None after refusing it."""
    validator, line = source.validator, csv_row.line
    values: Row | Violation = _read_values(source, names, csv_row, record)
    if isinstance(values, Violation):
        refuse(source, record, line, csv_row.raw, [values])
        return None
    try:
        return validator.validate_python(values)
    except ValidationError as error:
        tokens = _tokens(names, csv_row, values)
        violations, total = validator.violations(error, f"/{record}", record, line, tokens=tokens)
        refuse(source, record, line, csv_row.raw, violations, total)
        return None


def _tokens(names: list[str], csv_row: CsvRow, values: Row) -> dict[str, Any]:
    """Return the cells that were read as numbers, or as JSON with numbers in it, as they were sent."""
    found: dict[str, Any] = {}
    for name, cell in zip(names, csv_row.cells or [], strict=True):
        value = values.get(name)
        if isinstance(value, list | dict):
            found[name] = read_tokens((cell or "").encode())
        elif isinstance(value, int | float):
            found[name] = Token(cell or "")
    return found


def _read_values(source: ReadContext, names: list[str], csv_row: CsvRow, record: int) -> Row | Violation:
    """Return the JSON-like values of a row, or what is wrong with the row."""
    cells, line = csv_row.cells, csv_row.line
    if cells is None:
        return Violation(f"/{record}", csv_row.code, csv_row.broken, record, line)
    if len(cells) != len(names):
        reason = f"The row has {len(cells)} cells, the header {len(names)}"
        return Violation(f"/{record}", "uneven_row", reason, record, line)
    values: Row = {}
    for name, cell in zip(names, cells, strict=True):
        if name in source.passed_over:
            if name == RAW_COLUMN and cell:
                reason = f"The record was not mended: move what {shorten(cell)} says to its columns and empty {name}"
                return Violation(f"/{record}/{name}", "not_mended", reason, record, line, name)
            continue
        field = source.validator.fields.get(name)
        if field is None:
            if cell is not None and source.validator.unknown == "collect":
                values[name] = cell
            continue
        try:
            values[name] = None if cell is None else TYPES[field.type].from_text(field, cell)
        except ValueError as error:
            return Violation(f"/{record}/{name}", "not_json", f"{shorten(cell)}: {error}", record, line, name)
    return values
