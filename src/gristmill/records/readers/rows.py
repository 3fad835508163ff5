"""Records that were validated one by one, collected until they are worth a step of columns."""

import numpy as np

from gristmill.records.columns import Row
from gristmill.records.readers.context import BLOCK_BYTES, ReadContext, RecordBlock

# Rows are turned into columns in steps of this many, or of this much text, whichever comes first.
STEP_ROWS = 1000


class Rows:
    """Collects records for one reader. After the first problem of the request nothing is kept any more."""

    def __init__(self, source: ReadContext) -> None:
        self._source = source
        self._rows: list[Row] = []
        self._ords: list[int] = []
        self._bytes = 0

    def add(self, record: int, row: Row, size: int) -> None:
        """Keep a valid record. size: the bytes that it took in the body."""
        if not self._source.problems.total:
            self._rows.append(row)
            self._ords.append(record)
            self._bytes += size

    @property
    def full(self) -> bool:
        return len(self._rows) >= STEP_ROWS or self._bytes >= BLOCK_BYTES

    def take(self) -> list[RecordBlock]:
        """Return what was collected as one step, or none if there is nothing, and start anew."""
        rows, ords = self._rows, self._ords
        self._rows, self._ords, self._bytes = [], [], 0
        if not rows or self._source.problems.total:
            return []
        return [RecordBlock(self._source.validator.to_table(rows), np.array(ords, np.int64))]
