"""Chroma's server: ``add`` over HTTP, or a server that searches what was added with one width.

Plan to add: {folder, parquet, rows, adds: [{batch, clients}], keep}; parquet: files; batch 0 is the server's own
``max_batch_size``; keep: leave what was added last, its folder is ``stored`` of the answer. Plan to serve: {stored,
ef}; it prints {port, path}, where queries are to be posted, and serves until its standard input ends.

Durability: its log is SQLite with a rollback journal and ``synchronous=FULL`` (20 adds made 200 fsyncs, by strace), so
what was added is on the disk when it is answered, as with Postgres.

Settings and where they are from:
- server ``chroma run --path`` (docs: cli/run), its defaults; ``hnsw:space`` cosine, else the defaults of
  docs/collections/configure: ef_construction 100, max_neighbors 16, ef_search 100;
- batches as large as ``get_max_batch_size`` allows, by one client (cookbook.chromadb.dev/strategies/batching);
- ``ef_search`` by ``collection.modify``; the server searches with it only once it has started anew (of 20,000 texts it
  found 0.985 of the ten nearest whatever it was modified to, and 0.818 with 10, 0.999 with 400 after a start), so it is
  started for every width;
- batches of 250 by two client processes (docs: production/administration/performance, "Insert Throughput": "2
  concurrent client processes or threads", "anything between 50 and 250").
"""

import contextlib
import json
import multiprocessing
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pyarrow.parquet as pq

from benchmarks.peers import environment

_NAME = "bench"


def main() -> None:
    plan = json.loads(sys.stdin.readline())
    if "ef" in plan:
        _serve(Path(plan["stored"]), plan["ef"])
        return
    found: dict[str, Any] = {"version": chromadb.__version__, "adds": []}
    for number, add in enumerate(plan["adds"]):
        folder = Path(plan["folder"]) / f"chroma-{number}"
        with _server(folder) as port:
            found["adds"].append({**add, **_add(port, plan, add)})
        if number == len(plan["adds"]) - 1 and plan.get("keep"):
            found["stored"] = str(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found))


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "chroma"), "run", "--path", str(folder), "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=sys.stderr, env=environment()
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(Exception):
                chromadb.HttpClient("127.0.0.1", port).heartbeat()
                break
            if time.monotonic() > deadline or server.poll() is not None:
                raise RuntimeError("Chroma's server did not start")
            time.sleep(0.2)
        yield port
    finally:
        server.terminate()
        server.wait(30)


def _add(port: int, plan: dict[str, Any], add: dict[str, int]) -> dict[str, Any]:
    """Add all rows, and ask until the last one is found: seconds from the first request to that answer."""
    client = chromadb.HttpClient("127.0.0.1", port)
    collection = client.create_collection(_NAME, configuration={"hnsw": {"space": "cosine"}})
    batch = add["batch"] or client.get_max_batch_size()
    clients, rows = add["clients"], plan["rows"]
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(clients + 1)
    share = -(-rows // clients)
    workers = []
    for place in range(clients):
        span = (place * share, min(rows, (place + 1) * share))
        workers.append(spawn.Process(target=_send, args=(port, plan["parquet"], *span, batch, ready)))
    for worker in workers:
        worker.start()
    ready.wait(120)
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    added = time.perf_counter() - began
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a client of Chroma failed")
    last = pq.read_table(plan["parquet"]).slice(rows - 1, 1).to_pylist()[0]
    while str(last["id"]) not in collection.query(query_embeddings=[last["_embedding"]], n_results=10)["ids"][0]:
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    if collection.count() != rows:
        raise RuntimeError(f"Chroma holds {collection.count()} of {rows} rows")
    return {"batch": batch, "seconds": round(seconds, 3), "added_seconds": round(added, 3),
            "rows_per_second": round(rows / seconds, 1)}  # fmt: skip


def _send(port: int, parquet: list[str], first: int, last: int, batch: int, ready: Any) -> None:
    table = pq.read_table(parquet).slice(first, last - first)
    ids = [str(value) for value in table.column("id").to_pylist()]
    documents = table.column("summary").to_pylist()
    metadatas = table.select(["name", "section", "size"]).to_pylist()
    vectors = np.stack(table.column("_embedding").to_numpy())
    collection = _collection(port)
    ready.wait(120)
    for at in range(0, len(ids), batch):
        to = at + batch
        collection.add(
            ids=ids[at:to], embeddings=vectors[at:to], documents=documents[at:to], metadatas=metadatas[at:to]
        )


def _collection(port: int) -> Any:
    return chromadb.HttpClient("127.0.0.1", port).get_collection(_NAME)


def _serve(folder: Path, ef: int) -> None:
    with _server(folder) as port:
        _collection(port).modify(configuration={"hnsw": {"ef_search": ef}})
    with _server(folder) as port:
        collection = _collection(port)
        if collection.configuration["hnsw"]["ef_search"] != ef:
            raise RuntimeError(f"Chroma does not search with ef {ef}: {collection.configuration['hnsw']}")
        path = f"/api/v2/tenants/default_tenant/databases/default_database/collections/{collection.id}/query"
        print(json.dumps({"port": port, "path": path}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
