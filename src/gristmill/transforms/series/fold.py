"""Aggregates over many ranges of one column at once, by doubling.

No value is taken off a sum again, so what lies outside of a range leaves no trace in it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gristmill.transforms.spec import Indexes, Mask

Arrays = tuple[np.ndarray[Any, Any], ...]
# Ranges of so many values are put together one value after the other.
_FEW, _BLOCK = 12, 8192
Combine = Callable[[Arrays, Arrays], Arrays]
"""Puts what is known of a range and of the range right behind it together; it must be associative."""


def fold(columns: Arrays, starts: Indexes, ends: Indexes, combine: Combine, empty: Sequence[Any]) -> Arrays:
    """Return what ``combine`` makes of the values of each range ``starts[i]:ends[i]``; of an empty one ``empty``,
    which must leave what it is combined with as it is.

    columns: arrays of shape (n,) that describe a range of one value each. It takes n log(longest range) steps.
    """
    lengths = ends - starts
    made: Arrays | None = None
    position, table, width = starts, columns, 1
    longest = int(lengths.max(initial=0))
    if 0 < longest <= _FEW and len(starts) == len(columns[0]) and (ends == np.arange(1, len(ends) + 1)).all():
        return _slide(columns, lengths, longest, combine, empty)
    while width <= longest:
        # ``table`` knows the ranges of ``width`` values from each place on.
        taken = (lengths & width) != 0
        every = bool(taken.all())
        at = position if every else np.where(taken, position, 0)
        pieces = tuple(column[at] for column in table)
        if not every:
            pieces = tuple(np.where(taken, piece, value) for piece, value in zip(pieces, empty, strict=True))
        made = pieces if made is None else combine(made, pieces)
        position = position + (width if every else taken * width)
        if 2 * width <= longest:
            table = combine(tuple(column[:-width] for column in table), tuple(column[width:] for column in table))
        width *= 2
    if made is None:
        return tuple(np.full(len(starts), value, one.dtype) for one, value in zip(columns, empty, strict=True))
    return made


def _slide(columns: Arrays, lengths: Indexes, longest: int, combine: Combine, empty: Sequence[Any]) -> Arrays:
    """Return the same for ranges of few values that end at each value: columns are shifted, nothing is looked up."""
    made = tuple(np.empty_like(column) for column in columns)
    # Arrays of some rows at a time stay in memory that is used again: twice as fast as whole ones.
    for start in range(0, len(lengths), _BLOCK):
        end = min(start + _BLOCK, len(lengths))
        found = tuple(column[start:end] for column in columns)
        size = lengths[start:end]
        for back in range(1, longest):
            # Only the first rows of all have fewer rows before them than that.
            skipped = max(0, back - start)
            pieces = tuple(column[start + skipped - back : end - back] for column in columns)
            inside = size[skipped:] > back
            if not inside.all():
                pieces = tuple(np.where(inside, one, value) for one, value in zip(pieces, empty, strict=True))
            more = combine(pieces, tuple(column[skipped:] for column in found))
            if skipped:
                more = tuple(np.concatenate([column[:skipped], rest]) for column, rest in zip(found, more, strict=True))
            found = more
        for column, values in zip(made, found, strict=True):
            column[start:end] = values
    return made


def add(before: Arrays, behind: Arrays) -> Arrays:
    with np.errstate(over="ignore", invalid="ignore"):
        return tuple(one + other for one, other in zip(before, behind, strict=True))


def least(before: Arrays, behind: Arrays) -> Arrays:
    return (np.minimum(before[0], behind[0]),)


def greatest(before: Arrays, behind: Arrays) -> Arrays:
    return (np.maximum(before[0], behind[0]),)


def least_first(before: Arrays, behind: Arrays) -> Arrays:
    """Combine (value, whatever belongs to it): the least value, of equal ones the first."""
    later = behind[0] < before[0]
    return tuple(np.where(later, other, one) for one, other in zip(before, behind, strict=True))


def join_deviations(before: Arrays, behind: Arrays) -> Arrays:
    """Combine (count, mean, sum of squared deviations from it).

    Source: Chan, Golub, LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979.
    """
    count = before[0] + behind[0]
    with np.errstate(over="ignore", invalid="ignore"):
        share = behind[0] / np.maximum(count, 1)
        # To what has no values there is no distance.
        distance = np.where((before[0] > 0) & (behind[0] > 0), behind[1] - before[1], 0.0)
        mean = np.where(before[0] > 0, before[1] + distance * share, behind[1])
        return count, mean, before[2] + behind[2] + distance * distance * (before[0] * share)


def sum_halves(values: Indexes, starts: Indexes, ends: Indexes) -> tuple[Indexes, Indexes]:
    """Return the exact sum of each range as two parts: how many times 2^32, and what is left, from 0 on."""
    # Sums of 2^31 values of 32 bits stay within 64 bits, and integers may be taken off again.
    high, low = (np.concatenate([[0], np.cumsum(half)]) for half in (values >> 32, values & 0xFFFFFFFF))
    above, below = high[ends] - high[starts], low[ends] - low[starts]
    return above + (below >> 32), below & 0xFFFFFFFF


def sum_integers(values: Indexes, starts: Indexes, ends: Indexes) -> tuple[Indexes, Mask]:
    """Return the exact sum of each range, and whether it leaves 64 bits (the sum is 0 then)."""
    above, below = sum_halves(values, starts, ends)
    beyond = (above > 2**31 - 1) | (above < -(2**31))
    return (np.where(beyond, 0, above) << 32) + np.where(beyond, 0, below), beyond
