"""A typed tree over a table: whole columns, and where a row has no value, only that row is left out."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from gristmill.transforms.expression.tree import ARROW, Node, NoValue, Rows

# Most bytes of all values of a batch: text can grow with each function.
MAX_BATCH_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RowError:
    """A row without a value. row: its place in the table."""

    row: int
    code: str
    reason: str


def evaluate(node: Node, columns: Mapping[str, pa.ChunkedArray], count: int) -> tuple[pa.ChunkedArray, list[RowError]]:
    """Return the value of each of ``count`` rows, null for those that have none; and what is wrong with these.

    columns: at least those that the tree reads.
    """
    arrays = {name: _whole(columns[name]) for name in node.columns}
    errors: list[RowError] = []
    parts = _evaluate(node, Rows(arrays, count), 0, errors)
    values = pa.chunked_array(parts, ARROW[node.type])
    if values.nbytes > MAX_BATCH_BYTES:
        reason = f"the batch takes {values.nbytes} bytes, more than {MAX_BATCH_BYTES}: send fewer records at a time"
        errors = [RowError(row, "too_large", reason) for row in range(count)]
        values = pa.chunked_array([pa.nulls(count, ARROW[node.type])])
    return values, errors


def _evaluate(node: Node, rows: Rows, first: int, errors: list[RowError]) -> list[pa.Array]:
    try:
        return [node.run(rows)]
    except NoValue as error:
        if rows.count == 1:
            errors.append(RowError(first, error.code, error.reason))
            return [pa.nulls(1, ARROW[node.type])]
    # Halved until the rows are found: a few bad ones among many cost little.
    half = rows.count // 2
    return [
        *_evaluate(node, rows.slice(0, half), first, errors),
        *_evaluate(node, rows.slice(half, rows.count - half), first + half, errors),
    ]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
