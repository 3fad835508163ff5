"""``normalise``: numbers on a scale that was fitted to the values that a dataset has.

{"op": "normalise", "column": "weight", "as": "weight_scaled", "method": "zscore"}
"""

import json
import math
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from gristmill.transforms.expression.check import compile_expression
from gristmill.transforms.expression.run import evaluate_frame
from gristmill.transforms.run import set_column
from gristmill.transforms.schema_rules import check_target, need_type, refuse
from gristmill.transforms.spec import (
    ColumnParameters,
    Columns,
    Example,
    Fitting,
    Output,
    Statistic,
    StepContext,
    StepKind,
    Transform,
    Types,
    reads_column,
    writes_target,
)

# What is taken off a value, and what the difference is divided by: of two statistics their difference.
_METHODS: dict[str, tuple[Statistic, tuple[Statistic, ...]]] = {
    "zscore": ("mean", ("deviation",)),
    "minmax": ("minimum", ("maximum", "minimum")),
    "robust": ("median", ("upper_quartile", "lower_quartile")),
}


class Normalise(ColumnParameters):
    """Parameters of ``normalise``."""

    method: Literal["zscore", "minmax", "robust"] = Field(
        "zscore",
        description=(
            "`zscore`: (x - mean) / standard deviation of the population; `minmax`: (x - minimum) / (maximum - "
            "minimum); "
            "`robust`: (x - median) / (upper quartile - lower quartile)."
        ),
    )
    fitted: dict[str, float] | None = Field(
        None,
        description=(
            "The statistics, by name. The job `dataset.fit` writes them here; they may also be given: `mean` and "
            "`deviation`; `minimum` and `maximum`; `median`, `lower_quartile` and `upper_quartile`."
        ),
    )

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        first, scale = _METHODS[self.method]
        return tuple(dict.fromkeys((first, *scale)))

    @property
    def expression(self) -> str:
        """Return the value as an expression over the column."""
        assert self.fitted is not None
        first, scale = _METHODS[self.method]
        offset, column = self.fitted[first], f"column({json.dumps(self.column)})"
        width = self.fitted[scale[0]] - (self.fitted[scale[1]] if len(scale) > 1 else 0)
        # Where all values were equal there is no scale.
        return f"(float({column}) - {offset!r}) / {width!r}" if width else f"0.0 if {column} is not None else None"


def _schema(step: Normalise, columns: Columns, types: Types) -> Columns:
    need_type(columns, step.column, ("integer", "float", "decimal"), "/column")
    check_target(step.target, "/as")
    if step.fitted is not None:
        if set(step.fitted) != set(step.statistics):
            raise refuse("fitted", "wrong_members", f"{step.method} has exactly: {', '.join(step.statistics)}")
        if not all(map(math.isfinite, step.fitted.values())):
            raise refuse("fitted", "not_finite", "statistics are finite numbers")
        low, high = _METHODS[step.method][1][-1], _METHODS[step.method][1][0]
        if (step.fitted[high] < step.fitted[low]) if low != high else step.fitted[high] < 0:
            raise refuse("fitted", "out_of_range", f"{high} is too small")
        compile_expression(step.expression, columns, types, "/fitted")
    return {**columns, step.target: types.column(step.target, "float")}


def _make(step: Normalise, columns: Columns, types: Types) -> Transform:
    if step.fitted is None:
        return _unknown(step)
    node = compile_expression(step.expression, columns, types, "/fitted")

    def transform(frame: Any, context: StepContext) -> Output:
        values, failures = evaluate_frame(node, frame, context, f"{step.method} of {step.column}", step.column)
        return Output(set_column(frame, step.target, values), None, failures)

    return transform


def _unknown(step: Normalise) -> Transform:
    """Return what gives null: nothing is known of the values yet."""

    def transform(frame: Any, context: StepContext) -> Output:
        return Output(set_column(frame, step.target, pa.chunked_array([pa.nulls(len(frame), pa.float64())])))

    return transform


NORMALISE = StepKind(
    "normalise",
    Normalise,
    _schema,
    _make,
    reads=reads_column,
    writes=writes_target,
    fitting=lambda step: Fitting(step.column, step.statistics),
    description=(
        "Puts numbers on a common scale, as floats, by statistics of the values that the dataset has. Until they are "
        "[fitted](pipelines.md#fitting) the result is null. Where all fitted values are equal it is 0. Values beyond "
        "the "
        "fitted ones are beyond 0 and 1."
    ),
    examples=[
        Example(
            {
                "op": "normalise",
                "column": "weight",
                "as": "scaled",
                "method": "minmax",
                "fitted": {"minimum": 10, "maximum": 30},
            },
            {"weight": "integer"},
            [{"weight": 15}, {"weight": 40}, {"weight": None}],
            [{"weight": 15, "scaled": 0.25}, {"weight": 40, "scaled": 1.5}, {"weight": None, "scaled": None}],
        )
    ],
)
