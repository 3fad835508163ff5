"""Records as columns: validated rows become an Arrow table, and a table becomes the parameters of an INSERT."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.datasets.contract import EMBEDDING_COLUMN, Contract, FieldSpec
from gristmill.datasets.types import TYPES, dump_json
from gristmill.records.validation.rows import Row

# The column of a payload that holds the index of each record in its request, where some are missing in between.
ORD_COLUMN = "_ord"
# The number of the job that a record came with.
SEQ_COLUMN = "_seq"


def to_table(contract: Contract, rows: Sequence[Row]) -> pa.Table:
    """Return validated ``rows`` as a table with one column per field, and ``_embedding`` where clients supply it."""
    columns = {field.name: _column(field, [row[field.name] for row in rows]) for field in contract.fields}
    if contract.takes_vectors:
        vectors = [row[EMBEDDING_COLUMN] for row in rows]
        columns[EMBEDDING_COLUMN] = vector_column(vectors, contract.vector_dimensions or 0)
    return pa.table(columns)


def vector_column(vectors: Sequence[Any] | np.ndarray[Any, Any], dimensions: int) -> pa.Array:
    """Return vectors as a float32 column; None and rows that hold NaN become null.

    vectors: a list of lists of numbers or None, or an array of shape (rows, dimensions).
    """
    if not isinstance(vectors, np.ndarray):
        # Arrow would take the numbers one by one, some 70 times slower than numpy does.
        empty = [np.nan] * dimensions
        vectors = np.array([empty if vector is None else vector for vector in vectors], np.float32)
    numbers = np.ascontiguousarray(vectors, np.float32).reshape(-1, dimensions)
    null = np.isnan(numbers).any(axis=1)
    mask = pa.array(null) if null.any() else None
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), dimensions, mask=mask)


def as_stored(contract: Contract, table: pa.Table) -> pa.Table:
    """Return the table with ``_embedding`` in the width that the dataset stores: 16-bit floats for halfvec."""
    if contract.vector_storage != "halfvec" or EMBEDDING_COLUMN not in table.column_names:
        return table
    place = table.schema.get_field_index(EMBEDDING_COLUMN)
    column = table.column(place)
    if pa.types.is_float16(column.type.value_type):
        return table
    return table.set_column(
        place,
        EMBEDDING_COLUMN,
        pa.chunked_array([_half(chunk) for chunk in column.chunks], pa.list_(pa.float16(), column.type.list_size)),
    )


def _half(vectors: pa.FixedSizeListArray) -> pa.FixedSizeListArray:
    size = vectors.type.list_size
    numbers = vectors.values.slice(vectors.offset * size, len(vectors) * size).to_numpy(zero_copy_only=False)
    mask = pc.is_null(vectors) if vectors.null_count else None
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.astype(np.float16)), size, mask=mask)


def _column(field: FieldSpec, values: list[Any]) -> pa.Array:
    if field.type == "vector":
        return vector_column(values, field.dimensions or 0)
    convert = _TO_ARROW.get(field.type)
    if convert is not None:
        values = [None if value is None else convert(value) for value in values]
    return pa.array(values, TYPES[field.type].arrow(field))


_TO_ARROW: dict[str, Callable[[Any], Any]] = {
    "decimal": lambda value: format(value, "f"),
    "uuid": lambda value: value.bytes,
    "json": dump_json,
}


def to_parameters(table: pa.Table) -> list[tuple[Any, ...]]:
    """Return the rows of a payload as tuples that psycopg2 takes, each value in the text form of its SQL type."""
    columns = [_parameters(table.schema.field(name).type, table.column(name)) for name in table.column_names]
    return list(zip(*columns, strict=True))


def _parameters(kind: pa.DataType, column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_fixed_size_list(kind):
        return [None if vector is None else vector_text(vector) for vector in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    if pa.types.is_fixed_size_binary(kind):
        return [None if value is None else str(uuid.UUID(bytes=value)) for value in values]
    if pa.types.is_float64(kind):
        # As a number it would be read as a numeric, which has no negative zero.
        return [None if value is None else repr(value) for value in values]
    return values


def vector_text(numbers: Sequence[float]) -> str:
    """Return pgvector's text form; 9 digits name every float32 exactly."""
    return "[" + ",".join(["%.9g"] * len(numbers)) % tuple(numbers) + "]"
