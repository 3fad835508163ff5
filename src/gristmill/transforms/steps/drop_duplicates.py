"""``drop_duplicates``: of rows with the same values one stays.

{"op": "drop_duplicates", "columns": ["sensor", "at"], "keep": "last"}
"""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from gristmill.transforms.schema_rules import refuse
from gristmill.transforms.series.groups import group_codes, need_groups
from gristmill.transforms.spec import Columns, Example, Output, Parameters, StepContext, StepKind, Transform, Types


class DropDuplicates(Parameters):
    """Parameters of ``drop_duplicates``."""

    columns: tuple[str, ...] | None = Field(
        None, description="The columns whose values are compared; null equals null. By default all."
    )
    keep: Literal["first", "last"] = Field("first", description="Which of the rows stays, as they stand.")


def _schema(step: DropDuplicates, columns: Columns, types: Types) -> Columns:
    if step.columns is not None and not step.columns:
        raise refuse("columns", "empty", "name at least one column, or leave columns out for all")
    need_groups(columns, step.columns or tuple(columns), types, "columns")
    return columns


def _make(step: DropDuplicates, columns: Columns, types: Types) -> Transform:
    names = step.columns or tuple(columns)

    def transform(frame: Any, context: StepContext) -> Output:
        codes, _ = group_codes(frame, names, columns, types)
        context.check()
        if step.keep == "first":
            _, kept = np.unique(codes, return_index=True)
        else:
            _, kept = np.unique(codes[::-1], return_index=True)
            kept = len(codes) - 1 - kept
        kept.sort()
        return Output(frame.take(kept), kept)

    return transform


DROP_DUPLICATES = StepKind(
    "drop_duplicates",
    DropDuplicates,
    _schema,
    _make,
    reads=lambda step: frozenset(step.columns or ()),
    writes=lambda _: frozenset(),
    per_record=False,
    description="Keeps one of the rows of a batch that have the same values. Those that go count as dropped.",
    examples=[
        Example(
            {"op": "drop_duplicates", "columns": ["sensor"], "keep": "last"},
            {"sensor": "text", "n": "integer"},
            [{"sensor": "a", "n": 1}, {"sensor": None, "n": 2}, {"sensor": "a", "n": 3}],
            [{"sensor": None, "n": 2}, {"sensor": "a", "n": 3}],
        )
    ],
)
