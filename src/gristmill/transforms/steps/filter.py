"""``filter``: records that a condition does not find are dropped.

{"op": "filter", "where": {"celsius": {"null": false}}}
{"op": "filter", "condition": "celsius * 1.8 + 32 > 100"}
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from gristmill.core.errors import Violation
from gristmill.transforms.expression.check import compile_expression
from gristmill.transforms.expression.parse import names_in
from gristmill.transforms.expression.run import evaluate_frame
from gristmill.transforms.run import column_of
from gristmill.transforms.spec import (
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


class Filter(Parameters):
    """Parameters of ``filter``, one of the two."""

    where: dict[str, Any] | None = Field(
        None, description="A filter in [the language of reads](where.md) over the columns that are there at this step."
    )
    condition: str | None = Field(
        None, description="In its place: an [expression](semantics.md) that is true for the records that stay."
    )


def _schema(step: Filter, columns: Columns, types: Types) -> Columns:
    if (step.where is None) == (step.condition is None):
        reason = "a filter has either where or condition"
        raise StepRefused(
            Violation("/where", "missing" if step.where is None else "not_applicable", reason, field="where")
        )
    _make(step, columns, types)
    return columns


def _make(step: Filter, columns: Columns, types: Types) -> Transform:
    if step.condition is not None:
        return _by_condition(step.condition, columns, types)
    assert step.where is not None
    predicate = types.predicate(step.where, columns, "/where")
    # A filter that names no column still looks at every row.
    names = sorted(_names(step.where)) or list(columns)[:1]

    def transform(frame: Any, context: StepContext) -> Output:
        kept = predicate(pa.table({name: column_of(frame, name) for name in names}))
        if kept.all():
            return Output(frame)
        return Output(frame[kept], np.flatnonzero(kept))

    return transform


def _by_condition(text: str, columns: Columns, types: Types) -> Transform:
    node = compile_expression(text, columns, types, "/condition")
    if node.type != "boolean":
        reason = f"{text[:60]} is of type {node.type}: a condition is boolean"
        raise StepRefused(Violation("/condition", "wrong_type", reason, field="condition"))

    def transform(frame: Any, context: StepContext) -> Output:
        truths, failures = evaluate_frame(node, frame, context, text, "condition")
        kept = truths.combine_chunks().fill_null(False).to_numpy(zero_copy_only=False).copy()
        # Those are left in until they are taken out as failed.
        kept[[failure.row for failure in failures]] = True
        return Output(frame[kept], np.flatnonzero(kept), failures)

    return transform


def _names(where: Any) -> set[str]:
    """Return the columns that a filter names."""
    found: set[str] = set()
    for name, item in where.items():
        if name == "not":
            found |= _names(item)
        elif name in ("and", "or"):
            found = found.union(*map(_names, item))
        else:
            # Behind a dot stands the path of a member.
            found.add(name.partition(".")[0])
    return found


FILTER = StepKind(
    "filter",
    Filter,
    _schema,
    _make,
    reads=lambda step: names_in(step.condition or "") | _names(step.where or {}),
    writes=lambda step: frozenset(),
    description=(
        "Drops every record that is not found. As in SQL a comparison with null is unknown, and does not find the "
        "record."
    ),
    examples=[
        Example(
            {"op": "filter", "condition": "weight / price > 2"},
            {"weight": "integer", "price": "integer"},
            [{"weight": 9, "price": 4}, {"weight": 8, "price": 4}, {"weight": None, "price": 4}],
            [{"weight": 9, "price": 4}],
        )
    ],
)
