"""Validation of whole columns at once, in compiled Arrow and numpy operations.

What a column's type says about all of its values is checked by the schema; every value is then judged by operations on
the column. A judgement is never a guess: a value that is bad, or that these operations cannot judge, is only *marked*,
and its record goes through the precise validation, which accepts it or names its mistakes. So both ways accept the same
records and give equal values; a property test compares them.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core.errors import Violation
from gristmill.datasets.contract import EMBEDDING_COLUMN, FieldSpec
from gristmill.datasets.describe import describe, shorten
from gristmill.datasets.types import TYPES
from gristmill.records.validation.accepted import accepted_columns, is_accepted, storage_type
from gristmill.records.validation.cells import read_cells
from gristmill.records.validation.numbers import check_boolean, check_decimal, check_float, check_integer
from gristmill.records.validation.rows import RecordValidator, escape_pointer, shorten_name
from gristmill.records.validation.texts import check_image, check_json, check_text, check_uuid
from gristmill.records.validation.times import check_date, check_timestamp
from gristmill.records.validation.vectors import check_embedding, check_vector

Mask = npt.NDArray[np.bool_]

_CHECKS = {
    "text": check_text,
    "integer": check_integer,
    "float": check_float,
    "decimal": check_decimal,
    "boolean": check_boolean,
    "timestamp": check_timestamp,
    "date": check_date,
    "uuid": check_uuid,
    "json": check_json,
    "vector": check_vector,
    "image": check_image,
}


def check_schema(validator: RecordValidator, schema: pa.Schema) -> list[Violation]:
    """Return one place for each column that no record could fit by, and for each that is missing."""
    violations = []
    for index, name in enumerate(schema.names):
        kind, pointer = schema.field(index).type, f"/{escape_pointer(shorten_name(name))}"
        field = validator.fields.get(name)
        if field is None:
            known = ", ".join(validator.fields)
            reason = f"The column {shorten(name)} ({shorten_name(str(kind))}) is not a field; the fields are: {known}"
            code, reason = validator.unknown_member(name, reason)
            violations.append(Violation(pointer, code, reason, field=shorten_name(name)))
        elif name in schema.names[:index]:
            reason = f"The column {shorten(name)} occurs twice"
            violations.append(Violation(pointer, "duplicate", reason, field=name))
        elif not is_accepted(field, kind):
            valid = f"valid for {describe(field)} is {accepted_columns(field)}"
            reason = f"The column {name} is of the Arrow type {shorten_name(str(kind))}: {valid}"
            violations.append(Violation(pointer, "wrong_type", reason, field=name))
    for name, field in validator.fields.items():
        # A column of vectors has to be there, lest a misspelt one make records that no search finds.
        if name not in schema.names and (field.required or name == EMBEDDING_COLUMN):
            reason = f"The required column {name} is missing: expected {describe(field)}, as {accepted_columns(field)}"
            violations.append(Violation(f"/{name}", "missing", reason, field=name))
    return violations


def check_columns(validator: RecordValidator, table: pa.Table, cells: bool = False) -> tuple[pa.Table, Mask]:
    """Return the payload columns made of ``table`` and a mask of the rows that the precise way has to look at.

    table: columns that ``check_schema`` accepts; those of optional fields may be missing. cells: all columns are text,
    as in CSV, and each cell stands for the JSON value that it would be. Marked rows hold nothing of use.
    """
    bad = np.zeros(table.num_rows, np.bool_)
    columns = {}
    for name in (*(field.name for field in validator.contract.fields), EMBEDDING_COLUMN):
        field = validator.fields.get(name)
        if field is None:
            continue
        if name in table.column_names:
            column, marked = _judge(validator, field, _whole(table.column(name)), cells)
            bad |= marked
        else:
            column = pa.nulls(table.num_rows, _payload_type(field))
            bad |= field.required or name == EMBEDDING_COLUMN
        columns[name] = column
    return pa.table(columns), bad


def _judge(validator: RecordValidator, field: FieldSpec, array: pa.Array, cells: bool) -> tuple[pa.Array, Mask]:
    bad = array.is_null().to_numpy(zero_copy_only=False) if array.null_count and field.required else None
    marked = np.zeros(len(array), np.bool_) if bad is None else bad
    if array.null_count == len(array):
        return pa.nulls(len(array), _payload_type(field)), marked
    if cells:
        array, unread = read_cells(field, array)
        marked |= unread
    if field.name == EMBEDDING_COLUMN:
        column, wrong = check_embedding(validator.contract, array)
    else:
        column, wrong = _CHECKS[field.type](field, array)
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
    plain = storage_type(array.type)
    return array if plain == array.type else array.cast(plain)


def _payload_type(field: FieldSpec) -> Any:
    return TYPES[field.type].arrow(field)
