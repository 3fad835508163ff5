"""Ranking by distance: one graph scan per ready segment, everything else compared exactly, merged.

    query AS (the vector), nearest AS (
        (SELECT _id, distance WHERE _id >= 1 AND _id < 40001 ORDER BY distance LIMIT k)      -- a segment: HNSW
        UNION ALL (SELECT _id, distance WHERE _id >= 40001 ORDER BY distance + 0 LIMIT k))   -- the tail: exact

The arms cover every ``_id`` whatever ranges are given: a range whose index is gone is merely scanned, and no record is
ever missed or found twice. Limits of the distance are applied outside of the arms: inside, a graph walk would go on for
near records that do not exist (36 times slower).
"""

import math

from gristmill.datasets.contract_parser import Contract

OPERATORS = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>", "hamming": "<~>"}
_OPERATOR_CLASSES = {"cosine": "cosine_ops", "l2": "l2_ops", "inner_product": "ip_ops", "hamming": "hamming_ops"}
MAX_EF = 1000
# Of one number, by how vectors are stored.
STORED_BITS = {"vector": 32, "halfvec": 16, "bit": 1}

Ranges = tuple[tuple[int, int], ...]


def score_of(metric: str, distance: float, dimensions: int) -> float:
    """Return the score of a distance: larger is more similar.

    cosine: the cosine of the angle, 1 - distance, from -1 to 1. l2: 1 / (1 + distance), from 0 to 1.
    inner_product: the inner product itself, which pgvector's distance is the negative of. hamming: the share of the
    bits that are equal, from 0 to 1.
    """
    if metric == "cosine":
        return 1.0 - distance
    if metric == "hamming":
        return 1.0 - distance / dimensions
    return 1.0 / (1.0 + distance) if metric == "l2" else -distance


def distance_of(metric: str, score: float, dimensions: int) -> float:
    """Return the distance whose score is ``score``: the inverse of ``score_of``.

    l2: a score above 1 is no distance's, so the distance is negative; one of 0 or less is any distance's.
    """
    if metric == "cosine":
        return 1.0 - score
    if metric == "hamming":
        # A whole number of bits: what is a little below it by rounding is that number.
        return float(math.floor((1.0 - score) * dimensions + 1e-6))
    if metric == "l2":
        return math.inf if score <= 0 else 1.0 / score - 1.0
    return -score


def ef_search(ef: int, k: int, segments: int) -> int:
    """Return ``hnsw.ef_search`` for each of ``segments`` graphs, to reach about the recall of one graph with ``ef``.

    The k nearest are spread over all graphs, so each has to find fewer of them, and ``ef`` can shrink with the root of
    their number. Recall@10 on 60,000 package descriptions: 1 graph at 100 0.984, 2 at 71 0.981, 3 at 58 0.978. Of the
    last of k, ef = k finds too few: recall@100 is 0.980 at 100 and 0.990 at 200.
    """
    return min(MAX_EF, max(k, math.ceil(max(ef, 2 * k) / math.sqrt(max(segments, 1))), 40))


def candidates(k: int) -> int:
    """Return how many rows to take from each graph for the k best of all.

    Beyond what ``ef_search`` can be doubled to, a graph is made to go on for another round instead: recall@1000 on
    60,000 package descriptions is 0.971 with 1,000 candidates and 0.994 with 1,500.
    """
    return k if 2 * k <= MAX_EF else k + k // 2


def gaps(ranges: Ranges) -> list[tuple[int | None, int | None]]:
    """Return the complement of the sorted ``ranges`` as (from, to) pairs, None for no bound."""
    found: list[tuple[int | None, int | None]] = []
    start: int | None = None
    for lo, hi in ranges:
        if start is None or start < lo:
            found.append((start, lo))
        start = hi
    return [*found, (start, None)]


def vector_type(contract: Contract) -> str:
    return f"{contract.vector_storage}({contract.vector_dimensions:d})"


def operator_class(metric: str, storage: str) -> str:
    """Return the operator class of an index that finds the nearest by ``metric``. storage: vector, halfvec or bit."""
    return f"{storage}_{_OPERATOR_CLASSES[metric]}"


def nearest(contract: Contract, table: str, ranges: Ranges, where: str, limit: str) -> str:
    """Return two common table expressions: ``query`` (vector) and ``nearest`` (_id, distance).

    The statement binds ``query``, the text of a vector. table: its quoted name. ranges: (lo, hi) of the ready
    segments, sorted and disjoint; () compares everything. where: a condition, "" for none. limit: rows of each arm.
    """
    assert contract.embedding is not None
    # The vector is sent and parsed once; a scalar subquery of it still lets the planner order by the index.
    distance = f"(_embedding {OPERATORS[contract.embedding.metric]} (SELECT vector FROM query))"
    condition = f"FROM {table} WHERE _embedding IS NOT NULL" + (f" AND ({where})" if where else "")
    walked = f"SELECT _id, {distance} AS distance {condition}"
    # Adding zero keeps the planner from a graph where an exact answer is meant; ties go to the record stored first.
    compared = f"SELECT _id, {distance} + 0 AS distance {condition}"
    arms = [f"({walked}{_between(lo, hi)} ORDER BY distance LIMIT {limit})" for lo, hi in ranges]
    arms += [f"({compared}{_between(lo, hi)} ORDER BY distance, _id LIMIT {limit})" for lo, hi in gaps(ranges)]
    return (
        f"query AS MATERIALIZED (SELECT %(query)s::{vector_type(contract)} AS vector),"
        f" nearest AS MATERIALIZED ({' UNION ALL '.join(arms)})"
    )


def _between(lo: int | None, hi: int | None) -> str:
    # Written out as constants: the planner proves a partial index usable from them alone.
    lower = "" if lo is None else f" AND _id >= {lo:d}"
    return lower if hi is None else f"{lower} AND _id < {hi:d}"
