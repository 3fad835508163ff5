"""``fill``: a value takes the place of null.

{"op": "fill", "column": "colour", "value": "unknown"}
"""

from typing import Any

import pyarrow.compute as pc
from pydantic import Field

from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import check_target, need, refuse
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


class Fill(ColumnParameters):
    """Parameters of ``fill``."""

    value: Any = Field(description="What stands for null, as JSON writes values of the column's type.")


def _schema(step: Fill, columns: Columns, types: Types) -> Columns:
    source = need(columns, step.column, "/column")
    check_target(step.target, "/as")
    if step.value is None:
        raise refuse("value", "null", "null would stand for null: give a value")
    types.values(source, [step.value], ["/value"])
    return {**columns, step.target: Column(step.target, source.type, source.arrow)}


def _make(step: Fill, columns: Columns, types: Types) -> Transform:
    value = types.values(columns[step.column], [step.value], ["/value"])[0]

    def transform(frame: Any, context: StepContext) -> Output:
        before = column_of(frame, step.column)
        # fill_null does not know lists, the columns of vectors.
        after = pc.coalesce(before, value) if before.null_count else before
        return Output(set_column(frame, step.target, after))

    return transform


FILL = StepKind(
    "fill",
    Fill,
    _schema,
    _make,
    reads=reads_column,
    writes=writes_target,
    description="Puts a value where there is none. An empty text is a value, and stays.",
    examples=[
        Example(
            {"op": "fill", "column": "colour", "value": "unknown"},
            {"colour": "text"},
            [{"colour": None}, {"colour": ""}],
            [{"colour": "unknown"}, {"colour": ""}],
        )
    ],
)
