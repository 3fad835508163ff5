"""Search by vector and by text over sealed segments of real embedded texts: latency over HTTP, and recall@10."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.figures import Row, Times
from benchmarks.harness import Bench
from benchmarks.ingest_ndjson import contract
from benchmarks.load import Answers
from benchmarks.static_vectors import embed
from benchmarks.texts import real_texts, write_ndjson

NAME = "bench_search"
K = 10
TARGET_MS, TARGET_RECALL = 6.0, 0.97
# Each query is asked so often, for the latency; its answer counts once for the recall.
ROUNDS = 4
# Distances of the same record in graph and exact scan differ by rounding at most.
_EPSILON = 1e-6


def run(bench: Bench) -> Iterator[Row]:
    """Yield latency and recall of held-out texts, sent as vectors and as texts."""
    texts = real_texts(60_000)
    records = min(bench.size(60_000, 3000), len(texts.loaded))
    path = bench.folder / "search.ndjson"
    write_ndjson(path, texts, records)
    bench.client.create_dataset(contract(NAME), wait=True)
    bench.client.submit(NAME, path, wait=True)
    index = _sealed(bench)
    bench.wait_idle()
    known = [(text, vector) for text, vector in _embedded(texts.held_out) if vector is not None]
    vectors = [vector for _, vector in known]
    exact = _exact_distances(bench, vectors)
    about = f"{records:,} rows of 256-d in {index['segments']} segments, {index['tail_rows']:,} in the tail"
    queries: dict[str, Sequence[Any]] = {"vector": vectors, "text": [text for text, _ in known]}
    for kind, values in queries.items():
        bodies = [json.dumps({kind: value, "k": K}) for value in values]
        bench.post(f"/datasets/{NAME}/search", bodies, requests=len(bodies))
        answers = bench.post(f"/datasets/{NAME}/search", bodies, requests=ROUNDS * len(bodies), keep=True)
        times, recall, inside = Times.of(answers.times), _recall(answers, exact), _inside(answers)
        yield Row(
            f"search by {kind}, k {K}: {about}" if kind == "vector" else f"search by {kind}, the same",
            f"{times}, recall@{K} {recall:.4f}; p50 inside the server {inside.p50:.2f} ms",
            f"p50 ≤ {TARGET_MS:g} ms at recall ≥ {TARGET_RECALL}",
            times.p50 <= TARGET_MS and recall >= TARGET_RECALL,
            {
                **times.values(),
                "recall": round(recall, 5),
                "queries": len(bodies),
                "took_ms": inside.values(),
                "index": index,
                "source": texts.source,
            },
        )
    bench.say(f"  texts: {texts.source}")
    bench.drop(NAME)


def _sealed(bench: Bench, seconds: float = 600) -> dict[str, Any]:
    """Wait until the tail was sealed once it had settled, and return the state of the index."""
    deadline = time.monotonic() + seconds
    while True:
        index: dict[str, Any] = bench.client.dataset(NAME)["index"]
        # What remains in the tail then is too little to be worth a graph.
        if index["segments"] and not index["building"] and index["tail_rows"] < bench.settings.search_seal_rows // 10:
            return index
        if time.monotonic() > deadline:
            raise RuntimeError(f"the tail was not sealed within {seconds:g} s: {index}")
        time.sleep(0.5)


def _embedded(texts: Sequence[str]) -> Iterator[tuple[str, list[float] | None]]:
    for text, vector in zip(texts, embed(texts), strict=True):
        yield text, None if vector[0] != vector[0] else [float(value) for value in vector]


def _exact_distances(bench: Bench, vectors: Sequence[list[float]]) -> list[float]:
    """Return the distance of the k-th nearest record of each vector, by comparing all of them."""
    found = []
    with bench.connect() as connection, connection.cursor() as cursor:
        # Adding zero keeps the planner from the graphs.
        sql = (
            f"SELECT (_embedding <=> %s::vector) + 0 FROM data.{NAME} WHERE _embedding IS NOT NULL ORDER BY 1 LIMIT {K}"
        )
        for vector in vectors:
            cursor.execute(sql, (json.dumps(vector),))
            found.append(cursor.fetchall()[-1][0])
    return found


def _recall(answers: Answers, exact: Sequence[float]) -> float:
    """Return the share of the k nearest that was found. Records at equal distance stand in for each other."""
    found = 0
    for place, kth in enumerate(exact):
        hits = json.loads(answers.bodies[place])["hits"]
        found += sum(hit["distance"] <= kth + _EPSILON for hit in hits[:K])
    return found / (K * len(exact))


def _inside(answers: Answers) -> Times:
    return Times.of([json.loads(body)["took_ms"] for body in answers.bodies])
