"""Search over a million rows of which the last 10,000 are in no segment, and with filters that keep very little."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import corpus, exact, index
from benchmarks.corpus import PART
from benchmarks.exact import Filter
from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.searches import Searched, ladder, search
from benchmarks.uploads import post

NAME = "bench_million"
K = 10
ROWS, TAIL = 1_000_000, 10_000
TARGET_RECALL, TARGET_P50, TARGET_P99, TARGET_FILTERED_P99 = 0.98, 8.0, 25.0, 40.0
# None: as the server is configured.
WIDTHS: list[int | None] = [None, 130, 160, 200, 250, 300, 400, 500]
ROUNDS = 4


def run(bench: Bench) -> Iterator[Row]:
    """Yield search without a filter at the recall that is wanted, then with filters of 1 % and 0.01 %."""
    rows, tail = _sizes(bench)
    bench.client.create_dataset(corpus.contract(NAME, filterable=True), wait=True)
    index.hold(bench, NAME, True)
    began = time.perf_counter()
    _load(bench, 0, rows - tail)
    loaded = time.perf_counter() - began
    bench.say(f"  {rows - tail:,} rows loaded in {loaded:.0f} s; building")
    began = time.perf_counter()
    index.rebuild(bench, NAME)
    built = time.perf_counter() - began
    _load(bench, rows - tail, tail)
    bench.wait_idle()
    bench.rows(f"VACUUM (ANALYZE) data.{NAME}")
    found = index.state(bench, NAME)
    if found["tail_rows"] != tail:
        raise RuntimeError(f"{tail} rows should be unsealed: {found}")
    plan = index.report(bench, NAME)
    memory = f"{plan['memory_mb']:,} MB of memory for a build"
    yield Row(
        f"  index over {rows - tail:,} rows: {found['segments']} segments, {memory}",
        f"built in {built:.0f} s, {(rows - tail) / built:,.0f} rows/s; loaded in {loaded:.0f} s",
        values={"seconds": round(built, 1), "load_seconds": round(loaded, 1), "rows": rows,
                "index": plan},
    )  # fmt: skip
    bench.say("  exact answers, to compare with")
    filters = _filters(bench, rows)
    vectors = [[float(value) for value in vector] for vector in bench.corpus.queries()]
    kth = exact.kth_distances(bench.corpus, rows, K, [None, *(keep for _, _, keep in filters)])
    tried = ladder(bench, NAME, vectors, kth[0].tolist(), K, ROUNDS, TARGET_RECALL, WIDTHS)
    best = tried[-1]
    yield Row(
        f"search over HTTP, k {K}: {rows:,} rows of 256-d, the last {tail:,} unsealed, ef {best.ef or 'default'}",
        f"{best.times}, recall@{K} {best.recall:.4f}; p50 inside the server {show(best.inside.p50)} ms",
        f"p50 ≤ {TARGET_P50:g}, p99 ≤ {TARGET_P99:g} ms at recall ≥ {TARGET_RECALL}",
        best.recall >= TARGET_RECALL and best.times.p50 <= TARGET_P50 and best.times.p99 <= TARGET_P99,
        {**best.values(), "tried": [one.values() for one in tried], "rows": rows, "tail": tail, "index": found,
         "source": bench.corpus.source},
    )  # fmt: skip
    for place, (what, where, _) in enumerate(filters):
        limits = kth[place + 1].tolist()
        one = search(bench, NAME, vectors, limits, K, bench.size(2, 1), ef=best.ef, where=where)
        yield _filtered(what, one, where)
    bench.drop(NAME)


def _filtered(what: str, one: Searched, where: dict[str, Any]) -> Row:
    return Row(
        f"  with a filter that keeps {what}",
        f"{one.times}, recall@{K} {one.recall:.4f}; {one.full:,} of {one.asked:,} answers had {K} hits and were "
        f"complete; plans: {', '.join(one.plans)}",
        f"always {K} hits, p99 ≤ {TARGET_FILTERED_P99:g} ms",
        one.full == one.asked and one.times.p99 <= TARGET_FILTERED_P99,
        {**one.values(), "where": where},
    )


def _sizes(bench: Bench) -> tuple[int, int]:
    rows = bench.asked.get("search_1m", ROWS)
    return (20_000, 2000) if bench.quick else (rows, TAIL)


def _load(bench: Bench, first: int, rows: int) -> None:
    """Upload the rows, part by part, and wait until all are there."""
    jobs = []
    while rows:
        count = min(rows, PART - first % PART)
        jobs.append(post(bench, NAME, _file(bench, first, count)))
        first, rows = first + count, rows - count
    for job in jobs:
        bench.client.wait(job)


def _file(bench: Bench, first: int, count: int) -> Path:
    if count == PART:
        return bench.corpus.parts(first + PART)[-1]
    return bench.corpus.file(first, count)


def _filters(bench: Bench, rows: int) -> list[tuple[str, dict[str, Any], Filter]]:
    """Return (what, where, mask) of filters that keep 1 % of the rows by size, 1 % by section, 0.01 % by size."""
    columns = pa.concat_tables([table for table, _ in bench.corpus.vectors(rows)])
    sizes = np.sort(columns.column("size").to_numpy())
    found: list[tuple[str, dict[str, Any], Filter]] = []
    for share in (0.01, 0.0001):
        # With fewer rows than a hundred thousand, 0.01 % would be fewer than k.
        limit = int(sizes[max(int(rows * share), 2 * K)])
        kept = int((sizes < limit).sum())
        found.append((f"{100 * kept / rows:.3g} % by size ({kept:,} rows)", {"size": {"lt": limit}}, _smaller(limit)))
    counted = columns.column("section").value_counts().to_pylist()
    nearest = min(counted, key=lambda entry: abs(entry["counts"] - rows / 100))
    section, kept = nearest["values"], nearest["counts"]
    what = f"{100 * kept / rows:.3g} % by section, which texts cluster by ({section}, {kept:,} rows)"
    found.insert(1, (what, {"section": section}, _in_section(section)))
    return found


def _smaller(limit: int) -> Filter:
    return lambda table: table.column("size").to_numpy() < limit


def _in_section(section: str) -> Filter:
    return lambda table: np.asarray(table.column("section").to_pylist()) == section
