"""Data that drifts: a new topic in every segment, so that most of what a search is for is in one of them."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa

from benchmarks import index
from benchmarks.corpus import PART, vectors_of
from benchmarks.figures import Row
from benchmarks.harness import Bench
from benchmarks.recall import segmented, table
from benchmarks.recall.table import NAME

ROWS, QUICK_ROWS = 150_000, 6000
# A segment each.
_TOPICS = 3
_PASSES = 20


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rows of several segments and of one, of the same records."""
    count = bench.size(ROWS, QUICK_ROWS)
    asked, _ = table.asked(bench, count, [])
    rows = by_topic(_rows(bench, count))
    table.create(bench, words=False)
    segmented.load(bench, count, partial(_load, bench, rows))
    several = segmented.measure(bench, asked)
    segments = int(index.state(bench, NAME)["segments"])
    index.rebuild(bench, NAME)
    index.hold(bench, NAME, False)
    yield from segmented.compare(asked, segments, several, segmented.measure(bench, asked), ", sorted by topic,")
    bench.drop(NAME)


def _rows(bench: Bench, count: int) -> pa.Table:
    starts = range(0, count, PART)
    return pa.concat_tables([bench.corpus.rows(first, min(PART, count - first)) for first in starts])


def by_topic(rows: pa.Table) -> pa.Table:
    """Return the rows in the order of their topics: clusters of their directions, found by k-means."""
    unit = vectors_of(rows)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    centres = unit[np.random.default_rng(1).choice(len(unit), _TOPICS, replace=False)]
    for _ in range(_PASSES):
        topics = (unit @ centres.T).argmax(axis=1)
        sums = np.array([unit[topics == topic].sum(axis=0) for topic in range(_TOPICS)])
        centres = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return rows.take(np.argsort(topics, kind="stable"))


def _load(bench: Bench, rows: pa.Table, first: int, count: int) -> float:
    return sum(
        table.send(bench, rows.slice(at, min(PART, first + count - at))) for at in range(first, first + count, PART)
    )
