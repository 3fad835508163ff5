"""``rename``: columns get other names.

{"op": "rename", "columns": {"Artikelnr": "sku"}}
"""

from typing import Any

from pydantic import Field

from gristmill.core.errors import Violation
from gristmill.kit.json_pointer import pointer_to
from gristmill.transforms.schema_rules import check_target, need
from gristmill.transforms.spec import (
    Column,
    Columns,
    Example,
    Output,
    Parameters,
    StepContext,
    StepKind,
    StepRefused,
    Transform,
    Types,
)


class Rename(Parameters):
    """Parameters of ``rename``."""

    columns: dict[str, str] = Field(
        description="An object of old and new names. All are changed at once, so that two may be exchanged.",
        min_length=1,
        max_length=1000,
    )


def _schema(step: Rename, columns: Columns, types: Types) -> Columns:
    for old, new in step.columns.items():
        need(columns, old, pointer_to(("columns", old[:80])))
        check_target(new, pointer_to(("columns", old)))
    renamed: dict[str, Column] = {}
    for name, column in columns.items():
        new = step.columns.get(name, name)
        if new in renamed:
            old = name if name in step.columns else next(one for one, given in step.columns.items() if given == new)
            reason = f"There would be two columns called {new}"
            raise StepRefused(Violation(pointer_to(("columns", old)), "duplicate", reason, field=new))
        renamed[new] = Column(new, column.type, column.arrow)
    return renamed


def _make(step: Rename, columns: Columns, types: Types) -> Transform:
    # A frame may have columns that this step is to fill, where it is run alone for a changed record.
    filled = sorted(set(step.columns.values()) - set(step.columns))

    def transform(frame: Any, context: StepContext) -> Output:
        there = [name for name in filled if name in frame.columns]
        return Output((frame.drop(columns=there) if there else frame).rename(columns=step.columns))

    return transform


RENAME = StepKind(
    "rename",
    Rename,
    _schema,
    _make,
    reads=lambda step: frozenset(step.columns),
    writes=lambda step: frozenset(step.columns.values()),
    description="Gives columns other names.",
    examples=[
        Example(
            {"op": "rename", "columns": {"a": "b", "b": "a"}},
            {"a": "integer", "b": "text"},
            [{"a": 1, "b": "x"}],
            [{"b": 1, "a": "x"}],
        )
    ],
)
