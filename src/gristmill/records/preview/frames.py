"""Rows between two steps as JSON: as many as an answer may have."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic_core import to_json

from gristmill.transforms.spec import Column, Indexes, Types

# Rows of one frame, and bytes of all of an answer.
MAX_ROWS = 1000
MAX_BYTES = 4 * 1024 * 1024


class Frames:
    """Shows rows until a frame has its share of the answer; what is left out is counted."""

    def __init__(self, types: Types, records: Sequence[int], frames: int) -> None:
        """records: the place in the sample of each row of the batch. frames: how many will be shown."""
        self._types = types
        self._records = records
        self._most = MAX_BYTES // frames

    def show(self, columns: Sequence[Column], table: pa.Table, origins: Indexes) -> dict[str, Any]:
        """Return the columns and rows, each with its record. origins: the row of the batch that each was made of."""
        # A slice, as rows that are not shown need not be read.
        first = table.slice(0, MAX_ROWS)
        rows, size = [], 0
        names = [column.name for column in columns]
        for number, origin in enumerate(origins[: first.num_rows].tolist()):
            one = first.slice(number, 1)
            values = [self._types.shown(column, one.column(column.name))[0] for column in columns]
            row = {"record": self._records[origin], "row": dict(zip(names, values, strict=True))}
            size += len(to_json(row))
            if size > self._most:
                break
            rows.append(row)
        return {
            "columns": [{"name": column.name, "type": column.type} for column in columns],
            "rows": rows,
            "rows_left_out": table.num_rows - len(rows),
        }
