"""Searches at several sizes of one table: the recall that they keep, what it costs, and how Chroma does beside them.

Rows and queries are those of ``corpus``; recall is measured against the exact answer, computed outside of Postgres.
"""

import time
from collections.abc import Generator, Iterator
from functools import partial

from benchmarks import index
from benchmarks.figures import Row
from benchmarks.harness import Bench
from benchmarks.recall import beside, filtered, kept, learning, segmented, served, table
from benchmarks.recall.table import NAME, Asked, K
from benchmarks.searches import search

ROWS, QUICK_ROWS = [60_000, 300_000, 1_000_000], [2000, 4000, 6000]
# Loading a million rows into Chroma takes about half an hour: it is done where it is asked for.
CHROMA_ROWS = ROWS[:2]
# Rows that are written anew once the index is built, and so are in no segment: this share of all.
TAIL_SHARE = 0.01


def sizes(bench: Bench) -> tuple[list[int], list[int]]:
    """Return the numbers of rows that are measured, and those at which Chroma is measured too."""
    if bench.quick:
        return QUICK_ROWS, QUICK_ROWS[:2]
    rows = bench.chosen.get("recall_rows", ROWS)
    return rows, [count for count in bench.chosen.get("chroma_rows", CHROMA_ROWS) if count in rows]


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rows of each size, the smallest first."""
    rows, with_chroma = sizes(bench)
    for count in rows:
        bench.say(f"  {count:,} rows")
        yield from _size(bench, count, count in with_chroma)


def _size(bench: Bench, rows: int, with_chroma: bool) -> Iterator[Row]:
    smallest = rows == bench.size(ROWS[0], QUICK_ROWS[0])
    filters = filtered.filters(bench, rows)
    asked, kth = table.asked(bench, rows, [one.keep for one in filters])
    table.create(bench, words=smallest)
    several, segments = None, 0
    if rows == bench.size(ROWS[1], QUICK_ROWS[1]):
        loaded = segmented.load(bench, rows, partial(table.load, bench))
        several = segmented.measure(bench, asked)
        segments = int(index.state(bench, NAME)["segments"])
    else:
        loaded = table.load(bench, 0, rows)
    built = yield from _build(bench, rows, loaded)
    yield learning.learn(bench, rows, built)
    table.settle(bench)
    yield from served.by_recall(bench, asked)
    if several is not None:
        yield from segmented.compare(asked, segments, several, segmented.measure(bench, asked))
    yield from filtered.measure(bench, asked, filters, kth)
    if smallest:
        yield served.hybrid(bench, asked)
        # With more rows it takes minutes, of which as large a part is rest.
        yield learning.searches_meanwhile(bench, asked)
    row, tried = served.by_width(bench, asked)
    yield row
    if with_chroma:
        yield from beside.chroma(bench, asked, tried)
    yield kept.measure(bench, asked)
    yield _tail(bench, asked)
    bench.drop(NAME)


def _build(bench: Bench, rows: int, loaded: float) -> Generator[Row, None, float]:
    """Build one index over all rows, yield its row and return the seconds."""
    began = time.perf_counter()
    index.rebuild(bench, NAME)
    built = time.perf_counter() - began
    # Nothing is due now, and whatever else follows a build may go on.
    index.hold(bench, NAME, False)
    plan = index.report(bench, NAME)
    parameters = [segment["parameters"] for segment in plan["segments"]]
    yield Row(
        f"index over {rows:,} rows of 256-d: {len(parameters)} segments, {plan['memory_mb']:,} MB of memory",
        f"built in {built:.0f} s, {rows / built:,.0f} rows/s; loaded in {loaded:.0f} s; {parameters[0]}",
        values={"rows": rows, "seconds": round(built, 1), "load_seconds": round(loaded, 1), "parameters": parameters,
                "index": plan, "source": bench.corpus.source},
    )  # fmt: skip
    return built


def _tail(bench: Bench, asked: Asked) -> Row:
    """Write some rows anew, so that they are in no segment, and search all as before."""
    count = int(asked.rows * TAIL_SHARE)
    index.hold(bench, NAME, True)
    table.load(bench, 0, count)
    found = table.settle(bench)
    if found["tail_rows"] != count:
        raise RuntimeError(f"{count} rows should be in no segment: {found}")
    one = search(bench, NAME, asked.vectors, asked.kth, K, served.rounds(bench, asked.rows))
    return Row(
        f"  the same with {count:,} of {asked.size} written anew, in no segment",
        f"{one.times}, recall@{K} {one.recall:.4f}; {one.told()}",
        f"recall ≥ {served.TARGET_RECALL}",
        one.recall >= served.TARGET_RECALL,
        {**one.values(), "rows": asked.rows, "tail": count},
    )
