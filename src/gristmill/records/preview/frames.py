"""Rows between two steps as JSON: as many as an answer may have."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic_core import to_json

from gristmill.transforms.spec import Column, Indexes, Types

# Rows of one frame, and bytes of all of an answer.
MAX_ROWS = 1000
MAX_BYTES = 4 * 1024 * 1024
_BLOCK = 50


class Frames:
    """Shows rows until a frame has its share of the answer; what is left out is counted."""

    def __init__(self, types: Types, records: Sequence[int], frames: int) -> None:
        """records: the place in the sample of each row of the batch. frames: how many will be shown."""
        self._types = types
        self._records = records
        self._most = MAX_BYTES // frames

    def show(self, columns: Sequence[Column], table: pa.Table, origins: Indexes) -> dict[str, Any]:
        """Return the columns and rows, each with its record. origins: the row of the batch that each was made of."""
        rows: list[dict[str, Any]] = []
        size, names = 0, [column.name for column in columns]
        # Some at a time, as rows that are not shown need not be read.
        for first in range(0, min(len(origins), MAX_ROWS), _BLOCK):
            block = table.slice(first, _BLOCK)
            part = origins[first : first + _BLOCK].tolist()
            values = [self._types.shown(column, block.column(column.name)) for column in columns]
            shown = zip(*values, strict=True) if values else [()] * len(part)
            for origin, one in zip(part, shown, strict=True):
                row = {"record": self._records[origin], "row": dict(zip(names, one, strict=True))}
                size += len(to_json(row))
                if size > self._most:
                    return self._frame(columns, rows, len(origins))
                rows.append(row)
        return self._frame(columns, rows, len(origins))

    def _frame(self, columns: Sequence[Column], rows: list[dict[str, Any]], count: int) -> dict[str, Any]:
        return {
            "columns": [{"name": column.name, "type": column.type} for column in columns],
            "rows": rows,
            "rows_left_out": count - len(rows),
        }
