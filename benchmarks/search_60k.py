"""Search over 60,000 rows that nothing else uses: what HTTP adds to the same SQL. Brief, to compare versions."""

from collections.abc import Iterator

from benchmarks import corpus, index, peer_runs, statements
from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.peer_runs import K
from benchmarks.peers import PeerUnavailable
from benchmarks.recall import beside
from benchmarks.searches import search
from benchmarks.uploads import upload

NAME = "bench_60k"
TARGET_ABOVE_MS = 2.0
ROUNDS = 3


def run(bench: Bench) -> Iterator[Row]:
    """Yield search over HTTP, the same SQL run raw, and LangChain with the same rows."""
    count = peer_runs.rows(bench)
    bench.client.create_dataset(corpus.contract(NAME), wait=True)
    index.hold(bench, NAME, True)
    upload(bench, NAME, bench.corpus.file(0, count), count)
    # One build over all rows, instead of those that a growing tail would have led to.
    index.rebuild(bench, NAME)
    found = index.state(bench, NAME)
    # Else its statements would be in the log beside those of searches.
    if index.learns(bench, NAME):
        index.tune(bench, NAME)
    bench.wait_idle()
    bench.rows(f"VACUUM (ANALYZE) data.{NAME}")
    vectors = [[float(value) for value in vector] for vector in bench.corpus.queries()]
    kth = peer_runs.kth_distances(bench.corpus, count)
    default = search(bench, NAME, vectors, kth, K, ROUNDS)
    served, raw = statements.beside_raw(bench, NAME, vectors, max(default.used, default=100), K, ROUNDS)
    above = served.p50 - raw.p50
    yield Row(
        f"search over HTTP, k {K}, idle table: {count:,} rows of 256-d in {found['segments']} segments",
        f"{default.times}, recall@{K} {default.recall:.4f}",
        values={**default.values(), "index": found, "source": bench.corpus.source},
    )
    yield Row(
        "  the same SQL run raw on one connection",
        f"{raw}; HTTP, in turn with it, is {show(above)} ms above it (p50), {show(served.p99 - raw.p99)} ms (p99)",
        f"≤ {TARGET_ABOVE_MS:g} ms above (p50)",
        above <= TARGET_ABOVE_MS,
        {**raw.values(), "above_p50_ms": round(above, 3), "above_p99_ms": round(served.p99 - raw.p99, 3)},
        figure=above,
        lower=True,
    )
    bench.drop(NAME)
    if not bench.brief:
        yield _langchain(bench, count)


def _langchain(bench: Bench, count: int) -> Row:
    what = "  LangChain PGVectorStore, in process, no HTTP"
    try:
        return beside.row(what, "LangChain", count, peer_runs.langchain(bench)["search"])
    except PeerUnavailable as error:
        return Row(what, f"not measured: {error}", values={"unavailable": str(error)})
