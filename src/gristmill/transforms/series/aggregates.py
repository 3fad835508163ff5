"""Aggregates by name: which types they take, what they give, and their values over ranges of rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.transforms.series.decimals import mean_decimals, sum_decimals
from gristmill.transforms.series.fold import fold, greatest, least, least_first, sum_integers
from gristmill.transforms.series.groups import ranks_of
from gristmill.transforms.series.means import deviations, mean_floats, mean_integers, round_means, sum_floats
from gristmill.transforms.series.quantiles import count_distinct, quantiles
from gristmill.transforms.spec import Column, Indexes, Mask, Types

AggregateName = Literal[
    "count", "sum", "mean", "min", "max", "first", "last", "median", "quantile", "stddev", "distinct"
]
WindowAggregateName = Literal["count", "sum", "mean", "min", "max", "first", "last", "median", "quantile", "stddev"]


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of rows: each from ``starts[i]`` to before ``ends[i]``."""

    starts: Indexes
    ends: Indexes


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a column that are not null, in the order of their rows."""

    column: Column
    array: pa.Array
    types: Types
    quantile: float

    @property
    def numbers(self) -> npt.NDArray[Any]:
        """The values as 64-bit integers (microseconds, days) or floats."""
        kind = self.array.type
        if pa.types.is_date32(kind):
            return np.asarray(self.array.view(pa.int32()).to_numpy(), np.int64)
        if pa.types.is_string(kind):
            # Of decimals the nearest floats.
            return np.asarray(self.array.cast(pa.float64()))
        plain = self.array.view(pa.int64()) if pa.types.is_temporal(kind) else self.array
        found: npt.NDArray[Any] = plain.to_numpy()
        return found

    @property
    def ranks(self) -> Indexes:
        return ranks_of(self.column, pa.chunked_array([self.array]), self.types)


Found = tuple[Any, Mask | None]
"""Values as a list, or as an array of numpy or Arrow; and which of them do not fit the type."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """takes: names of types. gives: the name of the type of the result for one of them.

    compute: of values that are not null, over ranges of them, of which none is empty.
    """

    takes: frozenset[str]
    gives: Callable[[str], str]
    compute: Callable[[Values, Ranges], Found]


@dataclass(frozen=True, slots=True)
class Aggregated:
    """The value of each range, null where it has none, and the ranges whose value does not fit the type."""

    values: pa.Array
    beyond: Mask


def result_of(name: str, column: Column, target: str, types: Types) -> Column:
    """Return the column that an aggregate of a column makes."""
    gives = AGGREGATES[name].gives(column.type)
    return Column(target, column.type, column.arrow) if gives == column.type else types.column(target, gives)


def aggregate(
    name: str, column: Column, values: pa.Array, ranges: Ranges, types: Types, quantile: float = 0.5
) -> Aggregated:
    """Return the aggregate of a column over ranges of its rows. Nulls are passed over.

    For ``distinct`` no row may be in two ranges.
    """
    starts, ends = ranges.starts, ranges.ends
    if values.null_count:
        valid = np.concatenate([[0], np.cumsum(values.is_valid().to_numpy(zero_copy_only=False))])
        starts, ends, values = valid[starts], valid[ends], values.drop_null()
    beyond = np.zeros(len(starts), np.bool_)
    if name == "count":
        return Aggregated(pa.array(ends - starts), beyond)
    every = bool((ends > starts).all())
    some = np.arange(len(starts)) if every else np.flatnonzero(ends > starts)
    inner = Ranges(starts, ends) if every else Ranges(starts[some], ends[some])
    found, wrong = AGGREGATES[name].compute(Values(column, values, types, quantile), inner)
    made = _as_column(found, result_of(name, column, column.name, types).arrow)
    if wrong is not None and wrong.any():
        beyond[some[wrong]] = True
        made = pc.if_else(pa.array(wrong), pa.scalar(None, made.type), made)
    if not every:
        places = np.full(len(starts), -1, np.int64)
        places[some] = np.arange(len(some))
        made = made.take(pa.array(places, mask=places < 0))
    return Aggregated(pc.fill_null(made, 0) if name == "distinct" else made, beyond)


def _as_column(found: Any, wanted: pa.DataType) -> pa.Array:
    if isinstance(found, list):
        return pa.array(found, wanted)
    array = found if isinstance(found, pa.Array) else pa.array(found)
    if pa.types.is_date32(wanted) and array.type != wanted:
        return array.cast(pa.int32()).view(wanted)
    return array if array.type == wanted else array.view(wanted)


def _sum(values: Values, ranges: Ranges) -> Found:
    if values.column.type == "decimal":
        return _decimals(sum_decimals(values.array, ranges.starts, ranges.ends))
    if values.column.type == "float":
        totals = sum_floats(values.numbers, ranges.starts, ranges.ends)
        return totals, ~np.isfinite(totals)
    return sum_integers(values.numbers, ranges.starts, ranges.ends)


def _mean(values: Values, ranges: Ranges) -> Found:
    if values.column.type == "decimal":
        return _decimals(mean_decimals(values.array, ranges.starts, ranges.ends, values.types.scale(values.column)))
    if values.column.type == "float":
        return mean_floats(values.numbers, ranges.starts, ranges.ends), None
    if pa.types.is_duration(values.array.type):
        return round_means(values.numbers, ranges.starts, ranges.ends), None
    return mean_integers(values.numbers, ranges.starts, ranges.ends), None


def _decimals(texts: list[str | None]) -> Found:
    return texts, np.array([text is None for text in texts], np.bool_)


def _least(values: Values, ranges: Ranges) -> Found:
    return _extreme(values, ranges, least, highest=True)


def _greatest(values: Values, ranges: Ranges) -> Found:
    return _extreme(values, ranges, greatest, highest=False)


def _extreme(values: Values, ranges: Ranges, combine: Any, highest: bool) -> Found:
    """highest: whether what stands for an empty range is above all values, or below them."""
    kind = values.array.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind):
        numbers = values.numbers
        limits = np.finfo(numbers.dtype) if numbers.dtype.kind == "f" else np.iinfo(numbers.dtype)
        return fold((numbers,), ranges.starts, ranges.ends, combine, [limits.max if highest else limits.min])[0], None
    # Of equal ones the first: 1.5 and 1.50 are equal, and differ.
    ranks = values.ranks if highest else -values.ranks
    places = np.arange(len(ranks))
    _, found = fold((ranks, places), ranges.starts, ranges.ends, least_first, [len(ranks), -1])
    return values.array.take(pa.array(found)), None


def _first(values: Values, ranges: Ranges) -> Found:
    return values.array.take(pa.array(ranges.starts)), None


def _last(values: Values, ranges: Ranges) -> Found:
    return values.array.take(pa.array(ranges.ends - 1)), None


def _stddev(values: Values, ranges: Ranges) -> Found:
    found = deviations(values.numbers.astype(np.float64), ranges.starts, ranges.ends)
    several = ranges.ends - ranges.starts > 1
    return pa.array(found, mask=~several), ~np.isfinite(found) & several


def _quantile(values: Values, ranges: Ranges) -> Found:
    found = quantiles(values.numbers.astype(np.float64), ranges.starts, ranges.ends, values.quantile)
    return found, ~np.isfinite(found)


def _distinct(values: Values, ranges: Ranges) -> Found:
    return count_distinct(values.ranks, ranges.starts, ranges.ends), None


def _same(type_: str) -> str:
    return type_


def _float(_: str) -> str:
    return "float"


def _integer(_: str) -> str:
    return "integer"


_NUMBERS = frozenset({"integer", "float"})
_COMPARABLE = _NUMBERS | {"text", "decimal", "boolean", "timestamp", "date", "duration", "uuid"}
AGGREGATES: Mapping[str, Aggregate] = {
    "count": Aggregate(_COMPARABLE | {"json", "vector", "bits", "image"}, _integer, lambda *_: ([], None)),
    "sum": Aggregate(_NUMBERS | {"decimal", "duration"}, _same, _sum),
    "mean": Aggregate(_NUMBERS | {"decimal", "duration"}, lambda type_: "float" if type_ in _NUMBERS else type_, _mean),
    "min": Aggregate(_COMPARABLE, _same, _least),
    "max": Aggregate(_COMPARABLE, _same, _greatest),
    "first": Aggregate(_COMPARABLE, _same, _first),
    "last": Aggregate(_COMPARABLE, _same, _last),
    "median": Aggregate(_NUMBERS, _float, _quantile),
    "quantile": Aggregate(_NUMBERS, _float, _quantile),
    "stddev": Aggregate(_NUMBERS | {"decimal"}, _float, _stddev),
    "distinct": Aggregate(_COMPARABLE, _integer, _distinct),
}
