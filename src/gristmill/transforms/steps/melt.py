"""``melt``: several columns become rows, one for each.

{"op": "melt", "columns": ["temperature", "humidity"], "variable": "quantity", "value": "reading"}
"""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from gristmill.core.errors import Violation
from gristmill.transforms.multiply import check_total
from gristmill.transforms.run import column_of, to_frame
from gristmill.transforms.schema_rules import check_target, need, need_each, refuse
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


class Melt(Parameters):
    """Parameters of ``melt``."""

    index: tuple[str, ...] | None = Field(
        None, description="The columns that each row keeps. By default all that are not in `columns`."
    )
    columns: tuple[str, ...] | None = Field(
        None, description="The columns that become rows, all of one type. By default all that are not in `index`."
    )
    variable: str = Field("variable", description="The column that gets the name of the column.")
    value: str = Field("value", description="The column that gets its value.")
    nulls: Literal["keep", "drop"] = Field("keep", description="Whether there are rows for values that are null.")


def _melted(step: Melt, columns: Columns) -> list[str]:
    """Return the columns that become rows."""
    if step.columns is not None:
        return list(step.columns)
    return [name for name in columns if name not in (step.index or ())]


def _kept(step: Melt, columns: Columns) -> list[str]:
    if step.index is not None:
        return list(step.index)
    return [name for name in columns if name not in (step.columns or ())]


def _schema(step: Melt, columns: Columns, types: Types) -> Columns:
    if step.index is None and step.columns is None:
        raise refuse("columns", "missing", "melt has index, columns, or both")
    need_each(columns, step.columns or ())
    for place, name in enumerate(step.index or ()):
        need(columns, name, f"/index/{place}")
        if name in (step.columns or ()) or name in (step.index or ())[:place]:
            raise StepRefused(Violation(f"/index/{place}", "duplicate", f"{name} is listed twice", field=name))
    melted = _melted(step, columns)
    if not melted:
        raise refuse("columns", "empty", "there is no column left that could become rows")
    first = columns[melted[0]]
    for place, name in enumerate(melted):
        if (columns[name].type, columns[name].arrow) != (first.type, first.arrow):
            reason = f"{name} is of type {columns[name].type}, and {first.name} of type {first.type}: cast one of them"
            raise StepRefused(Violation(f"/columns/{place}", "wrong_type", reason, field=name))
    found = {name: columns[name] for name in _kept(step, columns)}
    for member, target in (("variable", step.variable), ("value", step.value)):
        check_target(target, f"/{member}")
        if target in found:
            raise refuse(member, "duplicate", f"There would be two columns called {target}")
        made = types.column(target, "text") if member == "variable" else Column(target, first.type, first.arrow)
        found[target] = made
    return found


def _make(step: Melt, columns: Columns, types: Types) -> Transform:
    melted, kept, order = _melted(step, columns), _kept(step, columns), list(_schema(step, columns, types))

    def transform(frame: Any, context: StepContext) -> Output:
        count, width = len(frame), len(melted)
        columns_kept = [column_of(frame, name) for name in kept]
        check_total("melt", count, width, columns_kept, max(map(len, melted)) + 8, context.most_bytes)
        # One column behind the other, so that no value is copied.
        made = dict(zip(kept, (_repeated(column, width) for column in columns_kept), strict=True))
        made[step.variable] = pa.chunked_array([pa.repeat(name, count) for name in melted], pa.string())
        values = [column_of(frame, name) for name in melted]
        made[step.value] = pa.chunked_array([chunk for one in values for chunk in one.chunks], type=values[0].type)
        table = pa.table({name: made[name] for name in order})
        origins = np.tile(np.arange(count, dtype=np.int64), width)
        if step.nulls == "drop":
            there = made[step.value].is_valid()
            table, origins = table.filter(there), origins[there.to_numpy()]
        return Output(to_frame(table), origins)

    return transform


def _repeated(column: pa.ChunkedArray, count: int) -> pa.ChunkedArray:
    return pa.chunked_array(column.chunks * count, type=column.type)


MELT = StepKind(
    "melt",
    Melt,
    _schema,
    _make,
    reads=lambda step: frozenset((*(step.index or ()), *(step.columns or ()))),
    writes=lambda step: frozenset({step.variable, step.value}),
    per_record=False,
    multiplies=True,
    description=(
        "Makes one row of each of several columns: all rows of the first column, then all of the next. Columns in "
        "neither `index` nor `columns` go. The rows of a batch take at most 128 MiB."
    ),
    examples=[
        Example(
            {"op": "melt", "index": ["sensor"], "variable": "quantity", "value": "reading"},
            {"sensor": "text", "temperature": "float", "humidity": "float"},
            [{"sensor": "a", "temperature": 20.5, "humidity": None}],
            [
                {"sensor": "a", "quantity": "temperature", "reading": 20.5},
                {"sensor": "a", "quantity": "humidity", "reading": None},
            ],
        )
    ],
)
