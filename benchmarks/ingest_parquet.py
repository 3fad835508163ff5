"""Parquet and Arrow with 256-d client vectors: POST to searchable, against raw COPY and what others would use."""

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import corpus, index, peer_runs, raw_copy
from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.peers import PeerUnavailable
from benchmarks.uploads import Load, middle, upload

NAME = "bench_parquet"
TARGET, TARGET_COPY, TARGET_CHROMA = 40_000.0, 0.4, 15.0
ROUNDS = 5


def run(bench: Bench) -> Iterator[Row]:
    """Yield rows per second of both formats, the limit in the same minutes, and those of the peers."""
    count = peer_runs.rows(bench)
    parquet = bench.corpus.file(0, count)
    table = pq.read_table(parquet)
    arrow = bench.folder / "rows.arrow"
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table)
    for path in (parquet, arrow):
        _once(bench, path, table)
    encoded = raw_copy.encode(table)
    loads: dict[str, list[Load]] = {"Parquet": [], "Arrow stream": []}
    raw: dict[bool, list[float]] = {False: [], True: []}
    # In turn, so that whatever the machine does meanwhile befalls all of them.
    for _ in range(bench.size(ROUNDS, 1, brief=2)):
        loads["Parquet"].append(_once(bench, parquet, table, lambda: _raw(bench, raw, encoded, count)))
        loads["Arrow stream"].append(_once(bench, arrow, table))
    limit, indexed = statistics.median(raw[False]), statistics.median(raw[True])
    best = middle(loads["Parquet"])
    for kind, found in loads.items():
        one = middle(found)
        rates = ", ".join(f"{load.rate:,.0f}" for load in found)
        yield Row(
            f"{kind} with 256-d client vectors, POST to searchable: {count:,} rows, {show(one.bytes / 2**20)} MiB",
            f"{one.rate:,.0f} rows/s, median of {len(found)} ({rates}); 202 after {show(one.accepted)} of "
            f"{show(one.seconds)} s",
            f"≥ {TARGET:,.0f} rows/s",
            one.rate >= TARGET,
            {**one.values(), "rounds": [load.rate for load in found], "source": bench.corpus.source},
            figure=one.rate,
        )
    yield Row(
        "  raw binary COPY of the same rows, ready encoded, into an identical table without indexes (the limit)",
        f"{limit:,.0f} rows/s; Gristmill {show(best.rate / limit)} of it. With key and _id indexes {indexed:,.0f}",
        f"≥ {TARGET_COPY:g} of it",
        best.rate >= TARGET_COPY * limit,
        {"rows_per_second": limit, "indexed_rows_per_second": indexed, "ratio": best.rate / limit,
         "ratio_indexed": best.rate / indexed}, figure=best.rate / limit,
    )  # fmt: skip
    if bench.brief:
        return
    yield from compare(bench, best.rate, TARGET_CHROMA)
    yield _postgres_peer(bench, "LangChain PGVectorStore, add_embeddings", peer_runs.langchain, best.rate)
    yield _postgres_peer(bench, "SQLAlchemy ORM with pgvector, bulk insert", peer_runs.orm, best.rate)


def compare(bench: Bench, rate: float, target: float) -> Iterator[Row]:
    """Yield the row that compares ``rate`` with Chroma, which is given the vectors."""
    what, wanted = "  Chroma server, the same rows with their vectors", f"≥ {target:g} times Chroma"
    try:
        found = peer_runs.chroma(bench)
    except PeerUnavailable as error:
        yield Row(what, f"not measured: {error}", wanted, None, {"unavailable": str(error)})
        return
    best = max(add["rows_per_second"] for add in found["adds"])
    ways = "; ".join(
        f"{add['rows_per_second']:,.0f} by {add['clients']} client(s) in batches of {add['batch']:,}"
        for add in found["adds"]
    )
    yield Row(
        what, f"{best:,.0f} rows/s ({ways}); Gristmill {show(rate / best)} times", wanted, rate >= target * best,
        {**found, "rows_per_second": best, "ratio": rate / best},
    )  # fmt: skip


def _postgres_peer(bench: Bench, what: str, measure: Callable[[Bench], dict[str, Any]], rate: float) -> Row:
    try:
        found = measure(bench)
    except PeerUnavailable as error:
        return Row(f"  {what}", f"not measured: {error}", values={"unavailable": str(error)})
    other = found["rows_per_second"]
    return Row(
        f"  {what}",
        f"{other:,.0f} rows/s; Gristmill {show(rate / other)} times",
        values={**found, "ratio": rate / other},
    )


def _once(bench: Bench, path: Path, table: pa.Table, meanwhile: Callable[[], None] | None = None) -> Load:
    """Upload into a new dataset, check what is there and that the last row is found, and drop it again."""
    count = table.num_rows
    bench.client.create_dataset(corpus.contract(NAME), wait=True)
    # An index of what was just loaded would be built beside the raw COPY that comes next.
    index.hold(bench, NAME, True)
    bench.wait_idle()
    load = upload(bench, NAME, path, count)
    last = table.slice(count - 1).to_pylist()[0]
    hits = bench.client.search(NAME, vector=last["_embedding"], k=10)["hits"]
    stored = bench.row(f"SELECT count(*), count(_embedding) FROM data.{NAME}")
    if stored != (count, count) or last["id"] not in [hit["record"]["id"] for hit in hits]:
        raise RuntimeError(f"{count} rows were sent; stored {stored}, the last one was not found")
    if meanwhile is not None:
        bench.wait_idle()
        meanwhile()
    bench.drop(NAME)
    return load


def _raw(bench: Bench, raw: dict[bool, list[float]], encoded: bytes, count: int) -> None:
    for indexed, rates in raw.items():
        rates.append(raw_copy.copy(bench, NAME, encoded, count, indexed))
