"""``clip``: values beyond a bound become the bound.

{"op": "clip", "column": "humidity", "minimum": 0, "maximum": 100}
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import check_target, need_type, refuse
from gristmill.transforms.spec import (
    Column,
    ColumnParameters,
    Columns,
    Example,
    Output,
    StepContext,
    StepKind,
    Transform,
    Types,
    reads_column,
    writes_target,
)

_ORDERED = ("integer", "float", "decimal", "timestamp", "date", "duration")


class Clip(ColumnParameters):
    """Parameters of ``clip``."""

    minimum: Any = Field(None, description="The smallest value that stays, as JSON writes values of the type.")
    maximum: Any = Field(None, description="The largest one.")


def _schema(step: Clip, columns: Columns, types: Types) -> Columns:
    source = need_type(columns, step.column, _ORDERED, "/column")
    check_target(step.target, "/as")
    if step.minimum is None and step.maximum is None:
        raise refuse("minimum", "missing", "clip has a minimum, a maximum, or both")
    low, high = types.comparable(source, pa.chunked_array([_bounds(step, source, types)]))
    if low.is_valid and high.is_valid and pc.greater(low, high).as_py():
        raise refuse("minimum", "out_of_range", f"{step.minimum} is more than the maximum, {step.maximum}")
    return {**columns, step.target: Column(step.target, source.type, source.arrow)}


def _make(step: Clip, columns: Columns, types: Types) -> Transform:
    source = columns[step.column]
    bounds = _bounds(step, source, types)
    comparable = types.comparable(source, pa.chunked_array([bounds]))

    def transform(frame: Any, context: StepContext) -> Output:
        after = column_of(frame, step.column)
        compared = types.comparable(source, after)
        # Null is beyond no bound.
        for bound, limit, beyond in zip(bounds, comparable, (pc.less, pc.greater), strict=True):
            if bound.is_valid:
                after = pc.if_else(beyond(compared, limit).fill_null(False), bound, after)
        return Output(set_column(frame, step.target, after))

    return transform


def _bounds(step: Clip, source: Column, types: Types) -> pa.Array:
    return types.values(source, [step.minimum, step.maximum], ["/minimum", "/maximum"])


CLIP = StepKind(
    "clip",
    Clip,
    _schema,
    _make,
    reads=reads_column,
    writes=writes_target,
    description=(
        "Values below the minimum become the minimum, those above the maximum the maximum; null stays null. Decimals "
        "within keep their digits."
    ),
    examples=[
        Example(
            {"op": "clip", "column": "humidity", "minimum": 0, "maximum": 100},
            {"humidity": "float"},
            [{"humidity": 100.4}, {"humidity": 41.5}, {"humidity": None}],
            [{"humidity": 100.0}, {"humidity": 41.5}, {"humidity": None}],
        )
    ],
)
