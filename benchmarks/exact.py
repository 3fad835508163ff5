"""The true nearest rows, by comparing all of them outside of Postgres, and the recall of answers against them."""

import json
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from benchmarks.corpus import Corpus

Filter = Callable[[pa.Table], np.ndarray]
# What float32 makes of the same cosine in two programs.
EPSILON = 1e-5


def kth_distances(corpus: Corpus, rows: int, k: int, keeps: Sequence[Filter | None]) -> list[np.ndarray]:
    """Return for each filter the cosine distance of the k-th nearest of the first ``rows`` rows to each query.

    keeps: gets the columns of a part and returns a mask of the rows that it keeps; None keeps all.
    Infinite where a filter keeps fewer than k.
    """
    queries = corpus.queries()
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    best = [np.full((len(queries), k), np.inf, np.float32) for _ in keeps]
    for columns, vectors in corpus.vectors(rows):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        distances = 1 - queries @ unit.T
        for place, keep in enumerate(keeps):
            kept = distances if keep is None else distances[:, keep(columns)]
            both = np.concatenate([best[place], kept], axis=1)
            best[place] = np.partition(both, k - 1, axis=1)[:, :k]
    return [found.max(axis=1) for found in best]


def recall(bodies: Sequence[str], kth: Sequence[float], k: int) -> float:
    """Return the share of the k nearest that the answers hold."""
    return recall_of([[hit["distance"] for hit in json.loads(body)["hits"]] for body in bodies], kth, k)


def recall_of(distances: Sequence[Sequence[float]], kth: Sequence[float], k: int) -> float:
    """Return the same of the distances that each answer gave. Rows at equal distance stand in for each other."""
    found = 0
    for near, limit in zip(distances, kth, strict=True):
        found += sum(distance <= limit + EPSILON for distance in near[:k])
    return found / (k * len(kth))
