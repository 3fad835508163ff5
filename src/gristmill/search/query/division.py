"""Divides the effort of a search over several graphs: more of it where it finds more.

Each graph misses a part of the answer, and these parts add up. So the sum of all efforts is the least whose parts
together are what the target allows. It is the method of Lagrange: at some rate of what is missed against effort, each
graph is walked as far as a further step pays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gristmill.search.query.curve import CONFIDENT, EFS, Curve
from gristmill.search.repository.catalogue import Range

# Steps of 5 %.
_GRID = np.geomspace(EFS[0], EFS[-1], 81)
# No graph misses a larger part of what it holds than this times what the target allows, if it can: searches may all be
# for what is in one of them.
MOST_MISSED = 2.0
# A contribution that so few searches made would be known too little.
_LEAST_SEARCHES = 16
# What is hard to find in one graph is so in another one too: the correlation of what they miss, of the same queries,
# was -0.02 to 0.36 among three graphs of 100,000 texts.
_CORRELATION = 0.35
# The logarithms of the least and the largest rate, and how often the interval is halved.
_RATES, _HALVED = (0.0, 25.0), 40


@dataclass(frozen=True, slots=True)
class Graph:
    """A ready segment and what is known of its graph. rows: of the segment."""

    range: Range
    rows: int
    curve: Curve


@dataclass(frozen=True, slots=True)
class _Parts:
    """share: of the answer, for each graph. missed, error: (graphs, efs), parts of the answer."""

    share: np.ndarray
    missed: np.ndarray
    error: np.ndarray


def divided(graphs: Sequence[Graph], target: float, k: float) -> list[float] | None:
    """Return the effort of each graph with which the sum over all has the recall ``target``; None if none has.

    k: within what curves are measured of; no walk has a smaller effort. Of two ways to know what a graph gives to the
    answer, by its rows and by what it was seen to give, the one that needs less is taken, as the error of either may
    be the larger one. But what was seen has to be enough too: rows tell nothing of what searches are for.
    """
    prices = np.maximum(_GRID, k)
    efs = np.array([prices] * len(graphs))
    seen = _seen(graphs, efs, k)
    ways = [_divided(_by_rows(graphs, efs, k), prices, target, graphs, seen)]
    if seen is not None:
        ways.append(_divided(seen, prices, target, graphs, seen))
    return min((found for found in ways if found is not None), key=sum, default=None)


def expected(graphs: Sequence[Graph], efs: Sequence[float], k: float, *, by_rows: bool = False) -> float:
    """Return the recall over all graphs that is expected of these efforts.

    by_rows: whether what a graph was seen to give does not count, as with a filter.
    """
    at = np.array(efs, np.float64)[:, None]
    parts = None if by_rows else _seen(graphs, at, k)
    return max(0.0, 1 - float((parts or _by_rows(graphs, at, k)).missed.sum()))


def _by_rows(graphs: Sequence[Graph], efs: np.ndarray, k: float) -> _Parts:
    """efs: (graphs, any number)."""
    missed, error = zip(*(one.curve.missed_at(at, k) for one, at in zip(graphs, efs, strict=True)), strict=True)
    share = _row_shares(graphs)
    return _Parts(share, share[:, None] * np.array(missed), share[:, None] * np.array(error))


def _row_shares(graphs: Sequence[Graph]) -> np.ndarray:
    rows = np.array([graph.rows for graph in graphs], np.float64)
    return rows / rows.sum() if rows.any() else np.full(len(graphs), 1 / len(graphs))


def _seen(graphs: Sequence[Graph], efs: np.ndarray, k: float) -> _Parts | None:
    """Return the parts as they were learnt together; None if these are not the graphs of then."""
    rows = sum(graph.rows for graph in graphs)
    if any(graph.curve.contribution is None or graph.curve.contribution.rows != rows for graph in graphs):
        return None
    found = []
    for graph, at, part in zip(graphs, efs, _row_shares(graphs), strict=True):
        share, missed, error = graph.curve.contributed_at(at, k)
        assert graph.curve.contribution is not None
        if share * graph.curve.contribution.searches < _LEAST_SEARCHES:
            missed, error = graph.curve.missed_at(at, k)
            share = max(share, part)
            missed, error = share * missed, share * error
        found.append((share, missed, error))
    shares, missed_, errors = zip(*found, strict=True)
    return _Parts(np.array(shares), np.array(missed_), np.array(errors))


def _divided(
    parts: _Parts, prices: np.ndarray, target: float, graphs: Sequence[Graph], seen: _Parts | None
) -> list[float] | None:
    allowed = 1 - target
    too_little = parts.missed > MOST_MISSED * allowed * parts.share[:, None]
    # Of less than its first point a curve says nothing.
    too_little |= prices < np.array([graph.curve.efs[0] for graph in graphs])[:, None]
    too_little[:, -1] = False
    cost = np.where(too_little, np.inf, prices)
    each = np.arange(len(graphs))

    def chosen(rate: float) -> np.ndarray:
        found: np.ndarray = np.argmin(cost + math.exp(rate) * parts.missed, axis=1)
        return found

    def is_enough(places: np.ndarray) -> bool:
        error = parts.error[each, places]
        variance = (1 - _CORRELATION) * (error**2).sum() + _CORRELATION * error.sum() ** 2
        enough = parts.missed[each, places].sum() + CONFIDENT * math.sqrt(variance) <= allowed
        return bool(enough and (seen is None or seen.missed[each, places].sum() <= allowed))

    low, high = _RATES
    if not is_enough(chosen(high)):
        return None
    for _ in range(_HALVED):
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(chosen(middle)) else (middle, high)
    places = chosen(high)
    # Where a curve is not convex, a small change of the rate may be a long way.
    for graph in np.argsort(-places, kind="stable"):
        while places[graph] and not too_little[graph, places[graph] - 1]:
            places[graph] -= 1
            if not is_enough(places):
                places[graph] += 1
                break
    return [float(ef) for ef in prices[places]]
