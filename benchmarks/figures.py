"""Rows of the table, and the arithmetic behind them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table.

    what: the figure in words. measured: the figure as text. target: what is promised, "" where nothing is.
    met: whether it is; None without a target. values: the numbers, for the JSON file.
    figure: the one number that tells, where an older version is measured beside this one. lower: less of it is better.
    """

    what: str
    measured: str
    target: str = ""
    met: bool | None = None
    values: dict[str, Any] = field(default_factory=dict)
    figure: float | None = None
    lower: bool = False


@dataclass(frozen=True)
class Times:
    """The distribution of some times in milliseconds."""

    count: int
    p50: float
    p90: float
    p99: float
    highest: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> "Times":
        """Raises ValueError without any time."""
        if not milliseconds:
            raise ValueError("nothing was measured")
        ordered = sorted(milliseconds)
        p50, p90, p99 = (percentile(ordered, share) for share in (0.50, 0.90, 0.99))
        return cls(len(ordered), p50, p90, p99, ordered[-1])

    def __str__(self) -> str:
        return f"p50 {show(self.p50)}, p99 {show(self.p99)} ms"

    def values(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "p50_ms": round(self.p50, 3),
            "p90_ms": round(self.p90, 3),
            "p99_ms": round(self.p99, 3),
            "max_ms": round(self.highest, 3),
        }


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that ``share`` of the sorted values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def show(value: float) -> str:
    """Return a number as people read it: two digits after the point below 10, one below 100, then none."""
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"
