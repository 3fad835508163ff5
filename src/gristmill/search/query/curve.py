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
_CONFIDENT = 1.645
# A recall of 1 was measured over so many hits only: so much may be missed all the same.
_LEAST_MISSED = 1e-4

Table = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """recall, error: for each of ``ks`` one value for each of ``efs``; error is the standard error of the recall.

    queries: how many were searched. source: where they came from. walk_ms: how long a walk took, at each of ``efs``;
    () if none was measured.
    """

    ks: tuple[int, ...]
    efs: tuple[float, ...]
    recall: Table
    error: Table
    queries: int
    source: Source
    walk_ms: tuple[float, ...] = ()

    def recall_at(self, ef: float, k: float) -> float:
        """Return the recall of the ``k`` nearest that a walk with ``ef`` is expected to have."""
        missed = _missed(np.array(self.recall), self.ks, k)
        return float(1 - np.exp(np.interp(math.log(ef), np.log(self.efs), missed)))

    def effort(self, target: float, k: float) -> float | None:
        """Return the least ef whose recall is ``target`` or more with a confidence of 95 %; None if no one's is.

        Without a margin half of all efforts would be too small: those whose recall was measured too large by chance.
        """
        missed = _missed(np.array(self.recall) - _CONFIDENT * np.array(self.error), self.ks, k)
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
        }


def read_curve(body: dict[str, Any]) -> Curve:
    """Return the curve that ``as_json`` has written."""
    recall, error = (tuple(tuple(values) for values in body[name]) for name in ("recall", "error"))
    return Curve(
        tuple(body["k"]), tuple(body["ef"]), recall, error, body["queries"], body["known_from"], tuple(body["walk_ms"])
    )


def _missed(recall: Any, ks: tuple[int, ...], k: float) -> Any:
    """Return the logarithm of what is missed of the ``k`` nearest, for each ef; more effort never misses more."""
    table = np.log(np.clip(1 - recall, _LEAST_MISSED, 1))
    at = float(np.interp(math.log(k), np.log(ks), np.arange(len(ks))))
    low, part = int(at), at - int(at)
    row = table[low] if not part else (1 - part) * table[low] + part * table[low + 1]
    return np.minimum.accumulate(row)


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
