"""Search over 60,000 rows that nothing else uses: what HTTP adds to the same SQL, and how others do at equal recall."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import corpus, index, peer_runs, statements
from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench
from benchmarks.peer_runs import ENOUGH, RECALL, WIDTHS, K
from benchmarks.peers import PeerUnavailable
from benchmarks.searches import ladder, search
from benchmarks.uploads import upload

NAME = "bench_60k"
TARGET_ABOVE_MS = 2.0
ROUNDS = 3


def run(bench: Bench) -> Iterator[Row]:
    """Yield search over HTTP and the same SQL run raw, then the latency of all at equal recall."""
    count = peer_runs.rows(bench)
    bench.client.create_dataset(corpus.contract(NAME), wait=True)
    index.hold(bench, NAME, True)
    upload(bench, NAME, bench.corpus.file(0, count), count)
    # One build over all rows, instead of those that a growing tail would have led to.
    index.rebuild(bench, NAME)
    found = index.state(bench, NAME)
    bench.wait_idle()
    bench.rows(f"VACUUM (ANALYZE) data.{NAME}")
    vectors = [[float(value) for value in vector] for vector in bench.corpus.queries()]
    kth = peer_runs.kth_distances(bench.corpus, count)
    about = f"{count:,} rows of 256-d in {found['segments']} segments"
    # The first search of all is the one that prepares the statement of the others.
    first = statements.logged(bench, lambda: _ask(bench, vectors[:1]), "<=>", 1)
    default = search(bench, NAME, vectors, kth, K, ROUNDS)
    raw = _raw(bench, vectors, first.preparations)
    above = default.times.p50 - raw.p50
    yield Row(
        f"search over HTTP, k {K}, idle table: {about}",
        f"{default.times}, recall@{K} {default.recall:.4f}",
        values={**default.values(), "index": found, "source": bench.corpus.source},
    )
    yield Row(
        "  the same SQL run raw on one connection",
        f"{raw}; HTTP is {show(above)} ms above it (p50), {show(default.times.p99 - raw.p99)} ms (p99)",
        f"≤ {TARGET_ABOVE_MS:g} ms above (p50)",
        above <= TARGET_ABOVE_MS,
        {**raw.values(), "above_p50_ms": round(above, 3), "above_p99_ms": round(default.times.p99 - raw.p99, 3)},
        figure=above,
        lower=True,
    )
    if bench.brief:
        bench.drop(NAME)
        return
    tried = ladder(bench, NAME, vectors, kth, K, peer_runs.ROUNDS, ENOUGH, WIDTHS)
    best = next((one for one in tried if one.recall >= RECALL), tried[-1])
    bench.drop(NAME)
    yield Row(
        f"search at recall@{K} ≥ {RECALL}: Gristmill over HTTP, ef {best.ef}",
        f"{best.times}, recall {best.recall:.4f}",
        values={**best.values(), "tried": [one.values() for one in tried]},
    )
    yield _peer(bench, "Chroma server over HTTP", peer_runs.chroma)
    yield _peer(bench, "LangChain PGVectorStore, in process, no HTTP", peer_runs.langchain)


def _ask(bench: Bench, vectors: list[list[float]]) -> None:
    search(bench, NAME, vectors, [0.0] * len(vectors), K, 1)


def _raw(bench: Bench, vectors: list[list[float]], prepared: list[str]) -> Times:
    """Return the times of the statements that the API sends for the same searches, sent again by hand."""
    # All were asked twice, once to warm up.
    found = statements.logged(bench, lambda: _ask(bench, vectors), "<=>", 2 * len(vectors), prepared)
    times = []
    with bench.connect() as connection, connection.cursor() as cursor:
        for preparation in found.preparations:
            cursor.execute(preparation)
        for turn in range(ROUNDS + 1):
            for text in found.messages[-len(vectors) :]:
                began = time.perf_counter()
                cursor.execute(text)
                hits = cursor.fetchall()
                if turn:
                    times.append((time.perf_counter() - began) * 1000)
                if len(hits) != K:
                    raise RuntimeError(f"the statement run raw found {len(hits)} rows: {text[:300]}")
    return Times.of(times)


def _peer(bench: Bench, what: str, measure: Callable[[Bench], dict[str, Any]]) -> Row:
    try:
        found = measure(bench)["search"]
    except PeerUnavailable as error:
        return Row(f"  {what}", f"not measured: {error}", values={"unavailable": str(error)})
    return Row(
        f"  {what}, ef {found['ef']}",
        f"p50 {show(found['p50_ms'])}, p99 {show(found['p99_ms'])} ms, recall {found['recall']:.4f}",
        values=found,
    )
