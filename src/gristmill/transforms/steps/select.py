"""``select``: only the named columns stay, in that order.

{"op": "select", "columns": ["sku", "price"]}
"""

from typing import Any

from pydantic import Field

from gristmill.transforms.schema_rules import need_each
from gristmill.transforms.spec import (
    Columns,
    Example,
    Output,
    Parameters,
    StepContext,
    StepKind,
    Transform,
    Types,
)


class Select(Parameters):
    """Parameters of ``select``."""

    columns: list[str] = Field(description="The columns that stay, each once.", min_length=1, max_length=1000)


def _schema(step: Select, columns: Columns, types: Types) -> Columns:
    return {column.name: column for column in need_each(columns, step.columns)}


def _make(step: Select, columns: Columns, types: Types) -> Transform:
    def transform(frame: Any, context: StepContext) -> Output:
        return Output(frame[step.columns])

    return transform


SELECT = StepKind(
    "select",
    Select,
    _schema,
    _make,
    reads=lambda step: frozenset(),
    writes=lambda step: frozenset(),
    description=(
        "Keeps the named columns and leaves out all others. Fields that are stored have to stay, or come again by a "
        "later step."
    ),
    examples=[
        Example(
            {"op": "select", "columns": ["b", "a"]},
            {"a": "integer", "b": "text", "c": "text"},
            [{"a": 1, "b": "x", "c": "y"}],
            [{"b": "x", "a": 1}],
        )
    ],
)
