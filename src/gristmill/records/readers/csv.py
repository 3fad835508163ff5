"""CSV after RFC 4180 or in another dialect, with a header row.

Rows are read in blocks, and one by one where a block has a mistake in it.

The standard library's reader cannot tell an empty cell from a quoted empty string, and Arrow's gives no line numbers:
here an unquoted empty cell is null and ``""`` is the empty string.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic_core import ValidationError

from gristmill.core.errors import MAX_LISTED, Invalid, Malformed, Violation
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.kit.json_pointer import escape_pointer
from gristmill.records.columns import Row
from gristmill.records.readers.context import ReadContext, RecordBlock, malformed, refuse, skip_bom
from gristmill.records.readers.csv_blocks import read_blocks
from gristmill.records.readers.csv_hints import cell_hint, header_hint
from gristmill.records.readers.csv_numbers import is_number, to_plain
from gristmill.records.readers.csv_rows import CsvRow, read_rows
from gristmill.records.readers.csv_syntax import syntax_of
from gristmill.records.readers.dialect import CsvDialect
from gristmill.records.readers.transcode import as_utf8
from gristmill.records.reject import RAW_COLUMN
from gristmill.records.validation.collect import check_unknown
from gristmill.records.validation.rows import Problems, shorten_name
from gristmill.records.validation.tokens import Token, read_tokens


def read_csv(source: ReadContext) -> Iterator[RecordBlock]:
    """Yield the records of a CSV body."""
    file = as_utf8(source.file, source.dialect.encoding)
    if file is not source.file:
        source = replace(source, file=file)
    skip_bom(file, named=True)
    header = next(read_rows(file, syntax_of(source.dialect)), None)
    if header is None:
        raise Invalid(
            "The body is empty: a CSV body starts with a header row", [Violation("", "empty", "No header row")]
        )
    names = _check_header(source, header)
    if source.on_header is not None:
        source.on_header(names)
    before = header.line + header.raw.count(b"\n")
    skip_bom(file, named=True)
    for _ in range(before):
        file.readline()
    yield from read_blocks(source, names, before, partial(_validate, source, names))


def _check_header(source: ReadContext, row: CsvRow) -> list[str]:
    """Return the names in the header. Raises Malformed, and Invalid for empty, unknown and repeated names."""
    problems = Problems()
    fields = source.validator.fields
    hint = header_hint(row, fields, source.dialect, source.validator.unknown == "reject")
    if hint is not None:
        raise Malformed(f"line {row.line}: {hint[1]}; nothing was stored", [Violation("", *hint, line=row.line)])
    if row.cells is None:
        problems.add(malformed(row.broken, line=row.line))
    names = [name or "" for name in row.cells or []]
    known, seen = ", ".join(fields), set[str]()
    for index, name in enumerate(names):
        pointer = f"/{escape_pointer(shorten_name(name))}"
        if name not in fields and name not in source.passed_over:
            reason = f"Column {index + 1} of the header, {shorten(name)}, is not a field; the fields are: {known}"
            found = source.validator.unknown_member(name, reason)
            if found is not None:
                problems.add(Violation(pointer, *found, line=1, field=shorten_name(name)))
                continue
        if name in seen:
            reason = f"Column {index + 1} of the header is {shorten(name)}, as one before it"
            problems.add(Violation(pointer, "duplicate", reason, line=1, field=shorten_name(name)))
        seen.add(name)
    together = check_unknown(source.validator, [name for name in names if name not in source.passed_over])
    problems.add(*(replace(violation, line=1) for violation in together))
    problems.raise_if_any()
    return names


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
        if source.rejects is not None or len(source.problems.violations) < MAX_LISTED:
            violations = _hinted(source, names, csv_row, violations)
        refuse(source, record, line, csv_row.raw, violations, total)
        return None


def _hinted(source: ReadContext, names: list[str], csv_row: CsvRow, violations: Sequence[Violation]) -> list[Violation]:
    """Return violations that name the parameters by which their cells could be read, where there are any."""
    cells = dict(zip(names, csv_row.cells or [], strict=True))
    hinted = []
    for one in violations:
        field = source.validator.fields.get(one.field or "")
        hint = "" if field is None else cell_hint(cells.get(field.name), field, source.dialect)
        hinted.append(replace(one, reason=one.reason + hint) if hint else one)
    return hinted


def _tokens(names: list[str], csv_row: CsvRow, values: Row) -> dict[str, Any]:
    """Return the cells that were read as numbers, or as JSON with numbers in it, as they were sent."""
    found: dict[str, Any] = {}
    for name, cell in zip(names, csv_row.cells or [], strict=True):
        value = values.get(name)
        if isinstance(value, list | dict):
            found[name] = read_tokens((cell or "").encode())
        elif isinstance(value, int | float) or (isinstance(value, str) and value != cell):
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
    plain = source.dialect.has_plain_numbers
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
        text = cell
        if cell is not None and not plain and is_number(field):
            text = to_plain(cell, source.dialect.decimal, source.dialect.thousands)
            if text is None:
                reason = f"{shorten(cell)} is no number as the parameters say: {_signs(source.dialect)}"
                reason += cell_hint(cell, field, source.dialect)
                return Violation(f"/{record}/{name}", "wrong_type", reason, record, line, name)
        try:
            values[name] = None if text is None else TYPES[field.type].from_text(field, text)
        except ValueError as error:
            return Violation(f"/{record}/{name}", "not_json", f"{shorten(cell)}: {error}", record, line, name)
    return values


def _signs(dialect: CsvDialect) -> str:
    groups = "" if dialect.thousands is None else f" and thousands={dialect.thousands} between each three digits"
    return f"decimal={dialect.decimal}{groups}"
