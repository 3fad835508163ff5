"""The order of rows in time: by group, then by time, ties by the key, then as they stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gristmill.transforms.run import column_of, whole
from gristmill.transforms.schema_rules import check_target, need_type
from gristmill.transforms.series.groups import group_codes, need_groups, ranks_of, stable_order
from gristmill.transforms.spec import ColumnParameters, Columns, Failure, Indexes, Mask, Types

TIMES = ("timestamp", "date")


class SeriesParameters(ColumnParameters):
    """Root of the parameters of steps that look at the rows before a row."""

    by: tuple[str, ...] = Field((), description="Columns whose equal values make a series of their own; null is one.")
    time: str | None = Field(
        None,
        description=(
            "The column that orders the rows, ties in the order of the key. By default the dataset's time field, where "
            "the rows have it, else rows are taken as they stand."
        ),
    )


def reads_series(step: SeriesParameters) -> frozenset[str]:
    return frozenset({step.column, *step.by, *(() if step.time is None else (step.time,))})


def check_series(step: SeriesParameters, columns: Columns, types: Types) -> None:
    """Check ``by``, ``time`` and ``as``. Raises StepRefused."""
    need_groups(columns, step.by, types)
    check_target(step.target, "/as")
    if step.time is not None:
        need_type(columns, step.time, TIMES, "/time")


class Timed(Protocol):
    """Parameters that may name a column of times."""

    @property
    def time(self) -> str | None: ...


def time_of(step: Timed, columns: Columns, types: Types) -> str | None:
    """Return the name of the column that orders the rows, or None."""
    return step.time if step.time is not None else default_time(columns, types)


def default_time(columns: Columns, types: Types) -> str | None:
    """Return the name of the dataset's time field, if the rows have it; or None."""
    name = types.time_field
    return name if name is not None and name in columns and columns[name].type in TIMES else None


def reads_time(step: Timed, columns: Columns, types: Types) -> frozenset[str]:
    """Return the column of times as what a step reads."""
    name = time_of(step, columns, types)
    return frozenset() if name is None else frozenset({name})


@dataclass(frozen=True, slots=True)
class Ordered:
    """Rows of a frame in their order; those without a time are left out.

    rows: the row of the frame at each place, or None where the frame is in order. codes: the number of its group.
    starts: for each place the one where its group begins. ends: for each place the one behind its group. times:
    microseconds (of dates days), or None.
    """

    count: int
    rows: Indexes | None
    codes: Indexes
    starts: Indexes
    ends: Indexes
    times: Indexes | None

    @property
    def left_out(self) -> bool:
        """Whether there are rows without a time."""
        return len(self.starts) < self.count

    @property
    def firsts(self) -> Indexes:
        """The place where each group begins."""
        return np.flatnonzero(self.starts == np.arange(len(self.starts)))

    def row_of(self, place: int) -> int:
        """Return the row of the frame at a place."""
        return place if self.rows is None else int(self.rows[place])

    def failures(self, places: Mask, code: str, reason: str, field: str) -> list[Failure]:
        """Return the failures of the rows at these places."""
        return [Failure(self.row_of(place), code, reason, field) for place in np.flatnonzero(places).tolist()]

    def take(self, values: pa.ChunkedArray) -> pa.Array:
        """Return a column of the frame in this order."""
        return whole(values if self.rows is None else values.take(self.rows))

    def back(self, values: pa.Array) -> pa.ChunkedArray:
        """Return values of this order as a column of the frame; rows that were left out get null."""
        if self.rows is None:
            return pa.chunked_array([values])
        places = np.full(self.count, -1, np.int64)
        places[self.rows] = np.arange(len(self.rows))
        return pa.chunked_array([values.take(pa.array(places, mask=places < 0))])


def put_in_order(
    frame: Any, by: Sequence[str], time: str | None, columns: Columns, types: Types, untimed: bool = False
) -> Ordered:
    """Return the order of the rows by group, time, key and place. untimed: rows without a time stand last in it."""
    codes, groups = group_codes(frame, by, columns, types)
    return order_codes(frame, codes, groups, time, columns, types, untimed)


def order_codes(
    frame: Any,
    codes: Indexes,
    groups: int,
    time: str | None,
    columns: Columns,
    types: Types,
    untimed: bool = False,
) -> Ordered:
    """Return the order of the rows by code, time, key and place. groups: codes are below it."""
    rows: Indexes | None = None
    if time is None:
        if not _in_order(codes, codes):
            rows = stable_order(codes, groups)
            codes = codes[rows]
        return Ordered(len(frame), rows, codes, *_edges(codes), None)
    moments = column_of(frame, time)
    times = moments_of(moments)
    if moments.null_count:
        known = moments.is_valid().to_numpy()
        times = np.where(known, times, np.iinfo(np.int64).max)
        rows = None if untimed else np.flatnonzero(known)
    here, at = (codes, times) if rows is None else (codes[rows], times[rows])
    if not _in_order(here, at):
        order = np.argsort(at, kind="stable")
        order = order[stable_order(here[order], groups)] if groups > 1 else order
        rows = order if rows is None else rows[order]
        here, at = codes[rows], times[rows]
    # A column that a step has called like a field of the key is another one.
    key = [name for name in types.key if name in columns and types.target(name) == columns[name]]
    if key and ((at[1:] == at[:-1]) & (here[1:] == here[:-1])).any():
        ranks = [ranks_of(columns[name], column_of(frame, name), types) for name in key]
        rows = np.arange(len(frame)) if rows is None else rows
        rows = rows[np.lexsort((*(rank[rows] for rank in reversed(ranks)), at, here))]
        here, at = codes[rows], times[rows]
    return Ordered(len(frame), rows, here, *_edges(here), at)


def _edges(codes: Indexes) -> tuple[Indexes, Indexes]:
    """Return for each place where its group begins, and where it ends."""
    if not len(codes) or codes[0] == codes[-1]:
        return np.zeros(len(codes), np.int64), np.full(len(codes), len(codes))
    firsts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    counts = np.diff(np.append(firsts, len(codes)))
    return np.repeat(firsts, counts), np.repeat(firsts + counts, counts)


def moments_of(column: pa.ChunkedArray) -> Indexes:
    """Return microseconds, of dates days; whatever stands for null."""
    array = whole(column)
    numbers = array.view(pa.int32()).cast(pa.int64()) if pa.types.is_date32(array.type) else array.view(pa.int64())
    found: Indexes = pc.fill_null(numbers, 0).to_numpy()
    return found


def _in_order(codes: Indexes, times: Indexes) -> bool:
    if codes is times or not codes.any():
        return bool((times[1:] >= times[:-1]).all())
    rising = codes[1:] > codes[:-1]
    return bool((rising | ((codes[1:] == codes[:-1]) & (times[1:] >= times[:-1]))).all())
