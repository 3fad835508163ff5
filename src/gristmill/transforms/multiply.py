"""Several rows of one record: how many there may be, and how much memory they may take."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gristmill.core.errors import Invalid, Violation
from gristmill.transforms.run import MOST_OUTPUTS, column_of
from gristmill.transforms.schema_rules import check_target, refuse
from gristmill.transforms.spec import Column, ColumnParameters, Columns, Failure, Indexes, Types


class RowsParameters(ColumnParameters):
    """Root of the parameters of steps that make several rows of one."""

    place: str | None = Field(
        None, description="A column that gets the place of the row among those of its record, from 1."
    )


def rows_schema(step: RowsParameters, columns: Columns, made: Column, types: Types) -> Columns:
    """Return the columns after such a step: the one that is read goes, ``made`` and the place come.

    Raises StepRefused.
    """
    found = {name: column for name, column in columns.items() if name != step.column}
    found[step.target] = made
    if step.place is not None:
        check_target(step.place, "/place")
        if step.place in (step.column, step.target):
            raise refuse("place", "duplicate", f"There would be two columns called {step.place}")
        found[step.place] = types.column(step.place, "integer")
    return found


def writes_rows(step: RowsParameters) -> frozenset[str]:
    return frozenset({step.target} | ({step.place} if step.place is not None else set()))


# What a row takes beside the values of its columns, while it is made.
_ROW_BYTES = 64


class RowBudget:
    """Counts the bytes of rows before they are made: the other columns are repeated for each row of a record."""

    def __init__(self, frame: Any, step: str, gone: Collection[str], most: int) -> None:
        """gone: columns that are not repeated. most: bytes of all rows."""
        self._step, self._most, self._bytes, self._rows = step, most, 0, 0
        sizes = [_sizes(column_of(frame, name)) for name in frame.columns if name not in gone]
        self._sizes = sum(sizes, np.full(len(frame), _ROW_BYTES, np.int64)).tolist()

    def add(self, row: int, count: int, made: int = 0) -> None:
        """Count rows that will be made of one. made: bytes of what is new in them. Raises Invalid beyond the most."""
        self._rows += count
        self._bytes += count * self._sizes[row] + made
        if self._bytes > self._most:
            reason = (
                f"{self._step} makes {self._rows} rows of the first {row + 1} records, which take {self._bytes} bytes"
            )
            hint = f"more than {self._most}: drop columns before it, or lower jobs.chunk_records"
            raise Invalid(f"{reason}, {hint}", [Violation("", "too_large", f"{reason}, {hint}")])


def check_repeated(columns: Sequence[pa.ChunkedArray], origins: Indexes, most: int) -> None:
    """Raise Invalid where values that pass beside the steps would take more bytes, repeated for each row of theirs."""
    size = sum(int(_sizes(column)[origins].sum()) for column in columns)
    if size > most:
        reason = f"what passes beside the steps would take {size} bytes in {len(origins)} rows, more than {most}"
        raise Invalid(reason, [Violation("", "too_large", reason)])


def check_total(step: str, count: int, width: int, columns: Sequence[pa.ChunkedArray], made: int, most: int) -> None:
    """Raise Invalid where ``width`` rows of each of ``count`` records would take more bytes.

    columns: those that are repeated. made: bytes of what is new in a row.
    """
    size = width * (sum(column.nbytes for column in columns) + count * (made + _ROW_BYTES))
    if size > most:
        reason = f"{step} makes {count * width} rows of {count} records, which take {size} bytes, more than {most}"
        raise Invalid(reason, [Violation("", "too_large", reason)])


def check_count(row: int, count: int, column: str) -> Failure | None:
    """Return the failure of a record of which too many rows would be made."""
    if count <= MOST_OUTPUTS:
        return None
    reason = f"{count} rows would be made of it, more than {MOST_OUTPUTS}"
    return Failure(row, "too_many", reason, column)


def repeat_rows(frame: Any, counts: Indexes, gone: Collection[str]) -> tuple[Any, Indexes]:
    """Return a frame in which each row stands as often as ``counts`` says, and the row that each was made of.

    gone: columns that are not repeated: the one that is made several rows of, and those that the step makes.
    """
    origins = np.repeat(np.arange(len(frame), dtype=np.int64), counts)
    return frame.drop(columns=list(gone), errors="ignore").take(origins), origins


def place_of(counts: Indexes) -> pa.ChunkedArray:
    """Return the place of each row among those of its record, from 1."""
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return pa.chunked_array([np.arange(1, counts.sum() + 1, dtype=np.int64) - starts])


def _sizes(column: pa.ChunkedArray) -> Indexes:
    """Return how many bytes each value of a column takes."""
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        sizes: Indexes = pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64)
        return sizes + 5
    return np.full(len(column), column.nbytes // max(1, len(column)) + 1, np.int64)
