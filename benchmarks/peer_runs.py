"""The peers that store vectors, each run once a bench: they load the rows, then search them.

Postgres peers have a database of their own on the server that Gristmill uses, with its settings: ``fsync``,
``full_page_writes`` and ``synchronous_commit`` are on for them too. Gristmill's processes are stopped meanwhile, but
for searches of Chroma, which are compared in turn.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import exact
from benchmarks.corpus import Corpus
from benchmarks.harness import Bench
from benchmarks.load import Answers, Plan, drive

K = 10
RECALL = 0.98
# Wider searches are tried up to this recall, for the plot.
ENOUGH = 0.995
# Widths of the search that are tried in this order, until the recall is reached.
WIDTHS = [20, 40, 60, 80, 100, 130, 160, 200, 300, 400]
# How often each query is asked for the latency.
ROUNDS = 2
# Of as many as the server allows.
_LARGE_BATCHES = {"batch": 0, "clients": 1}
# Of a run, and for each thousand of the rows.
_SECONDS, _SECONDS_PER_THOUSAND = 300, 4


@cache
def chroma(bench: Bench) -> dict[str, Any]:
    """Return the rates of Chroma's server. Raises PeerUnavailable."""
    # Both ways of adding that its docs name.
    adds = [{"batch": 250, "clients": 2}, _LARGE_BATCHES]
    return _run(bench, "chroma", {**_plan(bench, rows(bench)), "folder": str(bench.folder), "adds": adds})


@dataclass(frozen=True)
class StoredChroma:
    """Rows that Chroma's server has stored, in ``folder``, to be searched with one width at a time."""

    bench: Bench
    folder: str

    @contextlib.contextmanager
    def served(self, ef: int) -> Iterator[Callable[..., Answers]]:
        """Give what posts queries: called with their bodies, as ``Bench.post`` is. Raises PeerUnavailable."""
        plan = {"stored": self.folder, "ef": ef}
        with self.bench.peers.serve("chroma", plan, self.bench.folder / "chroma.log") as found:
            yield lambda bodies, **plan: drive(Plan(found["port"], found["path"], bodies, **plan))


@contextlib.contextmanager
def stored_chroma(bench: Bench, count: int) -> Iterator[StoredChroma]:
    """Have Chroma's server store so many rows, and remove them afterwards. Raises PeerUnavailable."""
    plan = {**_plan(bench, count), "folder": str(bench.folder), "adds": [_LARGE_BATCHES], "keep": True}
    folder = _run(bench, "chroma", plan)["stored"]
    try:
        yield StoredChroma(bench, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def langchain(bench: Bench) -> dict[str, Any]:
    """Return rates and search of LangChain's PGVectorStore. Raises PeerUnavailable."""
    count, url = rows(bench), bench.fresh_database("peer_langchain")
    return _run(bench, "langchain", {**_plan(bench, count), **_queries(bench, count), "url": url})


@cache
def orm(bench: Bench) -> dict[str, Any]:
    """Return the rate of SQLAlchemy's ORM with pgvector. Raises PeerUnavailable."""
    return _run(bench, "orm", {**_plan(bench, rows(bench)), "url": bench.fresh_database("peer_orm")})


def rows(bench: Bench) -> int:
    """Return how many rows Gristmill and the peers load alike."""
    return bench.size(60_000, 2000)


def kth_distances(corpus: Corpus, count: int) -> list[float]:
    """Return the cosine distance of the k-th nearest of the first ``count`` rows to each query."""
    return [float(value) for value in exact.kth_distances(corpus, count, K, [None])[0]]


def _plan(bench: Bench, count: int) -> dict[str, Any]:
    return {"parquet": [str(path) for path in bench.corpus.files(count)], "rows": count}


def _queries(bench: Bench, count: int) -> dict[str, Any]:
    queries = bench.folder / "queries.npy"
    np.save(queries, bench.corpus.queries())
    return {
        "queries": str(queries), "k": K, "efs": WIDTHS, "recall": RECALL, "enough": ENOUGH,
        "kth": kth_distances(bench.corpus, count), "rounds": ROUNDS,
    }  # fmt: skip


def _run(bench: Bench, module: str, plan: dict[str, Any]) -> dict[str, Any]:
    # The environment is installed before anything is stopped for it.
    log: Path = bench.folder / f"{module}.log"
    assert bench.peers.python
    bench.say(f"  {module}: {plan['rows']:,} rows")
    with bench.only_postgres():
        seconds = _SECONDS + _SECONDS_PER_THOUSAND * plan["rows"] / 1000
        return bench.peers.run(module, plan, log, seconds)
