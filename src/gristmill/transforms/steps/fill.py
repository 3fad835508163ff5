"""``fill``: something takes the place of null.

{"op": "fill", "column": "colour", "value": "unknown"}
{"op": "fill", "column": "level", "method": "linear", "by": ["tank"]}
"""

from typing import Any, Literal

import pyarrow.compute as pc
from pydantic import Field

from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import check_target, need, need_type, refuse
from gristmill.transforms.series.aggregates import AGGREGATES
from gristmill.transforms.series.checks import need_aggregate
from gristmill.transforms.series.gaps import as_floats, neighbours, on_the_line, with_means
from gristmill.transforms.series.order import (
    SeriesParameters,
    check_series,
    put_in_order,
    reads_series,
    reads_time,
    time_of,
)
from gristmill.transforms.spec import (
    Column,
    Columns,
    Example,
    Failure,
    Output,
    StepContext,
    StepKind,
    Transform,
    Types,
    writes_target,
)


class Fill(SeriesParameters):
    """Parameters of ``fill``."""

    value: Any = Field(None, description="What stands for null, as JSON writes values of the column's type.")
    method: Literal["previous", "next", "linear", "mean"] | None = Field(
        None,
        description=(
            "Instead of `value`: the value before or behind in the series of `by`, one on the line between these two "
            "(by time, without a time by place), or the mean of the series. Where there is none it stays null."
        ),
    )


def _schema(step: Fill, columns: Columns, types: Types) -> Columns:
    source = need(columns, step.column, "/column")
    check_target(step.target, "/as")
    if step.method is None:
        if "value" not in step.model_fields_set:
            raise refuse("value", "missing", "The member value is missing, or a method instead of it")
        if step.value is None:
            raise refuse("value", "null", "null would stand for null: give a value")
        if step.by or step.time is not None:
            raise refuse("by", "not_applicable", "by and time belong to a method, and a value has none")
        types.values(source, [step.value], ["/value"])
        return {**columns, step.target: Column(step.target, source.type, source.arrow)}
    if "value" in step.model_fields_set:
        raise refuse("value", "not_applicable", "either value or method says what stands for null")
    check_series(step, columns, types)
    if step.method == "linear":
        need_type(columns, step.column, ("integer", "float"), "/column")
        return {**columns, step.target: types.column(step.target, "float")}
    if step.method == "mean":
        return {**columns, step.target: need_aggregate(columns, "mean", step.column, step.target, types)}
    return {**columns, step.target: Column(step.target, source.type, source.arrow)}


def _make(step: Fill, columns: Columns, types: Types) -> Transform:
    if step.method is not None:
        return _series(step, columns, types)
    value = types.values(columns[step.column], [step.value], ["/value"])[0]

    def transform(frame: Any, context: StepContext) -> Output:
        before = column_of(frame, step.column)
        # fill_null does not know lists, the columns of vectors.
        after = pc.coalesce(before, value) if before.null_count else before
        return Output(set_column(frame, step.target, after))

    return transform


def _series(step: Fill, columns: Columns, types: Types) -> Transform:
    time, source = time_of(step, columns, types), columns[step.column]

    def transform(frame: Any, context: StepContext) -> Output:
        ordered, before = put_in_order(frame, step.by, time, columns, types), column_of(frame, step.column)
        values = ordered.take(before)
        context.check()
        failures: list[Failure] = []
        if step.method == "linear":
            floats, inexact = as_floats(values)
            made = on_the_line(ordered, floats)
            failures = ordered.failures(inexact, "not_exact", f"{step.column} is no float exactly", step.target)
        elif step.method == "mean":
            found = with_means(ordered, values, source, types)
            made = found.values
            reason = f"{step.column}, or its mean, is beyond what the result can hold"
            failures = ordered.failures(found.beyond, "out_of_range", reason, step.target)
        else:
            made = values.take(neighbours(ordered, values, behind=step.method == "next"))
        after = ordered.back(made)
        if ordered.left_out:
            # A row without a time is in no series, and stays as it is.
            after = pc.coalesce(after, before if before.type == after.type else before.cast(after.type, safe=False))
        return Output(set_column(frame, step.target, after), None, failures)

    return transform


FILL = StepKind(
    "fill",
    Fill,
    _schema,
    _make,
    reads=reads_series,
    writes=writes_target,
    reads_too=lambda step, columns, types: reads_time(step, columns, types) if step.method else frozenset(),
    per_record=lambda step: step.method is None,
    description=(
        "Puts a value where there is none. An empty text is a value, and stays. With `method` it works per batch: "
        f"`linear` takes integer and float and gives float, `mean` takes {', '.join(sorted(AGGREGATES['mean'].takes))}."
    ),
    examples=[
        Example(
            {"op": "fill", "column": "colour", "value": "unknown"},
            {"colour": "text"},
            [{"colour": None}, {"colour": ""}],
            [{"colour": "unknown"}, {"colour": ""}],
        ),
        Example(
            {"op": "fill", "column": "level", "method": "previous", "by": ["tank"]},
            {"tank": "text", "level": "integer"},
            [
                {"tank": "a", "level": 7},
                {"tank": "b", "level": None},
                {"tank": "a", "level": None},
            ],
            [
                {"tank": "a", "level": 7},
                {"tank": "b", "level": None},
                {"tank": "a", "level": 7},
            ],
        ),
    ],
)
