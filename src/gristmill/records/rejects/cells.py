"""Rejects as values: the parts of a raw record that can be recognised, as JSON and as the cells of a CSV row."""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from gristmill.datasets.contract import EXTRA_COLUMN, FieldSpec, UnknownFields
from gristmill.datasets.types import TYPES
from gristmill.records.readers.csv_numbers import is_number, to_plain
from gristmill.records.readers.csv_rows import Cells, split_row
from gristmill.records.readers.csv_syntax import PLAIN, CsvSyntax
from gristmill.records.reject import NOTE_COLUMNS, RAW_COLUMN


class _Number(str):
    """A number of a JSON text, as it is written there: no digit is lost on the way to a cell."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """What is done with members that are no fields. refused: names that are none, whatever ``mode`` says."""

    mode: UnknownFields = "reject"
    refused: frozenset[str] = frozenset()

    def take(self, extra: Any, values: Mapping[str, Any], fields: Container[str]) -> dict[str, Any] | None:
        """Return ``_extra`` with the members of ``values`` that are none of the fields; None if there are none.

        Raises ValueError where they cannot be taken.
        """
        unknown = {name: value for name, value in values.items() if name not in fields}
        if not unknown:
            return None
        if self.mode == "reject" or self.refused & unknown.keys() or not isinstance(extra, dict | None):
            raise ValueError("the members have no place")
        return None if self.mode == "ignore" else {**(extra or {}), **unknown}


REFUSED = Unknown()


def json_values(raw: bytes) -> bytes | None:
    """Return ``raw`` as a JSON object on one line, otherwise as it was sent, or None if it is none."""
    try:
        value = from_json(raw, allow_inf_nan=False)
        raw.decode()
    except ValueError:
        return None
    # Between the tokens of a JSON text a line end is as good as a blank, and within them there is none.
    return raw.strip().replace(b"\r", b" ").replace(b"\n", b" ") if isinstance(value, dict) else None


def csv_values(raw: bytes, columns: Sequence[str], syntax: CsvSyntax = PLAIN) -> dict[str, str | None] | None:
    """Return the cells of a CSV row by their columns, without notes; None if the row cannot be split."""
    cells = _split(raw, columns, syntax)
    if cells is None:
        return None
    return {name: cell for name, cell in zip(columns, cells, strict=True) if name not in NOTE_COLUMNS}


def csv_cells(
    raw: bytes,
    columns: Sequence[str] | None,
    fields: Mapping[str, FieldSpec],
    others: Unknown = REFUSED,
    syntax: CsvSyntax = PLAIN,
) -> tuple[Cells, str | None]:
    """Return the cells of ``fields``, in their order, and what of ``raw`` does not fit into them, or None.

    columns: the header of the body if it was CSV. others: what is done with members that are none of the fields.
    syntax: of the CSV body. Numbers come out as they are in the default dialect, if they are numbers.
    """
    if columns is not None:
        cells = _split(raw, columns, syntax)
        if cells is None:
            return [None] * len(fields), readable(raw)
        found = dict(zip(columns, cells, strict=True))
        if not syntax.dialect.has_plain_numbers:
            found |= _plain_numbers(found, fields, syntax)
        if others.mode == "collect":
            more = {name: cell for name, cell in found.items() if cell is not None and name not in NOTE_COLUMNS}
            extra = more.get(EXTRA_COLUMN)
            try:
                taken = others.take(
                    None if extra is None else json.loads(extra, parse_int=_Number, parse_float=_Number), more, fields
                )
            except (ValueError, RecursionError):
                return [found.get(name) for name in fields], readable(raw)
            found[EXTRA_COLUMN] = found.get(EXTRA_COLUMN) if taken is None else _dump(taken)
        return _whole([found.get(name) for name in fields], found.get(RAW_COLUMN), raw)
    try:
        values = _parse(raw)
        rest = None
        try:
            taken = others.take(values.get(EXTRA_COLUMN), values, fields)
            values = values if taken is None else {**values, EXTRA_COLUMN: taken}
        except ValueError:
            rest = readable(raw)
        return _whole([_cell(field, values.get(name)) for name, field in fields.items()], rest, raw)
    except (ValueError, RecursionError):
        return [None] * len(fields), readable(raw)


def csv_line(cells: Sequence[str | None], syntax: CsvSyntax = PLAIN) -> bytes:
    """Return a CSV row with its line end, such that the CSV reader gives the same cells back."""
    return (syntax.delimiter.join(csv_cell(cell, syntax) for cell in cells) + "\r\n").encode()


def readable(raw: bytes) -> str:
    """Return ``raw`` as text; NUL, and bytes that are no UTF-8, are written as escapes."""
    return raw.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _whole(cells: Cells, rest: str | None, raw: bytes) -> tuple[Cells, str | None]:
    """Return the cells and the rest; all as rest where a cell holds NUL, which spreadsheets and editors cut or lose."""
    if any("\0" in cell for cell in (*cells, rest) if cell):
        return [None] * len(cells), readable(raw)
    return cells, rest


def _split(raw: bytes, columns: Sequence[str], syntax: CsvSyntax) -> Cells | None:
    try:
        cells = split_row(raw.decode(), syntax)
    except ValueError:
        return None
    return cells if len(cells) == len(columns) else None


def _plain_numbers(
    cells: Mapping[str, str | None], fields: Mapping[str, FieldSpec], syntax: CsvSyntax
) -> dict[str, str | None]:
    """Return the cells of number fields as the default dialect writes them; what is no number stays as it is."""
    decimal, thousands = syntax.dialect.decimal, syntax.dialect.thousands
    numbers = {name: cell for name, cell in cells.items() if cell and name in fields and is_number(fields[name])}
    return {name: to_plain(cell, decimal, thousands) or cell for name, cell in numbers.items()}


def csv_cell(cell: str | None, syntax: CsvSyntax = PLAIN) -> str:
    """Return a cell as CSV (RFC 4180) has it: null is an empty cell, empty text is ``""``."""
    if cell is None:
        return ""
    quote = syntax.quote
    if cell not in syntax.nulls and not any(sign in cell for sign in (syntax.delimiter, quote, "\r", "\n")):
        return cell
    return quote + cell.replace(quote, quote * 2) + quote


def _parse(raw: bytes) -> dict[str, Any]:
    # Refuses what the standard library lets pass: NaN, and halves of surrogate pairs, which no UTF-8 can hold.
    from_json(raw, allow_inf_nan=False)
    value = json.loads(raw.decode(), parse_int=_Number, parse_float=_Number)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _cell(field: FieldSpec, value: Any) -> str | None:
    if value is None:
        return None
    if not TYPES[field.type].cell_is_json and isinstance(value, str):
        return str(value)
    return _dump(value)


def _dump(value: Any) -> str:
    """Return the JSON text of a value in which numbers are ``_Number``."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_dump(name)}:{_dump(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
