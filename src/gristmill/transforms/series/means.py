"""Sums of floats, means and standard deviations over ranges of rows, within the range of their types."""

from typing import Any

import numpy as np
import numpy.typing as npt

from gristmill.transforms.series.fold import add, fold, join_deviations, sum_halves
from gristmill.transforms.spec import Indexes

Floats = npt.NDArray[np.float64]
# Numbers that are this many powers of two smaller have squares, and sums, in the range of floats.
_SCALE = 600
# Below it squares lose digits.
_SMALL = 2.0**-500


def sum_floats(values: Floats, starts: Indexes, ends: Indexes) -> Floats:
    """Return the sums; infinite where one leaves the floats."""
    (totals,) = fold((values,), starts, ends, add, [0.0])
    if np.isfinite(totals).all():
        return np.asarray(totals)
    # What is added on the way may leave them where the sum does not.
    (parts,) = fold((np.ldexp(values, -_SCALE),), starts, ends, add, [0.0])
    with np.errstate(over="ignore"):
        return np.asarray(np.where(np.isfinite(totals), totals, np.ldexp(parts, _SCALE)))


def mean_floats(values: Floats, starts: Indexes, ends: Indexes) -> Floats:
    counts = ends - starts
    (totals,) = fold((values,), starts, ends, add, [0.0])
    means = totals / counts
    if np.isfinite(totals).all():
        return np.asarray(means)
    (parts,) = fold((np.ldexp(values, -_SCALE),), starts, ends, add, [0.0])
    return np.asarray(np.where(np.isfinite(means), means, np.ldexp(parts / counts, _SCALE)))


def mean_integers(values: Indexes, starts: Indexes, ends: Indexes) -> Floats:
    """Return the float that is nearest to each exact mean."""
    above, below = sum_halves(values, starts, ends)
    counts = ends - starts
    means = (above * 2.0**32 + below) / counts
    # Python divides integers of any size and rounds once.
    for place in np.flatnonzero(np.abs(above) >= 2**20).tolist():
        means[place] = ((int(above[place]) << 32) + int(below[place])) / int(counts[place])
    return np.asarray(means)


def round_means(values: Indexes, starts: Indexes, ends: Indexes) -> Indexes:
    """Return the integer that is nearest to each exact mean, of two the even one."""
    above, below = sum_halves(values, starts, ends)
    counts = ends - starts
    found = np.empty(len(counts), np.int64)
    for place, (high, low, count) in enumerate(zip(above.tolist(), below.tolist(), counts.tolist(), strict=True)):
        whole, rest = divmod((high << 32) + low, count)
        found[place] = whole + (2 * rest > count or (2 * rest == count and whole % 2 == 1))
    return found


def _near(values: Floats) -> Floats:
    """Return the distances from the first value if none of them is rounded, else the values.

    Means of short distances are rounded less. A rounded distance would cost a group of small values its digits.
    """
    if not len(values):
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        near = values - values[0]
        exact = (near + values[0] == values) & (values - near == values[0])
    return near if exact.all() else values


def deviations(values: Floats, starts: Indexes, ends: Indexes) -> Floats:
    """Return the standard deviations of samples; those of one value mean nothing."""
    near = _near(values)
    found = _deviations(near, starts, ends)
    beyond, small = ~np.isfinite(found), found < _SMALL
    with np.errstate(over="ignore", invalid="ignore"):
        if beyond.any():
            found = np.where(beyond, np.ldexp(_deviations(np.ldexp(near, -_SCALE), starts, ends), _SCALE), found)
        if small.any():
            found = np.where(small, np.ldexp(_deviations(np.ldexp(near, _SCALE), starts, ends), -_SCALE), found)
    return np.asarray(found)


def _deviations(values: Floats, starts: Indexes, ends: Indexes) -> Any:
    columns = (np.ones(len(values)), values, np.zeros(len(values)))
    counts, _, squares = fold(columns, starts, ends, join_deviations, [0.0, 0.0, 0.0])
    with np.errstate(invalid="ignore"):
        return np.sqrt(squares / np.maximum(counts - 1, 1))
