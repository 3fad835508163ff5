"""Validation of whole columns at once, in compiled Arrow and numpy operations.

What a column's type says about all of its values is checked by the schema; every value is then checked by operations on
the column, which stand in the file of the field's type. A value that is bad, or that these operations cannot judge, is
only *marked*, and its record is validated by itself, which accepts it or names its mistakes. So both ways accept the
same records and give equal values; a property test compares them.
"""

import json
import re

import numpy as np
import pyarrow as pa

from gristmill.core.errors import Violation
from gristmill.datasets.contract import EXTRA_COLUMN, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.columns import Checked, Mask, as_python, plain_type
from gristmill.datasets.types.json import read_plain
from gristmill.datasets.types.validators import default_column, expected, not_in_enum
from gristmill.kit.json_pointer import escape_pointer
from gristmill.records.columns import GIVEN_COLUMN, Row, pack_given, unpack_given
from gristmill.records.validation.collect import check_unknown, collect, refuse_type
from gristmill.records.validation.rows import RecordValidator, shorten_name

_PANDAS_INDEX = re.compile(r"__index_level_[0-9]+__")


def check_schema(validator: RecordValidator, schema: pa.Schema) -> list[Violation]:
    """Return one place for each column that no record could fit by, and for each that is missing."""
    violations = []
    names, seen = schema.names, set[str]()
    if not names:
        violations.append(Violation("", "missing", "The body has no column, and so no records"))
    for index, name in enumerate(names):
        kind, pointer = schema.field(index).type, f"/{escape_pointer(shorten_name(name))}"
        field = validator.fields.get(name)
        if field is None:
            known = ", ".join(validator.fields)
            reason = f"The column {shorten(name)} ({shorten_name(str(kind))}) is not a field; the fields are: {known}"
            if _PANDAS_INDEX.fullmatch(name):
                reason += "; it is the index of a pandas frame, which to_parquet(…, index=False) leaves out"
            found = validator.unknown_member(name, reason) or refuse_type(validator, name, kind)
            if found is not None:
                violations.append(Violation(pointer, *found, field=shorten_name(name)))
                continue
        if name in seen:
            reason = f"The column {shorten(name)} occurs twice"
            violations.append(Violation(pointer, "duplicate", reason, field=shorten_name(name)))
        elif field is not None and not TYPES[field.type].accepts_column(field, kind):
            valid = f"valid for {_expected(field, ' is ')}"
            reason = f"The column {name} is of the Arrow type {shorten_name(str(kind))}: {valid}"
            violations.append(Violation(pointer, "wrong_type", reason, field=name))
        seen.add(name)
    violations += check_unknown(validator, names)
    for name, field in validator.fields.items():
        if name not in seen and validator.must_be_given(field):
            reason = f"The required column {name} is missing: expected {_expected(field, ', as ')}"
            violations.append(Violation(f"/{name}", "missing", reason, field=name))
    return violations


def check_columns(validator: RecordValidator, table: pa.Table, cells: bool = False) -> tuple[pa.Table, Mask]:
    """Return the payload columns made of ``table`` and a mask of the rows that the precise way has to look at.

    table: columns that ``check_schema`` accepts; those of optional fields may be missing. cells: all columns are text,
    as in CSV, and each cell stands for the JSON value that it would be. Marked rows hold nothing of use.
    """
    bad = np.zeros(table.num_rows, np.bool_)
    columns = {}
    extra = collect(validator, table) if validator.unknown == "collect" else None
    for name, field in validator.fields.items():
        if extra is not None and name == EXTRA_COLUMN:
            columns[name] = extra.column
            bad |= extra.bad
        elif name in table.column_names:
            columns[name], marked = _check(field, _whole(table.column(name)), cells)
            bad |= marked
        else:
            columns[name] = default_column(TYPES[field.type], field, table.num_rows)
            bad |= validator.must_be_given(field)
    if validator.partial:
        given = np.array([name in table.column_names for name in validator.fields], np.bool_)
        matrix = np.tile(given, (table.num_rows, 1))
        if extra is not None:
            matrix[:, list(validator.fields).index(EXTRA_COLUMN)] = extra.given
        columns[GIVEN_COLUMN] = pack_given(matrix)
    return pa.table(columns), bad


def show_row(validator: RecordValidator, table: pa.Table, index: int) -> bytes:
    """Return row ``index`` of accepted columns, or of a payload, as a JSON object; what JSON cannot hold is text."""
    row: Row = {}
    # Of a payload: a column that clients call so is never binary.
    if GIVEN_COLUMN in table.column_names and pa.types.is_binary(table.schema.field(GIVEN_COLUMN).type):
        names = list(validator.fields)
        (given,) = unpack_given(table.column(GIVEN_COLUMN).slice(index, 1), len(names))
        table = table.select([name for name, one in zip(names, given, strict=True) if one])
    for name, column in zip(table.column_names, table.columns, strict=True):
        field, value = validator.fields.get(name), column[index]
        try:
            row[name] = read_plain(value) if field is None else TYPES[field.type].from_arrow(field, value)
        except ValueError:
            row[name] = as_python(value)
    return json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "replace")


def _expected(field: FieldSpec, joint: str) -> str:
    return f"{expected(TYPES[field.type], field)}{joint}{TYPES[field.type].accepted(field)}"


def _check(field: FieldSpec, array: pa.Array, cells: bool) -> Checked:
    kind, marked = TYPES[field.type], np.zeros(len(array), np.bool_)
    if array.null_count and field.required:
        marked = array.is_null().to_numpy(zero_copy_only=False)
    if array.null_count == len(array):
        return pa.nulls(len(array), kind.arrow(field)), marked
    if cells:
        array, unread = kind.read_cells(field, array)
        marked |= unread
    column, wrong = kind.check_column(field, array)
    if field.enum is not None:
        wrong = wrong | not_in_enum(kind, field, column)
    return column, marked | wrong


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array of a plain type, without dictionaries and extension types."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    plain = plain_type(array.type)
    return array if plain == array.type else array.cast(plain)
