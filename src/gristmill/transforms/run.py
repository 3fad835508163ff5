"""Running the steps of a pipeline over the records of a batch, on an Arrow-backed frame from end to end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gristmill.core.errors import Invalid, Violation
from gristmill.transforms.merged import Links
from gristmill.transforms.spec import Columns, Failure, GroupFailure, Indexes, Step, StepContext

if TYPE_CHECKING:
    import pandas as pd

# A record's rows are numbered from its place times this, so a step makes at most so many of one.
MOST_OUTPUTS = 2**20


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """A record that a step could not do. record: its row in the batch. step: its number in the pipeline, and name; None
    where it is no step of the pipeline."""

    record: int
    step: tuple[int, str] | None
    code: str
    reason: str
    field: str

    @property
    def full_reason(self) -> str:
        """The reason, behind the step."""
        return self.reason if self.step is None else f"step {self.step[0]} ({self.step[1]}): {self.reason}"


@dataclass(frozen=True, slots=True)
class Transformed:
    """The rows after the last step.

    origins: for each row the row of the batch that it was made of; where it was made of several, the first. failed: the
    records that have no rows because a step failed on them, by their row. A record that is in neither was dropped.
    merged: the records that are in a row, where a step made one row of several; else None. columns: of the table.
    """

    table: pa.Table
    origins: Indexes
    failed: Sequence[FailedRecord]
    merged: Indexes | None = None
    columns: Columns | None = None


Seen = Callable[[pa.Table, Indexes], None]
"""Gets the rows after each step, and the row of the batch that each was made of."""


def run(
    steps: Sequence[Step],
    table: pa.Table,
    context: StepContext,
    seen: Seen | None = None,
    wanted: Columns | None = None,
) -> Transformed:
    """Run ``steps`` over ``table``, whose columns are those that the first step was bound to.

    wanted: the columns of the result, by default all that are there after the last step. With it, steps may be left out
    and ``table`` need have no more columns than the others read. Raises Invalid where a step fails on a row that was
    made of several records: none of them can go on without the others.
    """
    links: Links | None = None
    origins = np.arange(table.num_rows, dtype=np.int64)
    failed: dict[int, FailedRecord] = {}
    if not steps:
        return Transformed(table, origins, ())
    frame = to_frame(table)
    for step in steps:
        context.check()
        try:
            output = step.transform(frame, context)
        except GroupFailure as error:
            raise MergedUnfit(step, error, _records(error.rows, origins, links)) from error
        if output.origins is not None and len(output.origins) != len(output.frame):
            raise ValueError(f"the step {step.kind.op} gave {len(output.frame)} rows of {len(output.origins)} origins")
        if links is not None and output.failures:
            failure = output.failures[0]
            raise MergedUnfit(step, failure, links.records_of(failure.row))
        for failure in output.failures:
            record = int(origins[failure.row])
            name = (step.number, step.kind.op)
            failed.setdefault(record, FailedRecord(record, name, failure.code, failure.reason, failure.field))
        frame = output.frame
        _check_size(step, frame, context)
        links = Links.after(links, output, origins)
        if output.origins is not None:
            origins = origins[output.origins]
        too_many = _too_many(step, origins)
        failed.update({one.record: one for one in too_many if one.record not in failed})
        if output.failures or too_many:
            # A record is done as a whole or not at all.
            good = ~np.isin(origins, np.fromiter(failed, np.int64, len(failed)))
            if not good.all():
                frame, origins = frame[good], origins[good]
                links = None if links is None else links.taking(np.flatnonzero(good))
        if seen is not None:
            seen(to_table(frame, step.columns), origins)
    columns = wanted if wanted is not None else output.columns or steps[-1].columns
    merged = None if links is None else links.records_in_rows
    return Transformed(
        to_table(frame, columns), origins, [failed[record] for record in sorted(failed)], merged, columns
    )


class MergedUnfit(Invalid):
    """A row that was made of several records cannot be. records: those, by their rows in the batch."""

    def __init__(self, step: Step, failure: Failure | GroupFailure, records: Sequence[int]) -> None:
        self.records = records
        self._text = f"step {step.number} ({step.kind.op}): {failure.reason}, in a row that was made of {{}}"
        self._code, self._field = failure.code, failure.field
        reason = self.reason(records[0])
        super().__init__(reason, [self.violation(records[0])])

    def reason(self, first: int) -> str:
        """Return what is wrong. first: the place of the first record in the request."""
        return self._text.format(f"{len(self.records)} records, the first of them record {first}")

    def violation(self, first: int) -> Violation:
        return Violation(f"/{first}", self._code, self.reason(first), record=first, field=self._field)


def _records(rows: Sequence[int], origins: Indexes, links: Links | None) -> list[int]:
    """Return the records that rows were made of, ascending."""
    found = (
        {int(origins[row]) for row in rows} if links is None else {one for row in rows for one in links.records_of(row)}
    )
    return sorted(found)


def _check_size(step: Step, frame: "pd.DataFrame", context: StepContext) -> None:
    """Raise Invalid where the columns after a step take more memory than a batch may."""
    size = sum(column_of(frame, name).nbytes for name in frame.columns)
    most = 2 * context.most_bytes
    if size > most:
        reason = f"after step {step.number} ({step.kind.op}) the batch takes {size} bytes, more than {most}"
        raise Invalid(reason, [Violation("", "too_large", reason)])


def _too_many(step: Step, origins: Indexes) -> list[FailedRecord]:
    """Return the records of which this step and those before it have made too many rows."""
    if not step.kind.multiplies or not len(origins):
        return []
    counts = np.bincount(origins)
    name = (step.number, step.kind.op)
    return [
        FailedRecord(
            record, name, "too_many", f"{counts[record]} rows would be made of it, more than {MOST_OUTPUTS}", ""
        )
        for record in np.flatnonzero(counts > MOST_OUTPUTS).tolist()
    ]


def number_outputs(origins: Indexes, ords: Indexes, multiplied: bool) -> Indexes:
    """Return ``_ord`` of each row: the place of its record in the job, or for pipelines that may make several rows of
    one record that place times 2^20 plus the row's place among those of its record.

    origins: rising, see ``Transformed``. ords: the place of each record of the batch. Raises ValueError beyond 2^20.
    """
    places = ords[origins]
    if not multiplied:
        return places
    starts = np.flatnonzero(np.diff(origins, prepend=-1))
    counts = np.diff(np.append(starts, len(origins)))
    if len(counts) and counts.max() > MOST_OUTPUTS:
        raise ValueError(f"a step made {counts.max()} rows of one record, more than {MOST_OUTPUTS}")
    return places * MOST_OUTPUTS + np.arange(len(origins), dtype=np.int64) - np.repeat(starts, counts)


def to_frame(table: pa.Table) -> "pd.DataFrame":
    """Return the table as a frame whose columns stay what they are in Arrow: no null becomes NaN, no text a null."""
    import pandas as pd  # noqa: PLC0415 - half a second that only workers of pipelines pay for

    columns = {name: pd.arrays.ArrowExtensionArray(table.column(name)) for name in table.column_names}
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows), copy=False)


def column_of(frame: "pd.DataFrame", name: str) -> pa.ChunkedArray:
    """Return a column of an Arrow-backed frame as Arrow has it."""
    values: Any = frame[name].array
    array = values.__arrow_array__()
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def set_column(frame: "pd.DataFrame", name: str, values: pa.ChunkedArray) -> "pd.DataFrame":
    """Return a frame with ``values`` as its column ``name``; the one that is given stays as it is."""
    import pandas as pd  # noqa: PLC0415 - see to_frame

    made = frame.copy(deep=False)
    made[name] = pd.Series(pd.arrays.ArrowExtensionArray(values), index=frame.index)
    return made


def to_table(frame: "pd.DataFrame", columns: Columns) -> pa.Table:
    """Return the frame's ``columns`` as a table. Raises ArrowInvalid where a step broke its schema rule."""
    arrays = {name: column_of(frame, name) for name in columns}
    for name, column in columns.items():
        if arrays[name].type != column.arrow:
            raise TypeError(f"the column {name} is {arrays[name].type}, and its step says {column.arrow}")
    return pa.table(arrays)
