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
# No graph misses a larger part of what it holds than this times what the target allows: searches may all be for what
# is in one of them.
MOST_MISSED = 2.0
# A contribution that so few searches made would be known too little.
_LEAST_SEARCHES = 16
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

    k: within what curves are measured of. Of two ways to know what a graph gives to the answer, by its rows and by
    what it was seen to give, the one that needs less is taken: both err on the side of effort, the first where graphs
    are of different topics, the second where few searches are for what a graph holds.
    """
    every = [_divided(parts, target) for parts in _ways(graphs, np.array([_GRID] * len(graphs)), k)]
    return min((efs for efs in every if efs is not None), key=sum, default=None)


def expected(graphs: Sequence[Graph], efs: Sequence[float], k: float) -> float:
    """Return the recall over all graphs that is expected of these efforts."""
    ways = _ways(graphs, np.array(efs, np.float64)[:, None], k)
    return max(0.0, 1 - min(float(parts.missed.sum()) for parts in ways))


def by_rows(graphs: Sequence[Graph], efs: Sequence[float], k: float) -> float:
    """Return the same where nothing is known of what a graph gives but its rows."""
    return 1 - float(_parts(graphs, np.array(efs, np.float64)[:, None], k, contributed=False).missed.sum())


def _ways(graphs: Sequence[Graph], efs: np.ndarray, k: float) -> list[_Parts]:
    ways = [False, True] if any(_is_known(graph.curve) for graph in graphs) else [False]
    return [_parts(graphs, efs, k, contributed) for contributed in ways]


def _is_known(curve: Curve) -> bool:
    given = curve.contribution
    return given is not None and min(given.share) * curve.queries >= _LEAST_SEARCHES


def _parts(graphs: Sequence[Graph], efs: np.ndarray, k: float, contributed: bool) -> _Parts:
    """efs: (graphs, any number)."""
    rows = sum(graph.rows for graph in graphs) or 1
    shares, missed, errors = [], [], []
    for graph, at in zip(graphs, efs, strict=True):
        given = graph.curve.contribution
        if contributed and given is not None and _is_known(graph.curve):
            share, lost, error = graph.curve.contributed_at(at, k)
            # Graphs that came since have a part of the answer too.
            factor = given.rows / rows
        else:
            share, (lost, error), factor = 1.0, graph.curve.missed_at(at, k), graph.rows / rows
        shares.append(share * factor)
        missed.append(lost * factor)
        errors.append(error * factor)
    return _Parts(np.array(shares), np.array(missed), np.array(errors))


def _divided(parts: _Parts, target: float) -> list[float] | None:
    allowed = 1 - target
    too_little = parts.missed > MOST_MISSED * allowed * parts.share[:, None]
    too_little[:, -1] = False
    price = np.where(too_little, np.inf, _GRID)
    graphs = np.arange(len(price))

    def chosen(rate: float) -> np.ndarray:
        found: np.ndarray = np.argmin(price + math.exp(rate) * parts.missed, axis=1)
        return found

    def is_enough(places: np.ndarray) -> bool:
        lost, error = parts.missed[graphs, places].sum(), math.hypot(*parts.error[graphs, places])
        return bool(lost + CONFIDENT * error <= allowed)

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
    return [float(ef) for ef in _GRID[places]]
