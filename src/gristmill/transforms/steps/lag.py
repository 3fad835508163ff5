"""``lag``: the value of a row before.

{"op": "lag", "column": "value", "rows": 1, "as": "value_before", "by": ["sensor"]}
"""

from typing import Any

import pyarrow as pa
from pydantic import Field

from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import need
from gristmill.transforms.series.order import (
    SeriesParameters,
    check_series,
    put_in_order,
    reads_series,
    reads_time,
    time_of,
)
from gristmill.transforms.series.shift import check_rows, shifted
from gristmill.transforms.spec import (
    Column,
    Columns,
    Example,
    Output,
    StepContext,
    StepKind,
    Transform,
    Types,
    writes_target,
)


class Lag(SeriesParameters):
    """Parameters of ``lag``."""

    rows: int = Field(1, description="How many rows before; -1 is the row behind.")


def _schema(step: Lag, columns: Columns, types: Types) -> Columns:
    source = need(columns, step.column, "/column")
    check_series(step, columns, types)
    check_rows(step.rows)
    return {**columns, step.target: Column(step.target, source.type, source.arrow)}


def _make(step: Lag, columns: Columns, types: Types) -> Transform:
    time = time_of(step, columns, types)

    def transform(frame: Any, context: StepContext) -> Output:
        ordered = put_in_order(frame, step.by, time, columns, types)
        before: pa.Array = shifted(ordered, column_of(frame, step.column), step.rows)
        return Output(set_column(frame, step.target, ordered.back(before)))

    return transform


LAG = StepKind(
    "lag",
    Lag,
    _schema,
    _make,
    reads=reads_series,
    writes=writes_target,
    reads_too=reads_time,
    per_record=False,
    description="The value of the column so many rows before each row, null where there is no such row.",
    examples=[
        Example(
            {"op": "lag", "column": "n", "as": "before", "by": ["sensor"]},
            {"sensor": "text", "n": "integer"},
            [{"sensor": "a", "n": 1}, {"sensor": None, "n": 5}, {"sensor": "a", "n": 2}, {"sensor": None, "n": 6}],
            [
                {"sensor": "a", "n": 1, "before": None},
                {"sensor": None, "n": 5, "before": None},
                {"sensor": "a", "n": 2, "before": 1},
                {"sensor": None, "n": 6, "before": 5},
            ],
        )
    ],
)
