"""Two million rows in one go: whether loading slows down as the table grows, with index builds held back and going on.

A load is requests of 100,000 rows as Parquet, each sent when the one before was answered 202, until all their jobs
have succeeded. The first 50,000 rows go as a request of their own into the empty table, and their rate is what the
rest is held against: nothing of it is hidden by overlapping with other requests. 50,000 more, sent in the same way when
all is done, show what the end is like.
"""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from benchmarks import corpus, index
from benchmarks.corpus import PART
from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench
from benchmarks.uploads import post, upload

NAME = "bench_load"
ROWS, FIRST = 2_000_000, 50_000
TARGETS = {"held": 0.9, "sealing": 0.6}
# How long the builds may take after the load until the tail is short.
SEAL_SECONDS = 900
SHORT_TAIL = 20_000
# The searches during a load with sealing on: so many a second. With builds held back every search compares all rows
# that are there, which would be a load of its own: whoever holds builds back wants the machine for the load.
SEARCHES_PER_SECOND = 4.0
_POINTS = 200


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rate against that of the first rows with builds held back, then with sealing at its defaults."""
    wanted = bench.asked.get("load_2m", ROWS) if not bench.quick else 4 * PART // 10
    rows = wanted // PART * PART if not bench.quick else wanted
    bench.say(f"  {rows:,} rows")
    _warm_up(bench)
    for way in ("held", "sealing"):
        yield from _measure(bench, way, rows)


def _measure(bench: Bench, way: str, rows: int) -> Iterator[Row]:
    bench.client.create_dataset(corpus.contract(NAME), wait=True)
    if way == "held":
        index.hold(bench, NAME, True)
    bench.wait_idle()
    piece = min(FIRST, rows // 4)
    first = upload(bench, NAME, bench.corpus.file(0, piece), piece)
    requests = _requests(bench, piece, rows)
    with _Watch(bench, searching=way == "sealing") as watch:
        began = time.perf_counter()
        jobs = []
        for path, _ in requests:
            jobs.append(post(bench, NAME, path))
        for job in jobs:
            bench.client.wait(job)
        seconds = time.perf_counter() - began
    sent = sum(count for _, count in requests)
    # With sealing on, builds are still going on then.
    last = upload(bench, NAME, bench.corpus.file(rows, piece), piece) if way == "held" else None
    stored = bench.row(f"SELECT count(*) FROM data.{NAME}")[0]
    if stored != piece + sent + (piece if last else 0):
        raise RuntimeError(f"{piece + sent} rows were sent, perhaps {piece} after them; stored {stored}")
    rate = (piece + sent) / (first.seconds + seconds)
    ratio, target = rate / first.rate, TARGETS[way]
    named = "with builds held back" if way == "held" else "with sealing on, default settings"
    searches = Times.of(watch.times) if watch.times else None
    yield Row(
        f"{piece + sent:,} rows of 256-d in one go, {named}",
        f"{rate:,.0f} rows/s; the first {piece:,} {first.rate:,.0f}; ratio {show(ratio)}"
        + (f"; {piece:,} more at the end, alone like the first, {last.rate:,.0f}" if last else ""),
        f"≥ {target:g} of the rate of the first {piece:,}",
        ratio >= target,
        {
            "rows": piece + sent, "rows_per_second": round(rate, 1), "first_rows_per_second": round(first.rate, 1),
            "ratio": round(ratio, 3), "last_rows_per_second": round(last.rate, 1) if last else None,
            "seconds": round(first.seconds + seconds, 2), "series": watch.series(), "source": bench.corpus.source,
        },
    )  # fmt: skip
    yield Row(
        f"  during that load: searches, {SEARCHES_PER_SECOND:g} a second; the largest tail"
        if searches
        else "  during that load, without searches: the largest tail",
        f"{f'{searches}; ' if searches else ''}tail of {watch.largest_tail:,} rows at most",
        values={"largest_tail": watch.largest_tail, "searches": searches.values() if searches else None},
    )
    if way == "sealing":
        limit = bench.asked.get("seal_seconds", bench.size(SEAL_SECONDS, 60))
        found, took = index.wait_sealed(bench, NAME, SHORT_TAIL, limit, idle=False)
        said = (
            f"{took:.0f} s" if took is not None else f"not within {limit} s: the tail has {found['tail_rows']:,} rows"
        )
        yield Row(
            f"  after it, until the tail is below {SHORT_TAIL:,} rows",
            f"{said}; {found['segments']} segments",
            values={"seconds": took, "limit": limit, "index": index.report(bench, NAME)},
        )
    _drop(bench)


def _warm_up(bench: Bench) -> None:
    bench.client.create_dataset(corpus.contract(NAME), wait=True)
    count = bench.size(20_000, 2000)
    upload(bench, NAME, bench.corpus.file(0, count), count)
    _drop(bench)


def _drop(bench: Bench) -> None:
    bench.drop(NAME)
    # What was written is settled before the next load begins.
    bench.rows("CHECKPOINT")


def _requests(bench: Bench, first: int, rows: int) -> list[tuple[Path, int]]:
    """Return (file, rows) of each request, after the ``first`` rows; made before the load, not during it."""
    if bench.quick:
        return [(bench.corpus.file(at, first), first) for at in range(first, rows, first)]
    rest = PART - first
    head = [(bench.corpus.file(first, rest), rest)] if rest else []
    return head + [(path, PART) for path in bench.corpus.parts(rows)[1:]]


class _Watch:
    """Looks at the table, and may search it, while a load goes on, from a thread of its own."""

    def __init__(self, bench: Bench, searching: bool) -> None:
        self._bench = bench
        self._searching = searching
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._seen: list[tuple[float, int, int]] = []
        self.times: list[float] = []

    @property
    def largest_tail(self) -> int:
        return max((tail for _, _, tail in self._seen), default=0)

    def series(self) -> list[list[float]]:
        """Return [seconds, rows done, tail], some 200 of them, for the plot."""
        step = max(1, len(self._seen) // _POINTS)
        return [[round(at, 2), done, tail] for at, done, tail in [*self._seen[::step], *self._seen[-1:]]]

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        bodies = [json.dumps({"vector": vector.tolist(), "k": 10}) for vector in self._bench.corpus.queries()]
        url = f"{self._bench.url('api')}/api/v1/datasets/{NAME}"
        began, turn = time.perf_counter(), 0
        with httpx.Client(timeout=60) as client:
            while not self._ended.wait(max(0.0, began + turn / SEARCHES_PER_SECOND - time.perf_counter())):
                if self._searching:
                    asked = time.perf_counter()
                    answer = client.post(f"{url}/search", content=bodies[turn % len(bodies)])
                    answer.raise_for_status()
                    self.times.append((time.perf_counter() - asked) * 1000)
                if turn % int(SEARCHES_PER_SECOND) == 0:
                    self._seen.append((time.perf_counter() - began, self._done(), self._tail(client, url)))
                # After a search that took long the next one is not owed: the load is what is measured.
                turn = max(turn + 1, int((time.perf_counter() - began) * SEARCHES_PER_SECOND))

    def _done(self) -> int:
        return int(self._bench.row(
            "SELECT coalesce(sum(records_succeeded), 0) FROM gristmill.jobs WHERE type = 'records.ingest' AND "
            "args ->> 'dataset_id' = (SELECT id::text FROM gristmill.datasets WHERE name = %s AND state = 'ready')",
            (NAME,),
        )[0])  # fmt: skip

    def _tail(self, client: httpx.Client, url: str) -> int:
        return int(client.get(url).raise_for_status().json()["index"]["tail_rows"])
