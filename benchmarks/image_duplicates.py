"""Near-duplicates among many records: a job that compares vectors, and the comparison of hashes alone."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from gristmill.images.duplicates.bits import link_bits
from gristmill.images.duplicates.groups import Groups

DIMENSIONS = 256
BITS = 6
_NAME, _INTO = "bench_twins", "bench_twins_found"


def run(bench: Bench) -> Iterator[Row]:
    """Yield the seconds of a job on vectors, and of comparing 64-bit hashes; each finds exactly what was put in."""
    count = bench.size(100_000, 20_000)
    yield _vectors(bench, count)
    yield from _hashes(count)


def _vectors(bench: Bench, count: int) -> Row:
    random = np.random.default_rng(1)
    matrix = random.normal(size=(count, DIMENSIONS)).astype(np.float32)
    twins = count // 10
    matrix[:twins] = matrix[-twins:] + np.float32(0.01) * random.normal(size=(twins, DIMENSIONS)).astype(np.float32)
    path = bench.folder / "twins.parquet"
    flat = pa.array(matrix.reshape(-1), pa.float32())
    table = pa.table({"id": np.arange(count), "_embedding": pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS)})
    pq.write_table(table, path, row_group_size=10_000)
    fields = [{"name": "id", "type": "integer", "required": True}]
    body = {"name": _NAME, "fields": fields, "key": ["id"], "embedding": {"dimensions": DIMENSIONS}}
    bench.client.create_dataset(body, wait=True)
    try:
        bench.client.submit(_NAME, path, wait=900)
        bench.wait_idle()
        job = bench.client.find_duplicates(_NAME, 0.001, _INTO, wait=3600)
        # Not what it waited for: the index of the new records is built in the same queue.
        began, ended = (datetime.fromisoformat(job[moment]) for moment in ("started_at", "finished_at"))
        seconds = (ended - began).total_seconds()
        _expect(job["result"]["rows"], 2 * twins)
    finally:
        bench.drop(_INTO)
        bench.drop(_NAME)
    pairs = count * (count - 1) / 2
    return Row(
        f"near-duplicates among {count:,} records, {DIMENSIONS}-d vectors, one job",
        f"{show(seconds)} s, {pairs / seconds / 1e6:,.0f} million pairs/s, all {2 * twins:,} found",
        values={"records": count, "seconds": round(seconds, 2), "found": 2 * twins},
        figure=seconds,
        lower=True,
    )


def _hashes(count: int) -> Iterator[Row]:
    random = np.random.default_rng(2)
    words = random.integers(0, 2**64, (count, 1), np.uint64)
    twins = count // 10
    words[:twins] = words[-twins:]
    for _ in range(BITS):
        words[:twins, 0] ^= np.uint64(1) << random.integers(0, 64, twins, np.uint64)
    for threshold, what in ((BITS, "by equal bands"), (14, "all pairs")):
        seconds, found = _link(words, threshold)
        if threshold == BITS:
            _expect(found, 2 * twins)
        yield Row(
            f"  near-duplicates among {count:,} hashes of 64 bits, at most {threshold} differ ({what}), in memory",
            f"{show(seconds)} s",
            values={"records": count, "threshold": threshold, "seconds": round(seconds, 3)},
            figure=seconds,
            lower=True,
        )


def _link(words: npt.NDArray[np.uint64], threshold: int) -> tuple[float, int]:
    groups = Groups(len(words))
    began = time.perf_counter()
    link_bits(words, threshold, groups)
    return time.perf_counter() - began, int(np.isfinite(groups.nearest).sum())


def _expect(found: Any, wanted: int) -> None:
    if found != wanted:
        raise RuntimeError(f"{wanted} records have a near-duplicate, and {found} were found")
