"""``rolling``: an aggregate of the rows before each row, and of itself.

{"op": "rolling", "column": "value", "window": "5s", "agg": "mean", "as": "moving_avg", "by": ["sensor"]}
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import refuse
from gristmill.transforms.series.aggregates import Ranges, WindowAggregateName, aggregate
from gristmill.transforms.series.checks import check_quantile, need_aggregate
from gristmill.transforms.series.order import (
    SeriesParameters,
    check_series,
    put_in_order,
    reads_series,
    reads_time,
    time_of,
)
from gristmill.transforms.series.windows import MOST_ROWS, WINDOW, read_window, row_windows, time_windows, unit_of
from gristmill.transforms.spec import (
    Columns,
    Example,
    Output,
    StepContext,
    StepKind,
    Transform,
    Types,
    writes_target,
)


class Rolling(SeriesParameters):
    """Parameters of ``rolling``."""

    window: int | str = WINDOW
    agg: WindowAggregateName = Field(description="The aggregate. Nulls are passed over.")
    q: float | None = Field(None, description="Which quantile, from 0 to 1, where `agg` is `quantile`.")
    min_periods: int = Field(
        1, ge=1, le=MOST_ROWS, description="How many values a window must have, else the result is null."
    )


def _schema(step: Rolling, columns: Columns, types: Types) -> Columns:
    made = need_aggregate(columns, step.agg, step.column, step.target, types)
    check_series(step, columns, types)
    check_quantile(step.agg, step.q)
    _length(step, columns, types)
    return {**columns, step.target: made}


def _length(step: Rolling, columns: Columns, types: Types) -> int | None:
    """Return the length of a window in the unit of the times; None for one of rows. Raises StepRefused."""
    length, time = read_window(step.window), time_of(step, columns, types)
    if length is None:
        return None
    if time is None:
        raise refuse("time", "missing", f"a window of {step.window} needs a column of times: name one")
    unit = unit_of(columns[time])
    if length % unit:
        raise refuse("window", "not_a_span", f"{time} is a date: {step.window} is no whole number of days")
    return length // unit


def _make(step: Rolling, columns: Columns, types: Types) -> Transform:
    length, time, source = _length(step, columns, types), time_of(step, columns, types), columns[step.column]

    def transform(frame: Any, context: StepContext) -> Output:
        # A row without a time has no window of time, and is the last of a window of rows.
        ordered = put_in_order(frame, step.by, time, columns, types, untimed=length is None)
        context.check()
        starts = row_windows(ordered, int(step.window)) if length is None else time_windows(ordered, length)
        ranges = Ranges(starts, np.arange(1, len(starts) + 1))
        values = ordered.take(column_of(frame, step.column))
        found = aggregate(step.agg, source, values, ranges, types, 0.5 if step.q is None else step.q)
        made = found.values
        if step.min_periods > 1 or step.agg == "count":
            counts = aggregate("count", source, values, ranges, types).values
            made = pc.if_else(pc.less(counts, step.min_periods), pa.scalar(None, made.type), made)
        reason = f"{step.agg} of {step.column} leaves the range of its type"
        failures = ordered.failures(found.beyond, "out_of_range", reason, step.target)
        return Output(set_column(frame, step.target, ordered.back(made)), None, failures)

    return transform


ROLLING = StepKind(
    "rolling",
    Rolling,
    _schema,
    _make,
    reads=reads_series,
    writes=writes_target,
    reads_too=reads_time,
    per_record=False,
    description=(
        "An aggregate over a window that ends at each row, the row itself included. A row without a time has no window "
        "of time, and is the last of a window of rows. "
        "The rows stay in their order."
    ),
    examples=[
        Example(
            {"op": "rolling", "column": "value", "window": "5s", "agg": "mean", "as": "moving_avg", "time": "at"},
            {"at": "timestamp", "value": "float"},
            [
                {"at": "2026-01-31T12:00:00Z", "value": 1.0},
                {"at": "2026-01-31T12:00:04Z", "value": 2.0},
                {"at": "2026-01-31T12:00:05Z", "value": 6.0},
            ],
            [
                {"at": "2026-01-31T12:00:00Z", "value": 1.0, "moving_avg": 1.0},
                {"at": "2026-01-31T12:00:04Z", "value": 2.0, "moving_avg": 1.5},
                {"at": "2026-01-31T12:00:05Z", "value": 6.0, "moving_avg": 4.0},
            ],
        ),
        Example(
            {"op": "rolling", "column": "n", "window": 2, "agg": "sum", "as": "two", "by": ["sensor"]},
            {"sensor": "text", "n": "integer"},
            [{"sensor": "a", "n": 1}, {"sensor": "b", "n": 5}, {"sensor": "a", "n": 2}, {"sensor": "a", "n": None}],
            [
                {"sensor": "a", "n": 1, "two": 1},
                {"sensor": "b", "n": 5, "two": 5},
                {"sensor": "a", "n": 2, "two": 3},
                {"sensor": "a", "n": None, "two": 2},
            ],
        ),
    ],
)
