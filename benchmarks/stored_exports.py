"""Exports as a stream and as a stored file: the same rows in turn, to the last byte that a client has."""

import statistics
import time
from collections.abc import Callable, Iterator

from benchmarks import corpus, index
from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.uploads import upload

NAME = "bench_exports"
# A stored export is made as fast as the stream of the same rows is read.
TARGET = 1.1
ROUNDS = 5


def run(bench: Bench) -> Iterator[Row]:
    """Yield, for each format, the time of the job beside that of the stream, and the rate of the download."""
    count = bench.size(500_000, 10_000, brief=100_000)
    bench.client.create_dataset(corpus.contract(NAME), wait=True)
    index.hold(bench, NAME, True)
    for first in range(0, count, corpus.PART):
        rows = min(corpus.PART, count - first)
        upload(bench, NAME, bench.corpus.file(first, rows), rows)
    bench.wait_idle()
    for format in ("parquet", "ndjson"):
        times: dict[str, list[float]] = {"stream": [], "stored": [], "download": []}
        size = 0
        for _ in range(bench.size(ROUNDS, 1, brief=2)):
            target = bench.folder / f"export.{format}"

            def stream(chosen: str = format, file: object = target) -> None:
                bench.client.export(NAME, file, format=chosen)  # type: ignore[arg-type]

            times["stream"].append(_seconds(stream))
            started = time.monotonic()
            job = bench.client.create_export(NAME, format=format, wait=True)
            times["stored"].append(time.monotonic() - started)
            export, size = job["id"], job["result"]["bytes"]
            times["download"].append(
                _seconds(lambda one=export, file=target: bench.client.download_export(one, file))  # type: ignore[misc]
            )
            bench.client.delete_export(export, wait=True)
            target.unlink()
        stored, streamed, loaded = (statistics.median(times[name]) for name in ("stored", "stream", "download"))
        yield Row(
            f"stored export as {format}, {count:,} rows, {show(size / 2**20)} MiB: POST to the finished job",
            f"{show(stored)} s, {show(stored / streamed)} × the stream ({show(streamed)} s); "
            f"download {show(size / 2**20 / loaded)} MiB/s with its checksum",
            f"≤ {TARGET:g} × the stream",
            stored <= TARGET * streamed,
            {"rows": count, "bytes": size, **times},
            figure=stored / streamed,
            lower=True,
        )
    bench.drop(NAME)


def _seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started
