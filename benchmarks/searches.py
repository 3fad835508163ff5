"""Searches over HTTP by the vectors of real texts, and how near their answers come to the exact ones."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import exact
from benchmarks.figures import Times
from benchmarks.harness import Bench


@dataclass(frozen=True)
class Searched:
    """What some searches gave.

    ef: the width asked for, None is the server's choice. full: answers with k hits that say ``complete``; of ``asked``.
    used: the widths that the answers name. expected: the mean of the recall that they expect, None where one does not
    say. known_from: what they know it from. All of them are empty where the version does not tell.
    """

    ef: int | None
    recall: float
    times: Times
    inside: Times
    plans: list[str]
    full: int
    asked: int
    used: list[int] = field(default_factory=list)
    expected: float | None = None
    known_from: list[str] = field(default_factory=list)

    def told(self) -> str:
        """Return in words what the answers said of their effort and their recall."""
        if not self.used:
            return "the answers do not say with which ef"
        span = " to ".join(str(ef) for ef in sorted({self.used[0], self.used[-1]}))
        if self.expected is None:
            return f"ef {span}, no recall expected"
        return f"ef {span}, expected {self.expected:.4f} from {', '.join(self.known_from) or 'nothing'}"

    def values(self) -> dict[str, Any]:
        return {
            **self.times.values(), "ef": self.ef, "recall": round(self.recall, 5), "took_ms": self.inside.values(),
            "plans": self.plans, "full": self.full, "asked": self.asked, "used": self.used,
            "expected": self.expected, "known_from": self.known_from,
        }  # fmt: skip


def search(
    bench: Bench, dataset: str, vectors: Sequence[list[float]], kth: Sequence[float], k: int, rounds: int, **more: Any
) -> Searched:
    """Ask each query once to warm up, then ``rounds`` times one after another; ``more`` are members of the body."""
    given = {name: value for name, value in more.items() if value is not None}
    bodies = [json.dumps({"vector": vector, "k": k, **given}) for vector in vectors]
    path = f"/datasets/{dataset}/search"
    bench.post(path, bodies, requests=len(bodies))
    answers = bench.post(path, bodies, requests=rounds * len(bodies), keep=True)
    found = [json.loads(body) for body in answers.bodies]
    expected = [one.get("expected_recall") for one in found]
    return Searched(
        ef=given.get("ef"),
        recall=exact.recall(answers.bodies[: len(bodies)], kth, k),
        times=Times.of(answers.times),
        inside=Times.of([one["took_ms"] for one in found]),
        plans=sorted({one["plan"] for one in found}),
        full=sum(len(one["hits"]) == k and one["complete"] for one in found),
        asked=len(found),
        used=sorted({one["ef"] for one in found if one.get("ef") is not None}),
        expected=None if None in expected else round(sum(expected) / len(expected), 5),
        known_from=sorted({str(one["recall_known_from"]) for one in found if one.get("recall_known_from")}),
    )


def ladder(
    bench: Bench,
    dataset: str,
    vectors: Sequence[list[float]],
    kth: Sequence[float],
    k: int,
    rounds: int,
    enough: float,
    widths: Sequence[int | None],
) -> list[Searched]:
    """Return what each width of ``widths`` gave, in order, up to the first whose recall is ``enough``."""
    found: list[Searched] = []
    for ef in widths:
        found.append(search(bench, dataset, vectors, kth, k, rounds, ef=ef))
        if found[-1].recall >= enough:
            break
    return found
