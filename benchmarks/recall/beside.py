"""Chroma with the same rows and queries, and Gristmill at the recall that it reaches, in turn.

The speed of a shared machine changes by half within minutes. So a turn is some hundred queries, about half a second,
and what is compared are medians of the same turn: what the machine does meanwhile befalls both.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from benchmarks import exact, peer_runs
from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench
from benchmarks.peers import PeerUnavailable
from benchmarks.recall.table import NAME, Asked, K
from benchmarks.searches import Searched

TARGET_RATIO = 1.3
# Of queries per turn, which are taken one after another from all of them.
TURNS, QUERIES = 12, 100


@dataclass(frozen=True)
class Width:
    """Searches with one width. turns: their milliseconds, turn by turn."""

    ef: int
    recall: float
    turns: list[list[float]]

    def times(self) -> Times:
        return Times.of([time for turn in self.turns for time in turn])

    def values(self) -> dict[str, Any]:
        return {"ef": self.ef, "recall": round(self.recall, 5), **self.times().values()}


def chroma(bench: Bench, asked: Asked, known: Sequence[Searched]) -> Iterator[Row]:
    """Yield Chroma's curve, and Gristmill's latency at Chroma's recall. known: Gristmill at every width."""
    what, name = f"  Chroma server over HTTP: {asked.size}", f"  Gristmill over HTTP at Chroma's recall: {asked.size}"
    tried: list[Width] = []
    pairs: list[dict[str, Any]] = []
    try:
        with peer_runs.stored_chroma(bench, asked.rows) as stored:
            for ef in peer_runs.WIDTHS:
                theirs, ours = _in_turn(bench, asked, stored, ef, known)
                tried.append(theirs)
                if ours:
                    pairs.append(compared(theirs, ours))
                if theirs.recall >= peer_runs.ENOUGH:
                    break
    except PeerUnavailable as error:
        yield Row(what, f"not measured: {error}", values={"unavailable": str(error), "rows": asked.rows})
        return
    # The narrowest that reaches the recall.
    chosen = next((one for one in tried if one.recall >= peer_runs.RECALL), tried[-1])
    found = {**chosen.values(), "tried": [one.values() for one in tried]}
    yield row(what, "Chroma", asked.rows, found)
    best = next((one for one in pairs if one["theirs"] == chosen.ef), None)
    ratios = "; at all widths " + ", ".join(f"{show(one['ratio'])} (ef {one['theirs']})" for one in pairs)
    values = {"rows": asked.rows, "pairs": pairs, "best": best}
    target = f"≤ {TARGET_RATIO:g} × Chroma (p50)"
    if best is None:
        yield Row(name, f"no ef reaches its {chosen.recall:.4f}{ratios if pairs else ''}", target, False, values)
        return
    yield Row(
        f"{name}, ef {best['ours']}",
        f"p50 {show(best['p50_ms'])} ms, recall {best['recall']:.4f}: {show(best['ratio'])} × Chroma, the median of "
        f"{TURNS} turns from {show(best['least'])} to {show(best['most'])}{ratios}",
        target,
        best["ratio"] <= TARGET_RATIO,
        {**values, **best},
    )


def row(what: str, name: str, rows: int, found: dict[str, Any]) -> Row:
    """Return the row of a peer's search, with its curve for the plot."""
    return Row(
        f"{what}, ef {found['ef']}",
        f"p50 {show(found['p50_ms'])}, p99 {show(found['p99_ms'])} ms, recall {found['recall']:.4f}",
        values={**found, "curve_of": name, "rows": rows},
    )


def _in_turn(
    bench: Bench, asked: Asked, stored: peer_runs.StoredChroma, ef: int, known: Sequence[Searched]
) -> tuple[Width, list[Width]]:
    """Return Chroma with this width, and Gristmill at the widths around its recall; [] where none reaches it."""
    fixed = {"n_results": K, "include": ["documents", "metadatas", "distances"]}
    count = len(asked.vectors)
    with stored.served(ef) as post:
        sides = [partial(post, [json.dumps({"query_embeddings": [vector], **fixed}) for vector in asked.vectors])]
        answers = sides[0](requests=count, keep=True).bodies
        near = [json.loads(body)["distances"][0] for body in answers]
        widths = [Width(ef, exact.recall_of(near, asked.kth, K), [])]
        for one in around(known, widths[0].recall):
            widths.append(Width(one.ef or 0, one.recall, []))
            bodies = [json.dumps({"vector": vector, "k": K, "ef": one.ef}) for vector in asked.vectors]
            sides.append(partial(bench.post, f"/datasets/{NAME}/search", bodies))
            sides[-1](requests=count)
        for turn in range(TURNS):
            for width, side in zip(widths, sides, strict=True):
                width.turns.append(side(first=turn * QUERIES, requests=QUERIES).times)
    return widths[0], widths[1:]


def around(known: Sequence[Searched], recall: float) -> list[Searched]:
    """Return the narrowest that reaches a recall, after the one before it if there is one; [] if none reaches it."""
    place = next((place for place, one in enumerate(known) if one.recall >= recall), None)
    return [] if place is None else list(known[max(place - 1, 0) : place + 1])


def compared(theirs: Width, ours: Sequence[Width]) -> dict[str, Any]:
    """Return Gristmill at their recall, beside theirs: between its widths around it, in proportion to the recall.

    ours: what ``around`` gives, in turn with theirs. ratio: the median of the turns' ratios of medians; ``least`` and
    ``most`` are the ends of these.
    """
    start, end = ours[0], ours[-1]
    part = 0.0 if start is end else (theirs.recall - start.recall) / (end.recall - start.recall)

    def between(first: float, last: float) -> float:
        return first + part * (last - first)

    ratios = [
        between(median(first), median(last)) / median(other)
        for first, last, other in zip(start.turns, end.turns, theirs.turns, strict=True)
    ]
    return {
        "theirs": theirs.ef, "their_recall": round(theirs.recall, 5), "their_p50_ms": round(theirs.times().p50, 3),
        "ours": round(between(start.ef, end.ef)), "recall": round(theirs.recall, 5),
        "p50_ms": round(between(start.times().p50, end.times().p50), 3), "ratio": round(median(ratios), 4),
        "least": round(min(ratios), 4), "most": round(max(ratios), 4),
    }  # fmt: skip
