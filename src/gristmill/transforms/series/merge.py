"""Rows that were made of several: which they were made of."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gristmill.transforms.run import to_frame
from gristmill.transforms.series.order import Ordered
from gristmill.transforms.spec import Columns, Indexes, Output


@dataclass(frozen=True, slots=True)
class MergedRows:
    """origins: for each new row the first one that it was made of, as rows stand. into: for each row its new row."""

    origins: Indexes
    into: Indexes

    def output(self, columns: Columns, arrays: Mapping[str, pa.Array | pa.ChunkedArray]) -> Output:
        """Return the output of a step that made these rows. arrays: the columns."""
        table = pa.table({name: arrays[name] for name in columns})
        return Output(to_frame(table), self.origins, merged_into=self.into, columns=columns)


def merged_rows(ordered: Ordered, starts: Indexes, count: int | None = None) -> MergedRows:
    """Return what becomes of rows when each stretch from one of ``starts`` to the next becomes one.

    count: of the places that become rows, by default all; those behind them are in none.
    """
    count = len(ordered.starts) if count is None else count
    new = np.cumsum(np.bincount(starts, minlength=count)[:count]) - 1
    rows = np.arange(count) if ordered.rows is None else ordered.rows[:count]
    into = np.full(ordered.count, -1, np.int64)
    into[rows] = new
    first = np.minimum.reduceat(rows, starts) if len(starts) else np.empty(0, np.int64)
    return MergedRows(first.astype(np.int64), into)
