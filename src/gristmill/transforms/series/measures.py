"""Measures: aggregates of the rows of a group, each a column of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from gristmill.core.errors import Violation
from gristmill.transforms.run import column_of
from gristmill.transforms.schema_rules import check_target, refuse
from gristmill.transforms.series.aggregates import AggregateName, Ranges, aggregate
from gristmill.transforms.series.checks import need_aggregate
from gristmill.transforms.series.order import Ordered
from gristmill.transforms.spec import Columns, GroupFailure, Indexes, StepRefused, Types

# Aggregates that depend on the order in time.
TIMED = ("first", "last")
MOST_MEASURES = 1000


class Measure(BaseModel):
    """One aggregate."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    agg: AggregateName = Field(description="The aggregate. Nulls are passed over.")
    column: str | None = Field(None, description="The column; `count` without one counts rows.")
    as_: str | None = Field(
        None, alias="as", description="The column that is made. By default `agg_column`, such as `mean_value`."
    )
    q: float | None = Field(None, description="Which quantile, from 0 to 1, where `agg` is `quantile`.")

    @property
    def target(self) -> str:
        if self.as_ is not None:
            return self.as_
        return self.agg if self.column is None else f"{self.agg}_{self.column}"


def measured(measures: Sequence[Measure], kept: Columns, columns: Columns, types: Types) -> Columns:
    """Return the columns that are kept and those that the measures make. Raises StepRefused."""
    if not measures:
        raise refuse("measures", "empty", "name at least one measure")
    if len(measures) > MOST_MEASURES:
        reason = f"there are {len(measures)} measures: at most {MOST_MEASURES} are possible"
        raise refuse("measures", "too_many", reason)
    found = dict(kept)
    for place, one in enumerate(measures):
        member = f"/measures/{place}"
        if one.column is None and one.agg != "count":
            raise StepRefused(Violation(f"{member}/column", "missing", f"{one.agg} needs a column", field="column"))
        if (one.agg == "quantile") != (one.q is not None) or not 0 <= (one.q or 0) <= 1:
            reason = "q, from 0 to 1, is given where agg is quantile, and only there"
            raise StepRefused(Violation(f"{member}/q", "out_of_range", reason, field="q"))
        check_target(one.target, f"{member}/as")
        if one.target in found:
            reason = f"There would be two columns called {one.target}"
            raise StepRefused(Violation(f"{member}/as", "duplicate", reason, field="as"))
        found[one.target] = (
            types.column(one.target, "integer")
            if one.column is None
            else need_aggregate(columns, one.agg, one.column, one.target, types, member)
        )
    return found


def measure(
    one: Measure,
    frame: Any,
    ordered: Ordered,
    starts: Indexes,
    ends: Indexes,
    columns: Columns,
    types: Types,
    time: str | None = None,
) -> pa.Array:
    """Return a measure over ranges of rows. Raises GroupFailure where a value does not fit its type.

    time: the column that says which row is the first; rows without a time are none.
    """
    if one.column is None:
        return pa.array(ends - starts)
    column = column_of(frame, one.column)
    if time is not None and one.agg in TIMED and (moments := column_of(frame, time)).null_count:
        column = pc.if_else(moments.is_valid(), column, pa.scalar(None, column.type))
    values = ordered.take(column)
    quantile = 0.5 if one.q is None else one.q
    found = aggregate(one.agg, columns[one.column], values, Ranges(starts, ends), types, quantile)
    if found.beyond.any():
        group = int(np.flatnonzero(found.beyond)[0])
        rows = [ordered.row_of(place) for place in range(int(starts[group]), int(ends[group]))]
        reason = f"{one.agg} of {one.column} leaves the range of its type"
        raise GroupFailure(rows, "out_of_range", reason, one.column)
    return found.values


def reads_measures(measures: Sequence[Measure]) -> frozenset[str]:
    return frozenset(one.column for one in measures if one.column is not None)
