"""``diff``: what a value differs by from that of a row before.

{"op": "diff", "column": "counter", "as": "counted", "by": ["meter"]}
"""

from typing import Any

from pydantic import Field

from gristmill.transforms.expression.check import compile_expression
from gristmill.transforms.expression.run import evaluate_frame
from gristmill.transforms.expression.tree import Node
from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import need_type
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

# Names of system columns have a leading _, so no column of a frame is called so.
_HERE, _BEFORE = "_here", "_before"


class Diff(SeriesParameters):
    """Parameters of ``diff``."""

    rows: int = Field(1, description="How many rows before the other value is; -1 is the row behind.")


def _schema(step: Diff, columns: Columns, types: Types) -> Columns:
    valid = ("integer", "float", "decimal", "timestamp", "date", "duration")
    need_type(columns, step.column, valid, "/column")
    check_series(step, columns, types)
    check_rows(step.rows)
    return {**columns, step.target: types.column(step.target, _difference(step, columns, types).type)}


def _difference(step: Diff, columns: Columns, types: Types) -> Node:
    source = columns[step.column]
    pair = {name: Column(name, source.type, source.arrow) for name in (_HERE, _BEFORE)}
    return compile_expression(f"column('{_HERE}') - column('{_BEFORE}')", pair, types, "/column")


def _make(step: Diff, columns: Columns, types: Types) -> Transform:
    time, node = time_of(step, columns, types), _difference(step, columns, types)

    def transform(frame: Any, context: StepContext) -> Output:
        ordered, values = put_in_order(frame, step.by, time, columns, types), column_of(frame, step.column)
        before = ordered.back(shifted(ordered, values, step.rows))
        pair = set_column(set_column(frame[[]], _HERE, values), _BEFORE, before)
        made, failures = evaluate_frame(node, pair, context, f"diff of {step.column}", step.target)
        return Output(set_column(frame, step.target, made), None, failures)

    return transform


DIFF = StepKind(
    "diff",
    Diff,
    _schema,
    _make,
    reads=reads_series,
    writes=writes_target,
    reads_too=reads_time,
    per_record=False,
    description=(
        "The value less that of the column so many rows before, null where one of them is. Exact: of timestamps a "
        "duration, of dates an integer of days; a difference beyond 64 bits is its record's error."
    ),
    examples=[
        Example(
            {"op": "diff", "column": "at", "as": "waited", "time": "at"},
            {"at": "timestamp"},
            [{"at": "2026-01-31T12:00:00Z"}, {"at": "2026-01-31T12:01:30Z"}],
            [
                {"at": "2026-01-31T12:00:00Z", "waited": None},
                {"at": "2026-01-31T12:01:30Z", "waited": "PT1M30S"},
            ],
        )
    ],
)
