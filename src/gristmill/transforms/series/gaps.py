"""What stands for null in a series of rows."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.transforms.series.aggregates import Aggregated, Ranges, aggregate
from gristmill.transforms.series.order import Ordered
from gristmill.transforms.spec import Column, Mask, Types


def neighbours(ordered: Ordered, values: pa.Array, behind: bool) -> pa.Array:
    """Return for each place that of the nearest value at or before it in its group, or at or behind it; else null."""
    places = np.arange(len(values))
    known = values.is_valid().to_numpy(zero_copy_only=False)
    if behind:
        found = np.minimum.accumulate(np.where(known, places, len(places))[::-1])[::-1]
        return pa.array(found, mask=found >= ordered.ends)
    found = np.maximum.accumulate(np.where(known, places, -1))
    return pa.array(found, mask=found < ordered.starts)


def as_floats(values: pa.Array) -> tuple[pa.Array, Mask]:
    """Return numbers as floats, and which of them are not exactly one."""
    floats = values.cast(pa.float64(), safe=False)
    if not pa.types.is_integer(values.type):
        return floats, np.zeros(len(values), np.bool_)
    given = values.fill_null(0).to_numpy()
    exact = np.abs(given) <= 2**53
    for place in np.flatnonzero(~exact).tolist():
        exact[place] = int(float(given[place])) == int(given[place])
    return floats, ~exact


def on_the_line(ordered: Ordered, values: pa.Array) -> pa.Array:
    """Return the floats with what lies on the line between the values before and behind where there is none."""
    before, behind = (neighbours(ordered, values, one) for one in (False, True))
    between = before.is_valid().to_numpy(zero_copy_only=False) & behind.is_valid().to_numpy(zero_copy_only=False)
    between &= values.is_null().to_numpy(zero_copy_only=False)
    here = np.flatnonzero(between)
    start, end = (side.take(pa.array(here)).to_numpy() for side in (before, behind))
    at: Any = np.arange(len(values)) if ordered.times is None else ordered.times
    # Of values at one time the line has none: the one before stays.
    share = (at[here] - at[start]) / np.maximum(at[end] - at[start], 1)
    numbers = values.fill_null(0.0).to_numpy().copy()
    numbers[here] = numbers[start] * (1 - share) + numbers[end] * share
    return pa.array(numbers, mask=values.is_null().to_numpy(zero_copy_only=False) & ~between)


def with_means(ordered: Ordered, values: pa.Array, source: Column, types: Types) -> Aggregated:
    """Return the values with the mean of their group where there is none. Integers become floats."""
    firsts = ordered.firsts
    means = aggregate("mean", source, values, Ranges(firsts, ordered.ends[firsts]), types)
    groups = np.cumsum(ordered.starts == np.arange(len(values))) - 1
    own, inexact = (values, np.zeros(len(values), np.bool_)) if values.type == means.values.type else as_floats(values)
    beyond = inexact | (means.beyond[groups] & values.is_null().to_numpy(zero_copy_only=False))
    return Aggregated(pc.coalesce(own, means.values.take(pa.array(groups))), beyond)
