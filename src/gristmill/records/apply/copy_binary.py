"""PostgreSQL's binary COPY format, made from Arrow columns without a step of Python per row.

Source of the format: https://www.postgresql.org/docs/18/sql-copy.html, "Binary Format"; a row is an int16 count of
fields, then the fields. Each type turns its column into Arrow binary arrays, and one ``binary_join_element_wise``
weaves them into rows in compiled code.
"""

import struct
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from gristmill.core.copy import BINARY_HEAD, BINARY_TAIL, copy_in
from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.binary_copy import repeated

BLOCK_BYTES = 8 * 1024 * 1024


def copy_table(connection: Connection, sql: str, table: pa.Table, fields: Sequence[FieldSpec]) -> None:
    """Run ``sql``, a COPY … FROM STDIN (FORMAT binary), with the rows of ``table`` on a SQLAlchemy connection."""
    copy_in(connection, sql, encode_copy(table, fields))


def encode_copy(
    table: pa.Table, fields: Sequence[FieldSpec], block_bytes: int = BLOCK_BYTES
) -> Iterator[bytes | memoryview]:
    """Yield the COPY data of ``table`` in blocks of about ``block_bytes``; memory stays at a few blocks.

    fields: what its columns are, which are stored ones. Raises TypeError for a column of another Arrow type.
    """
    yield BINARY_HEAD
    rows = max(1, int(table.num_rows * block_bytes / max(1, table.nbytes)))
    for start in range(0, table.num_rows, rows):
        piece = table.slice(start, rows)
        yield _encode_rows([column.combine_chunks() for column in piece.columns], fields)
    yield BINARY_TAIL


def _encode_rows(columns: Sequence[pa.ChunkedArray | pa.Array], fields: Sequence[FieldSpec]) -> memoryview:
    count = len(columns[0])
    parts = [repeated(struct.pack("!h", len(columns)), count)]
    for column, field in zip(columns, fields, strict=True):
        kind = TYPES[field.type]
        if column.type != kind.stored_type(field):
            valid = kind.stored_type(field)
            raise TypeError(f"{field.name} is a column of the Arrow type {column.type}, and {field.type} is {valid}")
        # combine_chunks gives a chunked array back when there was no chunk or text too long for one.
        array = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        parts.extend(kind.copy_fields(array))
    joined = pc.binary_join_element_wise(*parts, b"")
    size = int(np.frombuffer(joined.buffers()[1], np.int32)[count])
    return memoryview(joined.buffers()[2])[:size]
