"""Chroma with the same rows and queries, and Gristmill at the recall that it reaches."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmarks import peer_runs
from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.peers import PeerUnavailable
from benchmarks.recall import served
from benchmarks.recall.table import Asked
from benchmarks.searches import Searched

TARGET_RATIO = 1.3


def chroma(bench: Bench, asked: Asked, tried: Sequence[Searched]) -> Iterator[Row]:
    """Yield Chroma's curve, and Gristmill's latency at Chroma's recall.

    tried: Gristmill at every width. It is measured again after Chroma, and the mean of both is taken: what the machine
    does meanwhile befalls both alike. Nothing but Postgres, which idles, runs beside Chroma.
    """
    what = f"  Chroma server over HTTP: {asked.size}"
    try:
        theirs = peer_runs.chroma_search(bench, asked.rows)
    except PeerUnavailable as error:
        yield Row(what, f"not measured: {error}", values={"unavailable": str(error), "rows": asked.rows})
        return
    yield row(what, "Chroma", asked.rows, theirs)
    tried = _mean(tried, served.by_width(bench, asked)[1])
    pairs = [pair for one in theirs["tried"] if (pair := _pair(one, tried))]
    best = _pair(theirs, tried)
    ratios = "; at its other widths " + ", ".join(f"{show(pair['ratio'])} (ef {pair['theirs']})" for pair in pairs)
    values = {"rows": asked.rows, "pairs": pairs, "best": best}
    target, name = f"≤ {TARGET_RATIO:g} × Chroma (p50)", f"  Gristmill over HTTP at Chroma's recall: {asked.size}"
    if best is None:
        yield Row(name, f"no ef reaches its {theirs['recall']:.4f}{ratios if pairs else ''}", target, False, values)
        return
    yield Row(
        f"{name}, ef {best['ours']}",
        f"p50 {show(best['p50_ms'])} ms, recall {best['recall']:.4f}: {show(best['ratio'])} × Chroma{ratios}",
        target,
        best["ratio"] <= TARGET_RATIO,
        {**values, **best},
    )


def _mean(before: Sequence[Searched], after: Sequence[Searched]) -> list[Searched]:
    p50 = {one.ef: one.times.p50 for one in after}
    both = [(one, (one.times.p50 + p50.get(one.ef, one.times.p50)) / 2) for one in before]
    return [replace(one, times=replace(one.times, p50=mean)) for one, mean in both]


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
