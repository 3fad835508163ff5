"""Columns that are no fields: which of them are taken, and how they are collected in the column ``_extra``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic_core import ValidationError

from gristmill.core.errors import Violation
from gristmill.datasets.contract import EXTRA_COLUMN
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.columns import Mask, is_text
from gristmill.datasets.types.json import PLAIN_TYPES, read_plain, takes_plain
from gristmill.records.columns import Row
from gristmill.records.validation.rows import RecordValidator, shorten_name
from gristmill.records.validation.unknown import MAX_MEMBERS, too_many

# Characters of the names of columns together: a row of a few bytes becomes an object with all of them.
MAX_NAMES = 32_768


@dataclass(frozen=True, slots=True)
class Collected:
    """The payload column ``_extra``. bad: rows left to the precise way. given: rows that have it or unknown members."""

    column: pa.Array
    bad: Mask
    given: Mask


def check_unknown(validator: RecordValidator, names: Sequence[str]) -> Iterator[Violation]:
    """Yield what is wrong with the columns of a body together, where those that are no fields are taken."""
    if validator.unknown == "reject":
        return
    unknown = [name for name in names if name not in validator.fields]
    if len(unknown) > MAX_MEMBERS:
        yield Violation("", "too_many", too_many(len(unknown), "columns"))
    size = sum(map(len, unknown))
    if validator.unknown == "collect" and size > MAX_NAMES:
        reason = f"The names of the columns that are no fields have {size} characters together: at most {MAX_NAMES}"
        yield Violation("", "too_long", f"{reason}, as each record is stored with them")
    if unknown and validator.unknown == "ignore" and len(unknown) == len(names):
        known = ", ".join(validator.fields)
        yield Violation("", "missing", f"None of the columns is a field; the fields are: {known}")


def refuse_type(validator: RecordValidator, name: str, kind: pa.DataType) -> tuple[str, str] | None:
    """Return (code, reason) for a column that is no field and of a type that JSON has no form for; else None."""
    if validator.unknown != "collect" or takes_plain(kind):
        return None
    shown = shorten_name(str(kind))
    reason = f"The column {shorten(name)} is no field and of the Arrow type {shown}, which {EXTRA_COLUMN} cannot hold"
    return "wrong_type", f"{reason}: valid is {PLAIN_TYPES}"


def collect(validator: RecordValidator, table: pa.Table) -> Collected:
    """Return ``_extra`` of the rows of ``table``, whose columns ``check_schema`` accepts, or are cells of CSV."""
    field = validator.fields[EXTRA_COLUMN]
    records: list[Row] = [{} for _ in range(table.num_rows)]
    bad = np.zeros(table.num_rows, np.bool_)
    for name in table.column_names:
        if name != EXTRA_COLUMN and name in validator.fields:
            continue
        column = table.column(name)
        if column.null_count == len(column) and name != EXTRA_COLUMN:
            continue
        for row, scalar in enumerate(_plain(column) if name != EXTRA_COLUMN else column):
            if scalar is None:
                continue
            try:
                value = _value(scalar) if name != EXTRA_COLUMN else TYPES[field.type].from_arrow(field, scalar)
            except ValueError:
                bad[row] = True
                continue
            if value is not None or name == EXTRA_COLUMN:
                records[row][name] = value
    values: list[Any] = [None] * table.num_rows
    for row, record in enumerate(records):
        if record and not bad[row]:
            try:
                values[row] = validator.extra.validate_python(record).get(EXTRA_COLUMN)
            except ValidationError:
                bad[row] = True
    given = np.array([bool(record) for record in records], np.bool_)
    return Collected(TYPES[field.type].to_column(field, values), bad, given)


def _plain(column: pa.ChunkedArray) -> Any:
    """Return the values of a column that JSON has as Arrow has them, which are quick to get at once, or its scalars."""
    kind = column.type
    quick = is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_float64(kind)
    return column.to_pylist() if quick else column


def _value(item: Any) -> Any:
    return read_plain(item) if isinstance(item, pa.Scalar) else item
