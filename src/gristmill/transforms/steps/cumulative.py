"""``cumulative``: an aggregate of all rows up to each row.

{"op": "cumulative", "column": "rain", "agg": "sum", "as": "rain_so_far", "by": ["station"]}
"""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.series.aggregates import Ranges, aggregate
from gristmill.transforms.series.checks import need_aggregate
from gristmill.transforms.series.order import (
    SeriesParameters,
    check_series,
    put_in_order,
    reads_series,
    reads_time,
    time_of,
)
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


class Cumulative(SeriesParameters):
    """Parameters of ``cumulative``."""

    agg: Literal["count", "sum", "mean", "min", "max", "first"] = Field(
        description="The aggregate. Nulls are passed over: at a row with null it is that of the rows before."
    )


def _schema(step: Cumulative, columns: Columns, types: Types) -> Columns:
    made = need_aggregate(columns, step.agg, step.column, step.target, types)
    check_series(step, columns, types)
    return {**columns, step.target: made}


def _make(step: Cumulative, columns: Columns, types: Types) -> Transform:
    time, source = time_of(step, columns, types), columns[step.column]

    def transform(frame: Any, context: StepContext) -> Output:
        ordered = put_in_order(frame, step.by, time, columns, types)
        context.check()
        ranges = Ranges(ordered.starts, np.arange(1, len(ordered.starts) + 1))
        found = aggregate(step.agg, source, ordered.take(column_of(frame, step.column)), ranges, types)
        reason = f"{step.agg} of {step.column} leaves the range of its type"
        failures = ordered.failures(found.beyond, "out_of_range", reason, step.target)
        return Output(set_column(frame, step.target, ordered.back(found.values)), None, failures)

    return transform


CUMULATIVE = StepKind(
    "cumulative",
    Cumulative,
    _schema,
    _make,
    reads=reads_series,
    writes=writes_target,
    reads_too=reads_time,
    per_record=False,
    description="An aggregate of all rows of the batch up to each row. A row without a time has none.",
    examples=[
        Example(
            {"op": "cumulative", "column": "rain", "agg": "sum", "as": "total"},
            {"rain": "decimal"},
            [{"rain": "0.50"}, {"rain": None}, {"rain": "1.5"}],
            [{"rain": "0.50", "total": "0.50"}, {"rain": None, "total": "0.50"}, {"rain": "1.5", "total": "2.00"}],
        )
    ],
)
