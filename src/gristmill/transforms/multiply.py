"""Several rows of one record: how many there may be, and how much memory they may take."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core.errors import Invalid, Violation
from gristmill.transforms.run import MOST_OUTPUTS, column_of
from gristmill.transforms.spec import Failure, Indexes

# Most bytes of the rows of a batch, whose other columns are repeated for each row of a record.
MAX_BATCH_BYTES = 128 * 1024 * 1024


def check_count(row: int, count: int, column: str) -> Failure | None:
    """Return the failure of a record of which too many rows would be made."""
    if count <= MOST_OUTPUTS:
        return None
    reason = f"{count} rows would be made of it, more than {MOST_OUTPUTS}"
    return Failure(row, "too_many", reason, column)


def repeat_rows(frame: Any, counts: Indexes, step: str, left_out: str) -> tuple[Any, Indexes]:
    """Return a frame in which each row stands as often as ``counts`` says, and the row that each was made of.

    left_out: a column that is not repeated, as the step makes it anew. Raises Invalid where the rows would take more
    than ``MAX_BATCH_BYTES``; it is asked before they are made.
    """
    origins = np.repeat(np.arange(len(frame), dtype=np.int64), counts)
    size = sum(_bytes(column_of(frame, name), counts) for name in frame.columns if name != left_out)
    if size > MAX_BATCH_BYTES:
        reason = f"{step} makes {len(origins)} rows of {len(frame)} records, which take {size} bytes"
        hint = f"more than {MAX_BATCH_BYTES}: drop columns before it, or lower jobs.chunk_records"
        raise Invalid(f"{reason}, {hint}", [Violation("", "too_large", f"{reason}, {hint}")])
    return frame.drop(columns=[left_out], errors="ignore").take(origins), origins


def place_of(counts: Indexes) -> pa.ChunkedArray:
    """Return the place of each row among those of its record, from 1."""
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return pa.chunked_array([np.arange(1, counts.sum() + 1, dtype=np.int64) - starts])


def _bytes(column: pa.ChunkedArray, counts: Indexes) -> int:
    """Return how many bytes the values of a column take, each so often."""
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        sizes = pc.fill_null(pc.binary_length(column), 0).to_numpy()
        return int((sizes.astype(np.int64) * counts).sum()) + 4 * int(counts.sum())
    width: int = column.nbytes // max(1, len(column))
    return (width + 1) * int(counts.sum())
