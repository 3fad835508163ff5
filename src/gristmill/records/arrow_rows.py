"""Stored rows as Arrow tables: what COPY is asked for, and what becomes of its text."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import TYPES

_DIALECT = postgresql.psycopg2.dialect()  # type: ignore[no-untyped-call]


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


def copy_query(connection: Connection, select: sa.Select[Any], copy: str) -> bytes:
    """Return the data of a COPY. copy: the statement, with {} for the query.

    COPY takes no parameters: psycopg2 writes them into the query, as always.
    """
    compiled = select.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    buffer = io.BytesIO()
    with contextlib.closing(connection.connection.cursor()) as cursor:
        driver: Any = cursor
        query = driver.mogrify(str(compiled), compiled.params).decode()
        driver.copy_expert(copy.replace("{}", query), buffer)
    return buffer.getvalue()
