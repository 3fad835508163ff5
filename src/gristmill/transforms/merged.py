"""Which records are in which rows, once a step has made one row of several."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from gristmill.transforms.spec import Indexes, Output


@dataclass(frozen=True, slots=True)
class Links:
    """Pairs of a row and a record that it was made of, by rows."""

    rows: Indexes
    records: Indexes

    @classmethod
    def after(cls, before: Self | None, output: Output, origins: Indexes) -> Self | None:
        """Return the links after a step. before: those before it. origins: the record of each row before it."""
        if output.merged_into is not None:
            rows = output.merged_into if before is None else output.merged_into[before.rows]
            records = origins if before is None else before.records
            kept = np.flatnonzero(rows >= 0)
            order = kept[np.argsort(rows[kept], kind="stable")]
            return cls(rows[order], records[order])
        if before is None or output.origins is None:
            return before
        return before.taking(output.origins)

    def taking(self, rows: Indexes) -> Self:
        """Return the links of a frame whose rows are these of the one before."""
        starts, ends = np.searchsorted(self.rows, rows, "left"), np.searchsorted(self.rows, rows, "right")
        counts = ends - starts
        first = np.repeat(starts - (np.cumsum(counts) - counts), counts)
        places = first + np.arange(counts.sum(), dtype=np.int64)
        return type(self)(np.repeat(np.arange(len(rows), dtype=np.int64), counts), self.records[places])

    def records_of(self, row: int) -> list[int]:
        """Return the records of one row, each once."""
        found: list[int] = np.unique(self.records[self.rows == row]).tolist()
        return found

    @property
    def records_in_rows(self) -> Indexes:
        """The records that are in a row, ascending."""
        return np.unique(self.records)
