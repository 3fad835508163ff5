"""Searches over HTTP by the vectors of real texts, and how near their answers come to the exact ones."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import exact
from benchmarks.figures import Times
from benchmarks.harness import Bench


@dataclass(frozen=True)
class Searched:
    """ef: the width asked for, None is the server's. full: answers with k hits that say ``complete``; of ``asked``."""

    ef: int | None
    recall: float
    times: Times
    inside: Times
    plans: list[str]
    full: int
    asked: int

    def values(self) -> dict[str, Any]:
        return {
            **self.times.values(), "ef": self.ef, "recall": round(self.recall, 5), "took_ms": self.inside.values(),
            "plans": self.plans, "full": self.full, "asked": self.asked,
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
    return Searched(
        ef=given.get("ef"),
        recall=exact.recall(answers.bodies[: len(bodies)], kth, k),
        times=Times.of(answers.times),
        inside=Times.of([one["took_ms"] for one in found]),
        plans=sorted({one["plan"] for one in found}),
        full=sum(len(one["hits"]) == k and one["complete"] for one in found),
        asked=len(found),
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
