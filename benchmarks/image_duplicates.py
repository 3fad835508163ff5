"""Near-duplicates among many records: jobs that compare vectors, and hashes."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import Row, show
from benchmarks.harness import Bench

DIMENSIONS = 256
# Bits that differ: of hashes that near, only those with a part in common are compared; of the others all pairs.
NEAR, FAR = 6, 14
Json = dict[str, Any]
_NAME, _INTO = "bench_twins", "bench_twins_found"


def run(bench: Bench) -> Iterator[Row]:
    """Yield the seconds of jobs on vectors and on hashes of 64 bits; each finds exactly what was put in."""
    count = bench.size(100_000, 20_000)
    twins = count // 10
    vectors, hashes = _vectors(count, twins), _hashes(count, twins)
    yield _job(bench, f"{DIMENSIONS}-d vectors", vectors, {"dimensions": DIMENSIONS}, 0.001, 2 * twins)
    for threshold, found in ((NEAR, 2 * twins), (FAR, None)):
        kind = f"hashes of 64 bits, at most {threshold} differ"
        yield _job(bench, kind, hashes, {"dimensions": 64, "metric": "hamming"}, threshold, found)


def _vectors(count: int, twins: int) -> pa.Array:
    random = np.random.default_rng(1)
    matrix = random.normal(size=(count, DIMENSIONS)).astype(np.float32)
    matrix[:twins] = matrix[-twins:] + np.float32(0.01) * random.normal(size=(twins, DIMENSIONS)).astype(np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1), pa.float32()), DIMENSIONS)


def _hashes(count: int, twins: int) -> pa.Array:
    random = np.random.default_rng(2)
    words = random.integers(0, 2**64, count, np.uint64)
    words[:twins] = words[-twins:]
    for _ in range(NEAR):
        words[:twins] ^= np.uint64(1) << random.integers(0, 64, twins, np.uint64)
    return pa.array([f"{word:064b}" for word in words.tolist()])


def _job(bench: Bench, kind: str, vectors: pa.Array, embedding: Json, threshold: float, found: int | None) -> Row:
    """Load, and find near-duplicates; ``found``: how many records have one, where that is certain."""
    count = len(vectors)
    path = bench.folder / "twins.parquet"
    pq.write_table(pa.table({"id": np.arange(count), "_embedding": vectors}), path, row_group_size=10_000)
    fields = [{"name": "id", "type": "integer", "required": True}]
    bench.client.create_dataset({"name": _NAME, "fields": fields, "key": ["id"], "embedding": embedding}, wait=True)
    try:
        bench.client.submit(_NAME, path, wait=900)
        bench.wait_idle()
        job = bench.client.find_duplicates(_NAME, threshold, _INTO, wait=3600)
    finally:
        bench.drop(_INTO)
        bench.drop(_NAME)
    # Not what it waited for: the index of the new records is built in the same queue.
    began, ended = (datetime.fromisoformat(job[moment]) for moment in ("started_at", "finished_at"))
    seconds, rows = (ended - began).total_seconds(), job["result"]["rows"]
    if found not in (None, rows):
        raise RuntimeError(f"{found} records have a near-duplicate, and {rows} were found")
    pairs = count * (count - 1) / 2
    return Row(
        f"near-duplicates among {count:,} records, {kind}: one job",
        f"{show(seconds)} s, {pairs / seconds / 1e6:,.0f} million pairs/s, {rows:,} found",
        values={"records": count, "seconds": round(seconds, 2), "found": rows},
        figure=seconds,
        lower=True,
    )
