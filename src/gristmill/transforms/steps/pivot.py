"""``pivot``: the values of a column become columns.

{"op": "pivot", "index": ["at"], "columns": "sensor", "column": "value", "agg": "mean", "values": {"inside": "a"}}
"""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gristmill.core.errors import Invalid, Violation
from gristmill.transforms.multiply import check_total
from gristmill.transforms.run import column_of, whole
from gristmill.transforms.schema_rules import check_target, refuse
from gristmill.transforms.series.aggregates import AggregateName
from gristmill.transforms.series.checks import check_quantile, need_aggregate
from gristmill.transforms.series.groups import group_codes, need_groups, ranks_of
from gristmill.transforms.series.measures import TIMED, Measure, measure
from gristmill.transforms.series.merge import merged_rows
from gristmill.transforms.series.order import default_time, order_codes
from gristmill.transforms.spec import (
    Column,
    Columns,
    Example,
    Output,
    Parameters,
    StepContext,
    StepKind,
    Transform,
    Types,
)

MOST_COLUMNS = 1000
# What a cell takes while it is made, its value included.
CELL_BYTES = 40


class Pivot(Parameters):
    """Parameters of ``pivot``."""

    index: tuple[str, ...] = Field((), description="The columns whose equal values make one row; null is one of them.")
    columns: str = Field(description="The column whose values become columns.")
    column: str = Field(description="The column that is aggregated.")
    agg: AggregateName = Field(description="What is made of the values that meet. Nulls are passed over.")
    q: float | None = Field(None, description="Which quantile, from 0 to 1, where `agg` is `quantile`.")
    values: dict[str, Any] | tuple[Any, ...] | None = Field(
        None,
        description=(
            "The values that become columns: an object of names and values, or a list of values that are names "
            f"themselves; at most {MOST_COLUMNS}. Rows with other values give nothing. Without it a view has a column "
            "for each value that there is; a contract names them."
        ),
    )
    prefix: str = Field("", description="What the names of columns begin with where `values` does not give them.")


def _named(step: Pivot) -> dict[str, Any]:
    """Return the values by the names of their columns."""
    if isinstance(step.values, dict):
        return step.values
    return {f"{step.prefix}{value}": value for value in step.values or ()}


def _schema(step: Pivot, columns: Columns, types: Types) -> Columns:
    need_groups(columns, step.index, types, "index")
    need_groups(columns, [step.columns], types, "columns")
    need_aggregate(columns, step.agg, step.column, step.column, types)
    check_quantile(step.agg, step.q)
    found = {name: columns[name] for name in step.index}
    named = _named(step)
    if step.values is not None and not 1 <= len(step.values) <= MOST_COLUMNS:
        raise refuse(
            "values", "too_many", f"there are {len(step.values)} values: from 1 to {MOST_COLUMNS} are possible"
        )
    if len(named) < len(step.values or ()):
        raise refuse("values", "duplicate", "a value is listed twice")
    for place, name in enumerate(named):
        pointer = f"/values/{name if isinstance(step.values, dict) else place}"
        check_target(name, pointer)
        if name in found:
            raise refuse("values", "duplicate", f"There would be two columns called {name}")
        found[name] = _made(step, columns, name, types)
    _keys(step, columns, types)
    return found


def _made(step: Pivot, columns: Columns, name: str, types: Types) -> Column:
    return need_aggregate(columns, step.agg, step.column, name, types)


def _keys(step: Pivot, columns: Columns, types: Types) -> pa.Array:
    """Return the values that become columns. Raises StepRefused for those that the column cannot have."""
    named = _named(step)
    pointers = [f"/values/{name if isinstance(step.values, dict) else place}" for place, name in enumerate(named)]
    keys = types.values(columns[step.columns], list(named.values()), pointers)
    if len(set(ranks_of(columns[step.columns], pa.chunked_array([keys]), types).tolist())) < len(keys):
        raise refuse("values", "duplicate", "two names have the same value")
    return keys


def _make(step: Pivot, columns: Columns, types: Types) -> Transform:
    source = columns[step.columns]
    declared = None if step.values is None else _keys(step, columns, types)
    one = Measure(agg=step.agg, column=step.column, q=step.q)
    time = default_time(columns, types) if step.agg in TIMED else None

    def transform(frame: Any, context: StepContext) -> Output:
        values = column_of(frame, step.columns)
        keys = _found(step, source, values, types) if declared is None else declared
        names = list(_named(step)) if declared is not None else _names(step, source, keys, types)
        rows, count = group_codes(frame, step.index, columns, types)
        places = _places(source, values, keys, types)
        # Rows of no cell are in one behind the others, which is left out.
        width = len(keys) + 1
        check_total("pivot", count, 1, [], width * CELL_BYTES, context.most_bytes)
        codes = rows * width + np.where(places < 0, len(keys), places)
        ordered = order_codes(frame, codes, count * width, time, columns, types, untimed=True)
        context.check()
        firsts = ordered.firsts
        merged = merged_rows(ordered, firsts[np.flatnonzero(np.diff(ordered.codes[firsts] // width, prepend=-1))])
        cells = firsts[ordered.codes[firsts] % width < len(keys)]
        aggregated = measure(one, frame, ordered, cells, ordered.ends[cells], columns, types, time)
        grid = np.full(count * width, -1, np.int64)
        grid[ordered.codes[cells]] = np.arange(len(cells))
        made = {name: columns[name] for name in step.index}
        arrays: dict[str, Any] = {name: column_of(frame, name).take(pa.array(merged.origins)) for name in step.index}
        empty = pa.scalar(0 if step.agg in ("count", "distinct") else None, aggregated.type)
        for number, name in enumerate(names):
            cell = grid[number::width]
            found = aggregated.take(pa.array(cell, mask=cell < 0))
            made[name] = _made(step, columns, name, types)
            arrays[name] = pc.if_else(pa.array(cell < 0), empty, found)
        return merged.output(made, arrays)

    return transform


def _found(step: Pivot, source: Column, values: pa.ChunkedArray, types: Types) -> pa.Array:
    """Return the different values of a column in their order. Raises Invalid where there are too many."""
    ranks = ranks_of(source, values, types)
    different, first = np.unique(ranks, return_index=True)
    if len(different) > MOST_COLUMNS:
        reason = f"{step.columns} has {len(different)} values, and a pivot makes at most {MOST_COLUMNS} columns"
        raise Invalid(reason, [Violation("", "too_many", reason, field=step.columns)])
    return whole(values).take(pa.array(first))


def _names(step: Pivot, source: Column, keys: pa.Array, types: Types) -> list[str]:
    """Return the names of the columns of values: their texts; that of null is no other's."""
    shown = types.shown(source, keys)
    texts = [value if isinstance(value, str) else json.dumps(value) for value in shown]
    known = {text for text, value in zip(texts, shown, strict=True) if value is not None}
    null = "null"
    while null in known:
        null = f"({null})"
    names = [step.prefix + (null if value is None else text) for text, value in zip(texts, shown, strict=True)]
    taken = sorted(set(names) & set(step.index))
    if taken:
        reason = f"{step.columns} has the value {taken[0]}, and there is a column called so: give a prefix"
        raise Invalid(reason, [Violation("", "duplicate", reason, field=step.columns)])
    return names


def _places(source: Column, values: pa.ChunkedArray, keys: pa.Array, types: Types) -> Any:
    """Return for each value its place among the keys, or -1."""
    encoded = pc.dictionary_encode(whole(values), null_encoding="encode")
    different = encoded.dictionary
    together = ranks_of(source, pa.chunked_array([keys, different], type=keys.type), types)
    own, rest = together[: len(keys)], together[len(keys) :]
    by_rank = np.full(int(together.max(initial=-1)) + 1, -1, np.int64)
    by_rank[own] = np.arange(len(own))
    return by_rank[rest][encoded.indices.to_numpy()]


def _reads_too(step: Pivot, columns: Columns, types: Types) -> frozenset[str]:
    time = default_time(columns, types) if step.agg in TIMED else None
    return frozenset() if time is None else frozenset({time})


PIVOT = StepKind(
    "pivot",
    Pivot,
    _schema,
    _make,
    reads=lambda step: frozenset({*step.index, step.columns, step.column}),
    writes=lambda step: frozenset(_named(step)),
    reads_too=_reads_too,
    per_record=False,
    merges=True,
    finds_columns=lambda step: step.values is None,
    description=(
        "Makes one row of all rows of a batch with the same values of `index`, with a column for each value of another."
        " Rows are in the order of `index`. Where no rows meet the value is null, of `count` and `distinct` 0."
    ),
    examples=[
        Example(
            {"op": "pivot", "index": ["day"], "columns": "kind", "column": "n", "agg": "sum"}
            | {"values": {"na": "NA", "b": "b"}},
            {"day": "date", "kind": "text", "n": "integer"},
            [
                {"day": "2026-01-31", "kind": "NA", "n": 1},
                {"day": "2026-01-31", "kind": "NA", "n": 2},
                {"day": "2026-01-30", "kind": "b", "n": 5},
                {"day": "2026-01-30", "kind": None, "n": 7},
            ],
            [{"day": "2026-01-30", "na": None, "b": 5}, {"day": "2026-01-31", "na": 3, "b": None}],
        )
    ],
)
