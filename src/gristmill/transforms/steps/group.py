"""``group``: one row of all rows with the same values.

{"op": "group", "by": ["sensor"], "measures": [{"agg": "mean", "column": "value", "as": "mean"}, {"agg": "count"}]}
"""

from typing import Any

import pyarrow as pa
from pydantic import Field

from gristmill.transforms.run import column_of
from gristmill.transforms.schema_rules import need_type
from gristmill.transforms.series.groups import need_groups
from gristmill.transforms.series.measures import TIMED, Measure, measure, measured, reads_measures
from gristmill.transforms.series.merge import merged_rows
from gristmill.transforms.series.order import TIMES, put_in_order, reads_time, time_of
from gristmill.transforms.spec import Columns, Example, Output, Parameters, StepContext, StepKind, Transform, Types


class Group(Parameters):
    """Parameters of ``group``."""

    by: tuple[str, ...] = Field(
        (), description="The columns; null is a group of its own. Without any all rows are one."
    )
    measures: tuple[Measure, ...] = Field(description="What is made of the rows of a group.")
    time: str | None = Field(
        None,
        description=(
            "The column that says which row is the first and which the last, ties in the order of the key. By default "
            "the dataset's time field, where the rows have it, else rows are taken as they stand."
        ),
    )


def _schema(step: Group, columns: Columns, types: Types) -> Columns:
    need_groups(columns, step.by, types)
    if step.time is not None:
        need_type(columns, step.time, TIMES, "/time")
    return measured(step.measures, {name: columns[name] for name in step.by}, columns, types)


def _make(step: Group, columns: Columns, types: Types) -> Transform:
    made = _schema(step, columns, types)
    # The order within a group matters to few.
    ordering = time_of(step, columns, types) if any(one.agg in TIMED for one in step.measures) else None

    def transform(frame: Any, context: StepContext) -> Output:
        ordered = put_in_order(frame, step.by, ordering, columns, types, untimed=True)
        starts = ordered.firsts
        rows = merged_rows(ordered, starts)
        arrays = {name: column_of(frame, name).take(pa.array(rows.origins)) for name in step.by}
        for one in step.measures:
            context.check()
            arrays[one.target] = measure(one, frame, ordered, starts, ordered.ends[starts], columns, types, ordering)
        return rows.output(made, arrays)

    return transform


GROUP = StepKind(
    "group",
    Group,
    _schema,
    _make,
    reads=lambda step: frozenset(step.by) | reads_measures(step.measures),
    writes=lambda step: frozenset(one.target for one in step.measures),
    reads_too=reads_time,
    per_record=False,
    merges=True,
    description=(
        "Makes one row of all rows of a batch with the same values, in the order of these values; null is one of them. "
        "Other columns go. An empty sum is null."
    ),
    examples=[
        Example(
            {"op": "group", "by": ["sensor"], "measures": [{"agg": "sum", "column": "n"}, {"agg": "count"}]},
            {"sensor": "text", "n": "integer"},
            [{"sensor": "b", "n": 1}, {"sensor": None, "n": None}, {"sensor": "b", "n": 2}, {"sensor": "a", "n": 5}],
            [
                {"sensor": "a", "sum_n": 5, "count": 1},
                {"sensor": "b", "sum_n": 3, "count": 2},
                {"sensor": None, "sum_n": None, "count": 1},
            ],
        )
    ],
)
