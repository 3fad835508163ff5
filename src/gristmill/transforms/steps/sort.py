"""``sort``: rows in the order of their values.

{"op": "sort", "by": ["sensor", "-at"]}
"""

from typing import Any

import numpy as np
from pydantic import Field

from gristmill.transforms.run import column_of
from gristmill.transforms.schema_rules import refuse
from gristmill.transforms.series.groups import need_groups, ranks_of
from gristmill.transforms.spec import Columns, Example, Output, Parameters, StepContext, StepKind, Transform, Types


class Sort(Parameters):
    """Parameters of ``sort``."""

    by: tuple[str, ...] = Field(
        description="The columns, the first one first; with - before its name from the largest value down. Nulls last."
    )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name.removeprefix("-") for name in self.by)


def _schema(step: Sort, columns: Columns, types: Types) -> Columns:
    if not step.by:
        raise refuse("by", "empty", "name at least one column")
    need_groups(columns, step.names, types)
    return columns


def _make(step: Sort, columns: Columns, types: Types) -> Transform:
    def transform(frame: Any, context: StepContext) -> Output:
        keys = []
        for name, given in zip(step.names, step.by, strict=True):
            column = column_of(frame, name)
            ranks = ranks_of(columns[name], column, types)
            if given.startswith("-"):
                ranks = np.where(column.is_valid().to_numpy(), -ranks, 1)
            keys.append(ranks)
            context.check()
        order = np.lexsort(keys[::-1]).astype(np.int64)
        return Output(frame.take(order), order)

    return transform


SORT = StepKind(
    "sort",
    Sort,
    _schema,
    _make,
    reads=lambda step: frozenset(step.names),
    writes=lambda _: frozenset(),
    per_record=False,
    description=(
        "Puts the rows of a batch in order, texts by code points; rows with the same values stay as they stand. With a "
        "key in the contract the last row of a key is the one that is stored."
    ),
    examples=[
        Example(
            {"op": "sort", "by": ["-n"]},
            {"n": "integer"},
            [{"n": 1}, {"n": None}, {"n": 3}],
            [{"n": 3}, {"n": 1}, {"n": None}],
        )
    ],
)
