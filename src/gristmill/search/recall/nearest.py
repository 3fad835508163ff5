"""The true nearest of many queries at once: every vector is read once and compared with all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic_core import from_json
from sqlalchemy import Connection

from gristmill.datasets.contract_parser import Contract
from gristmill.search.query.curve import Source
from gristmill.search.query.vector import OPERATORS, vector_type
from gristmill.search.repository import vectors

# Work between two calls of ``rest``.
Rest = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Queries:
    """texts: as pgvector writes them. own: ``_id`` of the record that a query is, 0 if it is none. source: of all."""

    texts: tuple[str, ...]
    own: tuple[int, ...]
    source: Source = "records"

    @property
    def independent(self) -> int:
        """How many of them have nothing to do with another one: a record may be several queries."""
        return len(set(self.own) - {0}) + self.own.count(0)

    def matrix(self, contract: Contract) -> Any:
        """Return the vectors: (queries, dimensions) float32; bits as 0 and 1."""
        if contract.vector_storage == "bit":
            return np.array([[bit == "1" for bit in text] for text in self.texts], np.float32)
        return np.array([from_json(text) for text in self.texts], np.float32)


def nearest(
    connection: Connection, contract: Contract, queries: Queries, condition: str, most: int, rest: Rest
) -> list[list[float]]:
    """Return for each query the distances of its ``most`` nearest records, in order; fewer where there are no more.

    condition: which records, SQL of constants. A query's own record is left out. The candidates are found by numpy in
    32-bit floats; their distances are those that Postgres computes, so that they can be compared with those of a walk.
    """
    given = queries.matrix(contract)
    own = np.array(queries.own, np.int64)[:, None]
    best = np.full((len(given), 0), np.inf, np.float32)
    best_ids = np.zeros((len(given), 0), np.int64)
    after = 0
    assert contract.embedding is not None
    while True:
        ids, found = vectors.read_page(
            connection, contract.name, contract.vector_storage, contract.vector_dimensions or 0, condition, after
        )
        if not len(ids):
            break
        after = int(ids[-1])
        distances = _distances(contract.embedding.metric, given, found)
        distances[own == ids[None, :]] = np.inf
        best = np.concatenate([best, distances], axis=1)
        best_ids = np.concatenate([best_ids, np.broadcast_to(ids, distances.shape)], axis=1)
        if best.shape[1] > most:
            places = np.argpartition(best, most - 1, axis=1)[:, :most]
            best = np.take_along_axis(best, places, axis=1)
            best_ids = np.take_along_axis(best_ids, places, axis=1)
        rest()
    by = compared(contract)
    return [
        by.distances(connection, text, row_ids[np.isfinite(row)].tolist())
        for text, row_ids, row in zip(queries.texts, best_ids, best, strict=True)
    ]


def compared(contract: Contract) -> vectors.Compared:
    """Return how the vectors of the dataset are compared."""
    assert contract.embedding is not None
    return vectors.Compared(contract.name, OPERATORS[contract.embedding.metric], vector_type(contract))


def _distances(metric: str, queries: Any, found: Any) -> Any:
    """Return what orders as the distances do: (queries, rows) float32."""
    if metric == "hamming":
        ones = np.unpackbits(found, axis=1, count=queries.shape[1]).astype(np.float32)
        return queries.sum(axis=1)[:, None] + ones.sum(axis=1)[None, :] - 2 * queries @ ones.T
    if metric == "inner_product":
        return -(queries @ found.T)
    if metric == "l2":
        # Far from the origin the squares would hide the differences.
        centre = queries.mean(axis=0)
        queries, found = queries - centre, found - centre
        return (found * found).sum(axis=1)[None, :] - 2 * (queries @ found.T)
    return -(queries @ (found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-30)).T)
