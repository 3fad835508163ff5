"""``drop``: the named columns go.

{"op": "drop", "columns": ["comment"]}
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


class Drop(Parameters):
    """Parameters of ``drop``."""

    columns: list[str] = Field(description="The columns that go, each once.", min_length=1, max_length=1000)


def _schema(step: Drop, columns: Columns, types: Types) -> Columns:
    gone = {column.name for column in need_each(columns, step.columns)}
    return {name: column for name, column in columns.items() if name not in gone}


def _make(step: Drop, columns: Columns, types: Types) -> Transform:
    def transform(frame: Any, context: StepContext) -> Output:
        return Output(frame.drop(columns=step.columns))

    return transform


DROP = StepKind(
    "drop",
    Drop,
    _schema,
    _make,
    reads=lambda step: frozenset(),
    writes=lambda step: frozenset(),
    description="Leaves out the named columns: later steps do not see them.",
    examples=[
        Example(
            {"op": "drop", "columns": ["c"]},
            {"a": "integer", "c": "text"},
            [{"a": 1, "c": "y"}],
            [{"a": 1}],
        )
    ],
)
