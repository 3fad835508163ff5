"""What is known of one graph: the recall of a walk by its effort, and the effort that a recall needs.

A curve is measured at some ``k`` and some ``ef``. Between them it is followed on the scale on which it is nearly
straight: the logarithm of the part that is missed, over the logarithms of ``ef`` and of ``k``.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

# queries: vectors that were searched by. records: stored ones that are not in the graph. assumed: nothing was measured
# of this graph, and what is typical of one of its size is taken.
Source = Literal["queries", "records", "assumed"]
KS = (10, 30, 100, 300)
EFS = (20, 40, 70, 120, 200, 350, 600, 1000)
# A recall that is larger by so many standard errors is the true one's or larger in 95 of 100 samples.
CONFIDENT = 1.645
# A recall of 1 was measured over so many hits only: so much may be missed all the same.
_LEAST_MISSED = 1e-4

Table = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one graph gives to the k nearest of all graphs of a dataset; these parts add up, as recalls do not.

    share: for each of a curve's ``ks`` the part of these nearest that the graph holds. missed, error: for each of
    ``ks`` one value for each of ``efs``: the part that it holds and a walk does not find, and its standard error.
    rows: of all graphs when it was learnt. searches: how many of them had nothing to do with another one.
    """

    share: tuple[float, ...]
    missed: Table
    error: Table
    rows: int
    searches: int


@dataclass(frozen=True, slots=True)
class Curve:
    """recall, error: for each of ``ks`` one value for each of ``efs``; error is the standard error of the recall.

    The recall is that of the k nearest which the graph itself holds. queries: how many were searched. source: where
    they came from. walk_ms: how long a walk took, at each of ``efs``; () if none was measured. contribution: None
    unless it was learnt together with those of all other graphs.
    """

    ks: tuple[int, ...]
    efs: tuple[float, ...]
    recall: Table
    error: Table
    queries: int
    source: Source
    walk_ms: tuple[float, ...] = ()
    contribution: Contribution | None = None

    def missed_at(self, efs: np.ndarray, k: float) -> tuple[np.ndarray, np.ndarray]:
        """Return for each ef the part of the ``k`` nearest of the graph that a walk misses, and its standard error."""
        return self._at(efs, k, 1 - np.array(self.recall), self.error)

    def contributed_at(self, efs: np.ndarray, k: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the share of the ``k`` nearest of all graphs, and as ``missed_at`` what is missed of these."""
        assert self.contribution is not None
        share = float(np.interp(math.log(k), np.log(self.ks), self.contribution.share))
        return share, *self._at(efs, k, np.array(self.contribution.missed), self.contribution.error)

    def _at(self, efs: np.ndarray, k: float, missed: np.ndarray, error: Table) -> tuple[np.ndarray, np.ndarray]:
        at, points = np.log(efs), np.log(self.efs)
        low, part = _between(self.ks, k)
        found = np.exp(np.interp(at, points, _missed(missed, low, part)))
        return found, np.interp(at, points, _mixed(np.array(error), low, part))

    def effort(self, target: float, k: float) -> float | None:
        """Return the least ef whose recall is ``target`` or more with a confidence of 95 %; None if no one's is.

        Without a margin half of all efforts would be too small: those whose recall was measured too large by chance.
        """
        missed = _missed(1 - np.array(self.recall) + CONFIDENT * np.array(self.error), *_between(self.ks, k))
        wanted = math.log(1 - target)
        enough = np.flatnonzero(missed <= wanted)
        if not enough.size:
            return None
        last = int(enough[0])
        if last == 0:
            return self.efs[0]
        part = (missed[last - 1] - wanted) / (missed[last - 1] - missed[last])
        low, high = math.log(self.efs[last - 1]), math.log(self.efs[last])
        return math.exp(low + part * (high - low))

    def walk_ms_at(self, ef: float) -> float | None:
        """Return how long a walk took, about; None if that was not measured."""
        return float(np.interp(ef, self.efs, self.walk_ms)) if self.walk_ms else None

    def as_json(self) -> dict[str, Any]:
        """Return the curve as it is stored and shown."""
        return {
            "k": list(self.ks),
            "ef": list(self.efs),
            "recall": [[round(value, 4) for value in values] for values in self.recall],
            "error": [[round(value, 4) for value in values] for values in self.error],
            "walk_ms": [round(value, 3) for value in self.walk_ms],
            "queries": self.queries,
            "known_from": self.source,
            "contribution": None if self.contribution is None else _as_json(self.contribution),
        }


def read_curve(body: dict[str, Any]) -> Curve:
    """Return the curve that ``as_json`` has written; a version before has written none of its contribution."""
    given = body.get("contribution")
    contribution = given and Contribution(
        tuple(given["share"]), _table(given["missed"]), _table(given["error"]), given["rows"], given["searches"]
    )
    return Curve(
        tuple(body["k"]),
        tuple(body["ef"]),
        _table(body["recall"]),
        _table(body["error"]),
        body["queries"],
        body["known_from"],
        tuple(body["walk_ms"]),
        contribution,
    )


def _as_json(contribution: Contribution) -> dict[str, Any]:
    return {
        "share": [round(value, 4) for value in contribution.share],
        "missed": [[round(value, 5) for value in values] for values in contribution.missed],
        "error": [[round(value, 5) for value in values] for values in contribution.error],
        "rows": contribution.rows,
        "searches": contribution.searches,
    }


def _table(values: Any) -> Table:
    return tuple(tuple(row) for row in values)


def _between(ks: tuple[int, ...], k: float) -> tuple[int, float]:
    """Return the place of the last of ``ks`` that is not larger, and how far it is from there to the next one."""
    at = float(np.interp(math.log(k), np.log(ks), np.arange(len(ks))))
    return int(at), at - int(at)


def _mixed(table: np.ndarray, low: int, part: float) -> Any:
    return table[low] if not part else (1 - part) * table[low] + part * table[low + 1]


def _missed(missed: np.ndarray, low: int, part: float) -> Any:
    """Return the logarithm of what is missed, for each ef; more effort never misses more."""
    return np.minimum.accumulate(_mixed(np.log(np.clip(missed, _LEAST_MISSED, 1)), low, part))


# Of 60,000 texts of 256 dimensions, with m 16 and ef_construction 128.
_ASSUMED_ROWS = 60_000
_ASSUMED: Table = (
    (0.875, 0.932, 0.958, 0.976, 0.986, 0.996, 0.999, 0.9993),
    (0.60, 0.895, 0.94, 0.967, 0.980, 0.992, 0.9965, 0.9985),
    (0.20, 0.40, 0.70, 0.938, 0.967, 0.986, 0.994, 0.9978),
    (0.066, 0.133, 0.233, 0.40, 0.667, 0.955, 0.982, 0.992),
)
# The effort that a recall needs grows with this power of the rows: 0.98 needs ef 130, 240 and 400 for 60,000, 300,000
# and a million of these texts.
_GROWTH = 0.4


def assumed(rows: int) -> Curve:
    """Return what is typical of a graph of so many rows: what holds until its own curve is learnt."""
    factor = max(0.3, (rows / _ASSUMED_ROWS) ** _GROWTH)
    nothing = tuple((0.0,) * len(EFS) for _ in KS)
    return Curve(KS, tuple(ef * factor for ef in EFS), _ASSUMED, nothing, 0, "assumed")
