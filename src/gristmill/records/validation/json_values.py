"""Rows of Arrow columns as the JSON-like values that the precise validation takes, one row at a time.

Nothing is lost on the way: a timestamp of 9 digits becomes a text of 9 digits, for the validation to refuse and show.
"""

import base64
import contextlib
import json
import uuid
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic_core import from_json

from gristmill.datasets.contract import FieldSpec
from gristmill.records.columns import Row
from gristmill.records.validation.rows import RecordValidator


def read_row(validator: RecordValidator, table: pa.Table, index: int) -> Row:
    """Return row ``index`` of ``table``, whose columns are fields, as JSON-like values; JSON as its text."""
    return {
        name: to_json_value(validator.fields[name], table.column(place)[index])
        for place, name in enumerate(table.column_names)
    }


def show_row(validator: RecordValidator, table: pa.Table, index: int) -> bytes:
    """Return row ``index`` as a JSON object; what JSON cannot hold is shown as text."""
    row = read_row(validator, table, index)
    for name, value in row.items():
        if validator.fields[name].type == "json" and value is not None:
            # What is no JSON is shown as the text that it is.
            with contextlib.suppress(ValueError):
                row[name] = from_json(value, allow_inf_nan=False)
    return json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "replace")


def to_json_value(field: FieldSpec, scalar: pa.Scalar) -> Any:
    """Return one value of a column for ``field``."""
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_dictionary(kind):
        return to_json_value(field, scalar.value)
    if isinstance(scalar, pa.ExtensionScalar):
        return to_json_value(field, scalar.value)
    if pa.types.is_timestamp(kind):
        return _timestamp_text(scalar.value, kind.unit) + ("" if kind.tz is None else "Z")
    if pa.types.is_date64(kind):
        return str(np.datetime64(scalar.value // 86_400_000, "D"))
    if pa.types.is_date32(kind):
        return str(np.datetime64(scalar.value, "D"))
    value = scalar.as_py()
    if pa.types.is_decimal(kind):
        return format(value, "f")
    if field.type == "uuid" and isinstance(value, bytes):
        return str(uuid.UUID(bytes=value))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def _timestamp_text(value: int, unit: Literal["s", "ms", "us", "ns"]) -> str:
    text = str(np.datetime64(value, unit))
    # Nanoseconds are printed with 9 digits always; zeros at the end are no digits that could be lost.
    return text[:-3] if unit == "ns" and text.endswith("000") else text
