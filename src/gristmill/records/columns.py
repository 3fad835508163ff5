"""Records as columns: validated rows become an Arrow table, and a table becomes the parameters of an INSERT."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.types import TYPES

# The column of a payload that holds the index of each record in its request, where some are missing in between.
ORD_COLUMN = "_ord"
# The number of the job that a record came with.
SEQ_COLUMN = "_seq"
# The column of a payload of partial records that says which fields each of them gives: a bit for each column, in order.
GIVEN_COLUMN = "_given"
# A validated record: canonical values by the names of its fields.
Row = dict[str, Any]


def to_table(columns: Sequence[FieldSpec], rows: Sequence[Row]) -> pa.Table:
    """Return validated ``rows`` as a table of ``columns``."""
    return pa.table(
        {column.name: TYPES[column.type].to_column(column, [row[column.name] for row in rows]) for column in columns}
    )


def to_given_table(columns: Sequence[FieldSpec], rows: Sequence[Row]) -> pa.Table:
    """Return validated partial ``rows`` as a table of ``columns``, null where a row gives nothing, and GIVEN_COLUMN."""
    names = [column.name for column in columns]
    whole = [{**dict.fromkeys(names), **row} for row in rows]
    given = np.array([[name in row for name in names] for row in rows], np.bool_).reshape(len(rows), len(names))
    return to_table(columns, whole).append_column(GIVEN_COLUMN, pack_given(given))


def pack_given(given: npt.NDArray[np.bool_]) -> pa.Array:
    """Return the column of a matrix (records, columns) that says what is given."""
    packed = np.packbits(given, axis=1, bitorder="little")
    return pa.array([row.tobytes() for row in packed], pa.binary())


def unpack_given(column: pa.ChunkedArray, columns: int) -> npt.NDArray[np.bool_]:
    """Return the matrix (records, columns) of GIVEN_COLUMN."""
    packed = np.frombuffer(b"".join(column.to_pylist()), np.uint8).reshape(len(column), -(-columns // 8))
    return np.unpackbits(packed, axis=1, count=columns, bitorder="little").astype(np.bool_)


def as_stored(contract: Contract, table: pa.Table) -> pa.Table:
    """Return a payload with its values as the columns of ``contract`` store them: 16-bit floats for halfvec.

    The payload may come from an earlier version of the contract.
    """
    for place, name in enumerate(table.column_names):
        if name == GIVEN_COLUMN:
            continue
        field, column = contract.column(name), table.column(place)
        stored = TYPES[field.type].as_stored(field, column)
        if stored is not column:
            table = table.set_column(place, name, stored)
    return table


def to_parameters(contract: Contract, table: pa.Table) -> list[tuple[Any, ...]]:
    """Return the rows of a stored table as tuples that psycopg2 takes, each value in the text form of its SQL type."""
    columns = [TYPES[contract.column(name).type].parameters(table.column(name)) for name in table.column_names]
    return list(zip(*columns, strict=True))
