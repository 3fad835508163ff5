"""The table that is searched: the rows of the corpus, and a field that nothing in their texts tells of."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import corpus, exact, index
from benchmarks.corpus import PART
from benchmarks.exact import Filter
from benchmarks.harness import Bench
from benchmarks.uploads import post

NAME = "bench_recall"
K = 10
BUCKETS = 1_000_000
# Filters on ``bucket`` are independent of the vectors. ``size`` is not: an entry of WordNet has some 150 bytes, a
# package of Debian tens of thousands, so half of the sizes are the half of the texts that come from there.
_FIELD = {"name": "bucket", "type": "integer", "required": True, "filterable": True}


@dataclass(frozen=True)
class Asked:
    """The queries of one size. texts, vectors: the same. kth: the distance of the k-th nearest row to each of them."""

    rows: int
    texts: list[str]
    vectors: list[list[float]]
    kth: list[float]

    @property
    def size(self) -> str:
        return f"{self.rows:,} rows"


def asked(bench: Bench, rows: int, keeps: list[Filter]) -> tuple[Asked, list[list[float]]]:
    """Return the queries, and the distance of the k-th nearest of the rows that each filter keeps."""
    kth, *filtered = (found.tolist() for found in exact.kth_distances(bench.corpus, rows, K, [None, *keeps]))
    vectors = [[float(value) for value in vector] for vector in bench.corpus.queries()]
    return Asked(rows, bench.corpus.held_out(), vectors, kth), filtered


def create(bench: Bench, words: bool) -> None:
    """Create the dataset, its index builds held back. words: also for searches by words."""
    contract: dict[str, Any] = corpus.contract(NAME, filterable=True)
    contract["fields"] = [*contract["fields"], _FIELD]
    if words:
        contract["text_search"] = {"from": ["summary"]}
    bench.client.create_dataset(contract, wait=True)
    index.hold(bench, NAME, True)


def load(bench: Bench, first: int, count: int) -> float:
    """Upload rows and wait until all are there; return the seconds, without those of writing the files."""
    seconds, last = 0.0, first + count
    while first < last:
        part = min(last - first, PART - first % PART)
        seconds += send(bench, bench.corpus.rows(first, part))
        first += part
    return seconds


def send(bench: Bench, rows: pa.Table) -> float:
    """Upload rows of the corpus and wait until they are there; return the seconds."""
    path = bench.folder / "recall.parquet"
    pq.write_table(rows.append_column("bucket", pa.array(buckets(rows))), path)
    began = time.perf_counter()
    job = bench.client.wait(post(bench, NAME, path))
    seconds = time.perf_counter() - began
    if job["record_counts"]["succeeded"] != len(rows):
        raise RuntimeError(f"{len(rows)} rows were sent; {job['record_counts']}")
    path.unlink()
    return seconds


def settle(bench: Bench) -> dict[str, Any]:
    """Wait until nothing is under way, let Postgres know its table, and return the state of the index."""
    bench.wait_idle()
    bench.rows(f"VACUUM (ANALYZE) data.{NAME}")
    return index.state(bench, NAME)


def buckets(rows: pa.Table) -> np.ndarray:
    """Return a number below ``BUCKETS`` for each row, by its id alone (the finaliser of SplitMix64)."""
    mixed = rows.column("id").to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: np.ndarray = ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(BUCKETS)).astype(np.int64)
    return found
