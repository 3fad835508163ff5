"""Chroma with the same rows and queries, and Gristmill at the recall that it reaches."""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import peer_runs
from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.peers import PeerUnavailable
from benchmarks.recall.table import NAME, Asked, K
from benchmarks.searches import Searched, search

TARGET_RATIO = 1.3


def chroma(bench: Bench, asked: Asked, known: Sequence[Searched]) -> Iterator[Row]:
    """Yield Chroma's curve, and Gristmill's latency at Chroma's recall.

    known: Gristmill at every width. After each width of Chroma the two widths of Gristmill around its recall are
    measured: what the machine does meanwhile befalls both alike, which minutes later it would not.
    """
    what, name = f"  Chroma server over HTTP: {asked.size}", f"  Gristmill over HTTP at Chroma's recall: {asked.size}"
    tried: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    try:
        with peer_runs.stored_chroma(bench, asked.rows) as stored:
            for ef in peer_runs.WIDTHS:
                tried.append(stored.search(ef))
                pair = _beside(bench, asked, tried[-1], known)
                if pair is not None:
                    pairs.append(pair)
                if tried[-1]["recall"] >= peer_runs.ENOUGH:
                    break
    except PeerUnavailable as error:
        yield Row(what, f"not measured: {error}", values={"unavailable": str(error), "rows": asked.rows})
        return
    # The narrowest that reaches the recall.
    chosen = next((one for one in tried if one["recall"] >= peer_runs.RECALL), tried[-1])
    yield row(what, "Chroma", asked.rows, {**chosen, "tried": tried})
    best = next((pair for pair in pairs if pair["theirs"] == chosen["ef"]), None)
    ratios = "; at its other widths " + ", ".join(f"{show(pair['ratio'])} (ef {pair['theirs']})" for pair in pairs)
    values = {"rows": asked.rows, "pairs": pairs, "best": best}
    target = f"≤ {TARGET_RATIO:g} × Chroma (p50)"
    if best is None:
        yield Row(name, f"no ef reaches its {chosen['recall']:.4f}{ratios if pairs else ''}", target, False, values)
        return
    yield Row(
        f"{name}, ef {best['ours']}",
        f"p50 {show(best['p50_ms'])} ms, recall {best['recall']:.4f}: {show(best['ratio'])} × Chroma{ratios}",
        target,
        best["ratio"] <= TARGET_RATIO,
        {**values, **best},
    )


def _beside(bench: Bench, asked: Asked, theirs: dict[str, Any], known: Sequence[Searched]) -> dict[str, Any] | None:
    """Measure Gristmill at the widths around their recall and return the pair; None if no width reaches it."""
    place = next((place for place, one in enumerate(known) if one.recall >= theirs["recall"]), None)
    if place is None:
        return None
    around = known[max(place - 1, 0) : place + 1]
    ours = [search(bench, NAME, asked.vectors, asked.kth, K, peer_runs.ROUNDS, ef=one.ef) for one in around]
    return _pair(theirs, ours)


def row(what: str, name: str, rows: int, found: dict[str, Any]) -> Row:
    """Return the row of a peer's search, with its curve for the plot."""
    return Row(
        f"{what}, ef {found['ef']}",
        f"p50 {show(found['p50_ms'])}, p99 {show(found['p99_ms'])} ms, recall {found['recall']:.4f}",
        values={**found, "curve_of": name, "rows": rows},
    )


def _pair(theirs: dict[str, Any], tried: Sequence[Searched]) -> dict[str, Any] | None:
    """Return Gristmill at their recall, beside theirs: between its two nearest widths in proportion to the recall.

    None if no width reaches it.
    """
    before: Searched | None = None
    for one in tried:
        if one.recall >= theirs["recall"]:
            part = 1.0
            if before is not None and one.recall > before.recall:
                part = (theirs["recall"] - before.recall) / (one.recall - before.recall)
            start = before or one
            ef = (start.ef or 0) + part * ((one.ef or 0) - (start.ef or 0))
            p50 = start.times.p50 + part * (one.times.p50 - start.times.p50)
            return {
                "theirs": theirs["ef"], "their_recall": theirs["recall"], "their_p50_ms": theirs["p50_ms"],
                "ours": round(ef), "recall": theirs["recall"], "p50_ms": round(p50, 3),
                "ratio": round(p50 / theirs["p50_ms"], 4),
            }  # fmt: skip
        before = one
    return None
