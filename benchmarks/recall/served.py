"""Searches as they are served: at the recall that is asked for, beside the same SQL run raw, and at every width."""

import json
from collections.abc import Iterator, Sequence

from benchmarks import exact, index, statements
from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench
from benchmarks.recall.table import NAME, Asked, K
from benchmarks.searches import Searched, ladder, search

DEFAULT_TARGET, TARGET_RECALL = 0.98, 0.975
TARGET_P99, TARGET_ABOVE_MS = 3.0, 2.0
# The recall that is asked for; None asks for none.
ASKED_FOR = (None, 0.9, 0.95, 0.99)
WIDTHS = (10, 20, 40, 60, 80, 100, 130, 160, 200, 300, 400, 600, 1000)
# Wider searches are tried up to this recall.
ENOUGH = 0.995
# Hits of a hybrid search, so many that the nearest by vector are among them whatever the words do.
_DEEP = 100


def rounds(bench: Bench, rows: int) -> int:
    """Return how often each query is asked for its latency."""
    return bench.size(4 if rows < 500_000 else 2, 1)


def bodies(vectors: Sequence[Sequence[float]]) -> list[str]:
    return [json.dumps({"vector": vector, "k": K}) for vector in vectors]


def by_recall(bench: Bench, asked: Asked) -> Iterator[Row]:
    """Yield what searches reach by default and with a recall that they ask for, and the raw SQL beside the default."""
    learns = index.learns(bench, NAME)
    for wanted in ASKED_FOR:
        said = f"default, target {DEFAULT_TARGET}" if wanted is None else f"recall_target {wanted}"
        what = f"{'search over HTTP' if wanted is None else '  the same'}, k {K}: {asked.size}, {said}"
        if wanted is not None and not learns:
            yield Row(what, "not measured: this version takes no recall_target", values={"rows": asked.rows})
            continue
        count = rounds(bench, asked.rows)
        found = search(bench, NAME, asked.vectors, asked.kth, K, count, recall_target=wanted)
        slow = found.times.p99 / found.times.p50
        yield Row(
            what,
            f"{found.times} ({show(slow)} ×), recall@{K} {found.recall:.4f}; {found.told()}",
            "" if wanted else f"recall ≥ {TARGET_RECALL}, p99 ≤ {TARGET_P99:g} × p50",
            None if wanted else found.recall >= TARGET_RECALL and slow <= TARGET_P99,
            {**found.values(), "rows": asked.rows, "recall_target": wanted, "p99_by_p50": round(slow, 3)},
        )
        if wanted is None:
            yield _raw(bench, asked, found)


def _raw(bench: Bench, asked: Asked, found: Searched) -> Row:
    """Return how far HTTP is above the statements of the same searches with the same ef, both in turn."""
    ef = max(found.used, default=100)
    served, raw = statements.beside_raw(bench, NAME, asked.vectors, ef, K, rounds(bench, asked.rows))
    above = served.p50 - raw.p50
    return Row(
        "  the same SQL at the same ef, run raw on one connection",
        f"{raw}; HTTP, in turn with it, {served}: {show(above)} ms above it (p50), "
        f"{show(served.p99 - raw.p99)} ms (p99)",
        f"≤ {TARGET_ABOVE_MS:g} ms above (p50)",
        above <= TARGET_ABOVE_MS,
        {**raw.values(), "rows": asked.rows, "served": served.values(), "above_p50_ms": round(above, 3),
         "above_p99_ms": round(served.p99 - raw.p99, 3)},
    )  # fmt: skip


def by_width(bench: Bench, asked: Asked) -> tuple[Row, list[Searched]]:
    """Return the row with the curve of recall and latency, and what each width gave."""
    count = max(1, rounds(bench, asked.rows) // 2)
    tried = ladder(bench, NAME, asked.vectors, asked.kth, K, count, ENOUGH, WIDTHS)
    shown = ", ".join(f"ef {one.ef} {one.recall:.3f} in {show(one.times.p50)} ms" for one in tried)
    values = {"curve_of": "Gristmill", "rows": asked.rows, "tried": [one.values() for one in tried]}
    return Row(f"  at every ef: {asked.size}, recall and p50", shown, values=values), tried


def hybrid(bench: Bench, asked: Asked) -> Row:
    """Return whether the hits of a hybrid search that rank among the K by vector are the K nearest."""
    pairs = list(zip(asked.texts, asked.vectors, strict=True))
    path = f"/datasets/{NAME}/search"
    shown, deep = (
        [json.dumps({"mode": "hybrid", "text": text, "vector": vector, "k": k}) for text, vector in pairs]
        for k in (K, _DEEP)
    )
    bench.post(path, shown, requests=len(shown))
    times = Times.of(bench.post(path, shown, requests=rounds(bench, asked.rows) * len(shown)).times)
    answers = bench.post(path, deep, requests=len(deep), keep=True)
    near = [[hit["distance"] for hit in json.loads(body)["hits"] if _is_near(hit)] for body in answers.bodies]
    recall = exact.recall_of(near, asked.kth, K)
    return Row(
        f"  hybrid, text and vector: {asked.size}; hits that rank up to {K} by vector, by the {K} nearest",
        f"{times}, recall@{K} {recall:.4f}",
        f"recall ≥ {TARGET_RECALL}",
        recall >= TARGET_RECALL,
        {**times.values(), "rows": asked.rows, "recall": round(recall, 5)},
    )


def _is_near(hit: dict[str, dict[str, int | None]]) -> bool:
    rank = hit["ranks"]["vector"]
    return rank is not None and rank <= K
