"""Stored rows as Arrow tables: what COPY is asked for, and what becomes of its text."""

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import TYPES


def type_metadata(field: FieldSpec) -> dict[str, str]:
    """Return what the metadata of an Arrow column says of a field's type: that a text is a decimal, for example."""
    limits = {"precision": field.precision, "scale": field.scale, "zone": field.zone}
    return {"type": field.type, **{name: str(value) for name, value in limits.items() if value is not None}}


def written_columns(fields: Sequence[FieldSpec], table: sa.Table) -> list[sa.ColumnElement[object]]:
    """Return what Postgres writes of each field."""
    return [TYPES[field.type].arrow_cell(table.c[field.name]).label(field.name) for field in fields]


def read_rows(fields: Sequence[FieldSpec], copied: bytes) -> pa.Table:
    """Return the rows that COPY (FORMAT csv) wrote of ``written_columns``: columns as exports have them."""
    names = [field.name for field in fields]
    if not copied:
        return pa.table({field.name: pa.array([], TYPES[field.type].export_type(field)) for field in fields})
    read = pyarrow.csv.ReadOptions(column_names=names, block_size=len(copied) + 1, use_threads=False)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    convert = pyarrow.csv.ConvertOptions(
        column_types={field.name: TYPES[field.type].read_type(field) for field in fields},
        null_values=[""],
        true_values=["true"],
        false_values=["false"],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    found = pyarrow.csv.read_csv(io.BytesIO(copied), read, parse, convert)
    columns = [TYPES[field.type].finish(field, found.column(field.name)) for field in fields]
    return pa.Table.from_arrays(columns, names)
