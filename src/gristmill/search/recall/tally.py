"""Counts what the walks of one graph have found of the nearest, and makes its curve of that."""

from collections.abc import Sequence

import numpy as np

from gristmill.search.query.curve import EFS, KS, Contribution, Curve, Table
from gristmill.search.query.vector import taken
from gristmill.search.recall.nearest import Queries
from gristmill.search.repository.catalogue import Ready
from gristmill.search.repository.recall import K

# From this effort on walks take most of the time, and most queries miss nothing: one of so many of these is walked.
_WIDE, _OF_SO_MANY = 350, 8
# The distances of the nearest of one part of the records, in order, for each query.
Truth = Sequence[Sequence[float]]


class Tally:
    """Of one graph: the walks of a sample of the queries, effort by effort, compared with the truth."""

    def __init__(self, segment: Ready, truth: Truth, everywhere: "Everywhere | None") -> None:
        """truth: the nearest of the graph. everywhere: the nearest of all graphs, if they are known."""
        self._segment = segment
        self._truth = truth
        self._everywhere = everywhere
        self._held = everywhere.held(truth) if everywhere else np.zeros((len(KS), len(truth)))
        self._recall, self._error, self._lost, self._lost_error = np.zeros((4, len(KS), len(EFS)))
        self._missed = np.ones(len(truth), bool)

    def sample(self, ef: int) -> list[int]:
        """Return the queries to walk with ``ef``: first all that missed something with a smaller one."""
        others = np.flatnonzero(~self._missed)
        return [*np.flatnonzero(self._missed), *(others[::_OF_SO_MANY] if ef >= _WIDE else others)]

    def add(self, ef: int, chosen: list[int], found: Sequence[Sequence[float]]) -> None:
        """Count what the walks of the queries ``chosen`` found: distances in the order of each walk."""
        place, counts = EFS.index(ef), (int(self._missed.sum()), int((~self._missed).sum()))
        missed = self._missed.copy()
        for row, k in enumerate(KS):
            most = taken(self._segment.range, k, ef)
            pairs = list(zip(chosen, (hits[:most] for hits in found), strict=True))
            shares = np.array([share(sorted(hits), self._truth[query][:k]) for query, hits in pairs])
            self._recall[row, place], self._error[row, place] = mean_of(shares, counts)
            if self._everywhere is not None:
                given = np.array([self._everywhere.part(hits, query, row) for query, hits in pairs])
                # Of what is as near as the k-th a walk may have more than k.
                lost = np.maximum(self._held[row, chosen] - given, 0)
                self._lost[row, place], self._lost_error[row, place] = mean_of(lost, counts)
            if k == K:
                missed[chosen] = shares < 1
        self._missed = missed

    def curve(self, queries: Queries, walk_ms: Sequence[float]) -> Curve:
        """Return what is known now. walk_ms: how long a walk took, at each of ``EFS``."""
        # Where a record had to be several queries, it counts as one.
        wider = np.sqrt(len(queries.texts) / queries.independent)
        contribution = None
        if self._everywhere is not None:
            held = tuple(self._held.mean(axis=1).tolist())
            lost, lost_error = _table(self._lost), _table(self._lost_error * wider)
            contribution = Contribution(held, lost, lost_error, self._everywhere.rows, queries.independent)
        recall, error = _table(self._recall), _table(self._error * wider)
        return Curve(KS, EFS, recall, error, len(queries.texts), queries.source, tuple(walk_ms), contribution)


class Everywhere:
    """The nearest of all graphs of a dataset, for each query and each of ``KS``. rows: of all graphs."""

    def __init__(self, truths: Sequence[Truth], rows: int) -> None:
        """truths: of each graph."""
        self.rows = rows
        self._kth: list[list[float]] = []
        self._counts: list[list[int]] = []
        for parts in zip(*truths, strict=True):
            every = sorted(one for part in parts for one in part)
            kth = [every[min(k, len(every)) - 1] if every else np.inf for k in KS]
            self._kth.append(kth)
            # More than k where distances are equal: then any k of them are an answer.
            near = [sum(_count(part[:k], far) for part in parts) for k, far in zip(KS, kth, strict=True)]
            self._counts.append(near)

    def part(self, distances: Sequence[float], query: int, row: int) -> float:
        """Return which part of the nearest these are. row: of ``KS``."""
        return _count(distances, self._kth[query][row]) / max(1, self._counts[query][row])

    def held(self, truth: Truth) -> np.ndarray:
        """Return which part of the nearest one graph holds: (``KS``, queries)."""
        every = range(len(truth))
        return np.array([[self.part(truth[query][:k], query, row) for query in every] for row, k in enumerate(KS)])


def mean_of(shares: np.ndarray, counts: tuple[int, int]) -> tuple[float, float]:
    """Return the mean of what all queries find, and its standard error, of a stratified sample.

    counts: how many queries missed something before, and how many did not. shares: of all the former, then of some of
    the latter.
    """
    first, second = shares[: counts[0]], shares[counts[0] :]
    total = sum(counts)
    weights = [(part, count / total) for part, count in ((first, counts[0]), (second, counts[1])) if count]
    mean = sum(weight * part.mean() for part, weight in weights)
    spread = sum(weight * (part**2).mean() for part, weight in weights) - mean**2
    variance = max(spread, 0.0) / total
    if counts[1]:
        # What is not known of the queries that were not walked.
        variance += (counts[1] / total) ** 2 * second.var() * (1 / len(second) - 1 / counts[1])
    return float(mean), float(np.sqrt(variance))


def share(found: Sequence[float], truth: Sequence[float]) -> float:
    """Return the part of the nearest that was found. Of equally near records any counts."""
    return _count(found[: len(truth)], truth[-1]) / len(truth) if truth else 1.0


def _count(distances: Sequence[float], limit: float) -> int:
    return sum(distance <= limit for distance in distances)


def _table(matrix: np.ndarray) -> Table:
    return tuple(tuple(row) for row in matrix.tolist())
