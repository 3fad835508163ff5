"""Uploads of 2 GB: the highest resident memory of every process of the stack meanwhile."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks import corpus, index, usage
from benchmarks.corpus import PART
from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.uploads import upload

NAME = "bench_large"
TARGET_MIB = 400.0
BYTES, QUICK_BYTES = 2_000_000_000, 20_000_000
_BLOCK = 5000
PIPELINE = [
    {"op": "text_clean", "column": "summary", "spaces": True, "case": "lower"},
    {"op": "filter", "condition": "size >= 0"},
    {"op": "clip", "column": "size", "maximum": 1_000_000},
    {"op": "map", "column": "section", "values": {"x": "y"}, "otherwise": "keep"},
    {"op": "derive", "as": "name", "value": "name + ''"},
]


def run(bench: Bench) -> Iterator[Row]:
    """Yield the memory and the rate of an upload as Parquet and as NDJSON, with 256-d client vectors, and of NDJSON
    through a pipeline."""
    for make, piped in ((_parquet, False), (_ndjson, False), (_ndjson, True)):
        path, rows = make(bench)
        pipeline = {"pipeline": PIPELINE} if piped else {}
        bench.client.create_dataset({**corpus.contract(NAME), **pipeline}, wait=True)
        # An index build takes the memory that it was given, whatever was uploaded.
        index.hold(bench, NAME, True)
        bench.wait_idle()
        with _Watch(bench) as watch:
            load = upload(bench, NAME, path, rows)
        stored = bench.row(f"SELECT count(*) FROM data.{NAME}")[0]
        path.unlink()
        bench.drop(NAME)
        if stored != rows:
            raise RuntimeError(f"{rows} rows were sent; stored {stored}")
        # Shared buffers are in the figure of every process of Postgres that has read or written so much.
        judged = {**watch.peaks, "postgres": watch.private["postgres"]}
        yield Row(
            f"{show(load.bytes / 1e9)} GB upload as {path.suffix[1:]}{' through 5 steps' * piped}, {rows:,} rows: "
            "largest resident memory",
            ", ".join(f"{kind} {peak:.0f}" for kind, peak in judged.items())
            + f" MiB (Postgres' without what its processes share); {load.rate:,.0f} rows/s, "
            f"{show(load.bytes / 2**20 / load.seconds)} MiB/s",
            f"each < {TARGET_MIB:g} MB",
            max(judged.values()) * 2**20 < TARGET_MIB * 1e6,
            {**load.values(), "peak_mib": watch.peaks, "without_shared_mib": watch.private},
        )


class _Watch:
    """Looks twice a second at the peak (VmHWM) of every process, also of those that end before the upload does."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._pids = bench.pids()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.peaks: dict[str, float] = {}
        self.private: dict[str, float] = {}

    def __enter__(self) -> "_Watch":
        usage.forget_peaks(self._pids)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        last = False
        while not last:
            last = self._ended.wait(0.5)
            for kind in self._pids:
                if kind != "supervisor":
                    self.peaks[kind] = max(self.peaks.get(kind, 0.0), usage.peak_mib(self._pids, kind))
                    # What Postgres' processes share is counted in the peak of each of them.
                    own = usage.private_mib(self._pids, kind)
                    self.private[kind] = max(self.private.get(kind, 0.0), own)


def _parquet(bench: Bench) -> tuple[Path, int]:
    """Write rows until the file has its size, in row groups of 100,000; ids go on."""
    path, wanted = bench.folder / "large.parquet", bench.size(BYTES, QUICK_BYTES)
    rows = 0
    with pq.ParquetWriter(path, corpus.SCHEMA) as writer:
        while path.stat().st_size < wanted:
            table = pq.read_table(bench.corpus.parts(rows + PART)[-1]).slice(0, bench.size(PART, 10_000))
            writer.write_table(table)
            rows += table.num_rows
            if bench.quick:
                break
    return path, rows


def _ndjson(bench: Bench) -> tuple[Path, int]:
    """Write a block of rows over and over, each time with new ids, until the file has its size."""
    path, wanted = bench.folder / "large.ndjson", bench.size(BYTES, QUICK_BYTES)
    tails = [_tail(row) for row in bench.corpus.rows(0, bench.size(_BLOCK, 500)).to_pylist()]
    rows = 0
    with path.open("wb") as file:
        while file.tell() < wanted:
            file.writelines(b'{"id":%d,%b' % (rows + place, tail) for place, tail in enumerate(tails))
            rows += len(tails)
    return path, rows


def _tail(row: dict[str, object]) -> bytes:
    vector = row["_embedding"]
    assert isinstance(vector, list)
    short = [float(f"{value:.8g}") for value in vector]
    return json.dumps({**row, "_embedding": short}, ensure_ascii=False).split(", ", 1)[1].encode() + b"\n"
