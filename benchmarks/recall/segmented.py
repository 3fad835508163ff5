"""The same rows in several segments and in one: what the number of graphs costs, and whether the recall is kept."""

from collections.abc import Callable, Iterator

from benchmarks import index
from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.recall import learning, table
from benchmarks.recall.served import TARGET_RECALL, rounds
from benchmarks.recall.table import NAME, Asked, K
from benchmarks.searches import Searched, search

_SECONDS, _BEGIN_SECONDS = 900, 120


def load(bench: Bench, rows: int, load_part: Callable[[int, int], float]) -> float:
    """Load the rows in parts, each of which the automatic policy seals before the next one.

    load_part: loads so many rows (the second) from one on (the first), and returns the seconds. Builds are held back
    again as soon as the one of a part has begun, so that segments are not merged. Returns the seconds of loading.
    """
    # What is shorter than this takes in the segments before it.
    parts = 3 if rows // 3 > 2 * bench.settings.search_seal_rows else 2
    seconds = 0.0
    for number in range(parts):
        first = rows * number // parts
        part = rows * (number + 1) // parts - first
        seconds += load_part(first, part)
        index.hold(bench, NAME, False)
        index.wait_building(bench, NAME, part, _BEGIN_SECONDS)
        index.hold(bench, NAME, True)
        if index.wait_sealed(bench, NAME, part, _SECONDS)[1] is None:
            raise RuntimeError(f"a part was not sealed within {_SECONDS:g} s: {index.report(bench, NAME)}")
    return seconds


def measure(bench: Bench, asked: Asked) -> Searched:
    """Return how searches do with the index as it is."""
    table.settle(bench)
    learning.prepare(bench)
    return search(bench, NAME, asked.vectors, asked.kth, K, rounds(bench, asked.rows))


def compare(asked: Asked, segments: int, several: Searched, one: Searched, of: str = "") -> Iterator[Row]:
    """Yield the rows of both. segments: how many there were. of: what these rows are."""
    ratio = several.times.p50 / one.times.p50
    for count, found, beside in ((segments, several, f", {show(ratio)} × one (p50)"), (1, one, "")):
        yield Row(
            f"  the same {asked.size}{of} in {count} segment{'s' * (count != 1)}",
            f"{found.times}{beside}, recall@{K} {found.recall:.4f}; {found.told()}",
            f"recall ≥ {TARGET_RECALL}",
            found.recall >= TARGET_RECALL,
            {**found.values(), "rows": asked.rows, "segments": count, "ratio": round(ratio, 3)},
        )
