"""Ranking by distance: one graph scan per ready segment, everything else compared exactly, merged.

    query AS (the vector), nearest AS (
        (SELECT _id, distance WHERE _id >= 1 AND _id < 40001 ORDER BY distance LIMIT k)      -- a segment: HNSW
        UNION ALL (SELECT _id, distance WHERE _id >= 40001 ORDER BY distance + 0 LIMIT k))   -- the tail: exact

A graph in half precision is walked by distances between directions that are rounded to 16-bit floats. A few more than k
are taken from it, and the distances that are returned, and ranked by, are those of the vectors themselves.

The arms cover every ``_id`` whatever ranges are given: a range whose index is gone is merely scanned (of one in half
precision, all directions), and no record is ever left out or found twice. Limits of the distance are applied outside of
the arms: inside, a graph walk would go on for near records that do not exist (36 times slower).
"""

import math
from collections.abc import Sequence

from gristmill.datasets.contract_parser import Contract
from gristmill.search.repository.catalogue import BLOCK, Range

OPERATORS = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>", "hamming": "<~>"}
_OPERATOR_CLASSES = {"cosine": "cosine_ops", "l2": "l2_ops", "inner_product": "ip_ops", "hamming": "hamming_ops"}
MAX_EF = 1000
# Of one number, by how vectors are stored.
STORED_BITS = {"vector": 32, "halfvec": 16, "bit": 1}

# Of the nearest in half precision so many more than k are ranked again: at least four, and a 16th of what a walk has at
# hand. Among 300,000 texts one more was needed by one search of a hundred with k 10, two more by some with k 300; where
# many are nearer to each other than half precision can tell, more effort finds them.
_SPARE, _SPARE_PART = 4, 16

# The first ``_id`` that a table draws.
FIRST_ID = 1

Ranges = tuple[Range, ...]


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


def taken(range_: Range, k: int, at_hand: int) -> int:
    """Return how many rows to take from a graph for the k best of all.

    at_hand: how many that match its walk is expected to find.

    Beyond what ``ef_search`` can be doubled to, a graph is made to go on for another round instead: recall@1000 on
    60,000 package descriptions is 0.971 with 1,000 candidates and 0.994 with 1,500.
    """
    if 2 * k > MAX_EF:
        return k + k // 2
    return max(k, ranked_again(k, at_hand)) if range_.half_precision else k


def candidates(ranges: Ranges, wanted: Sequence[int], k: int) -> dict[str, int]:
    """Return what ``nearest`` binds: how many rows each of its arms gives. wanted: of the walks of ``ranges``.

    Walks with an effort of their own have a number of their own: one that is asked for more than it has at hand makes
    another round. All else gives k, or as much as the other walks.
    """
    pairs = list(zip(ranges, wanted, strict=True))
    shared = max([k, *(number for one, number in pairs if not one.ef)])
    own = {_limit(one, place): max(k, number) for place, (one, number) in enumerate(pairs) if one.ef}
    return {"candidates": shared, **own}


def _limit(range_: Range, place: int) -> str:
    return f"candidates_{place}" if range_.ef else "candidates"


def ranked_again(k: int, at_hand: int) -> int:
    """Return how many of the nearest in half precision are compared by their vectors to find the k nearest."""
    return min(at_hand, k + max(_SPARE, at_hand // _SPARE_PART))


def gaps(ranges: Ranges) -> list[tuple[int | None, int | None]]:
    """Return the complement of the sorted ``ranges`` as (from, to) pairs, None for no bound."""
    found: list[tuple[int | None, int | None]] = []
    start: int | None = None
    for range_ in ranges:
        if range_.lo > (FIRST_ID if start is None else start):
            found.append((start, range_.lo))
        start = range_.hi
    return [*found, (start, None)]


def within(range_: Range) -> str:
    """Return the condition of the records that are in the graph of a range.

    Written out as constants: the planner proves a partial index usable from them alone, and only if its condition is
    put in the same words.
    """
    condition = f"_id >= {range_.lo:d} AND _id < {range_.hi:d}"
    return f"{condition} AND mod(_id / {BLOCK}, {range_.held_step:d}) <> 0" if range_.held_step else condition


def held_out(ranges: Ranges) -> str:
    """Return a SELECT of the ids that are not in the graphs of their ranges, whether there are such records or not."""
    parts = []
    for range_ in ranges:
        if range_.held_step:
            step = BLOCK * range_.held_step
            first = range_.lo // step * step
            ids = f"SELECT b + i AS id FROM generate_series({first:d}::bigint, {range_.hi - 1:d}, {step:d}) AS b,"
            ids += f" generate_series(0, {BLOCK - 1:d}) AS i"
            parts.append(f"SELECT id FROM ({ids}) AS ids WHERE id >= {range_.lo:d} AND id < {range_.hi:d}")
    return " UNION ALL ".join(parts)


def outside(ranges: Ranges) -> list[str]:
    """Return conditions which, together, are those of the records that are in no graph of the ranges."""
    held = held_out(ranges)
    conditions = [f"true{_between(lo, hi)}" for lo, hi in gaps(ranges)]
    return [*conditions, f"_id = ANY(ARRAY({held}))"] if held else conditions


def vector_bytes(storage: str, dimensions: int) -> int:
    """Return what the numbers, or bits, of one vector take where it is stored."""
    return STORED_BITS[storage] * dimensions // 8


def vector_type(contract: Contract) -> str:
    return f"{contract.vector_storage}({contract.vector_dimensions:d})"


def direction(vector: str, dimensions: int) -> str:
    """Return SQL of a vector's direction, the vector of length 1, in half the bytes.

    Whatever a vector's length is, the numbers of its direction are within what 16-bit floats hold.
    """
    return f"(l2_normalize({vector})::halfvec({dimensions:d}))"


def indexed(metric: str, storage: str, dimensions: int, half_precision: bool) -> str:
    """Return what the graph of a segment holds, and the operator class that finds the nearest in it.

    storage: vector, halfvec or bit. half_precision: of metric cosine. Of directions the one with the largest inner
    product is the nearest by angle.
    """
    if half_precision:
        return f"{direction('_embedding', dimensions)} halfvec_ip_ops"
    return f"_embedding {storage}_{_OPERATOR_CLASSES[metric]}"


def walk_order(contract: Contract, range_: Range, vector: str, rounded: str) -> str:
    """Return what the records of a range are ordered by for its graph to be walked.

    vector: SQL of the vector that is searched by. rounded: of its direction.
    """
    assert contract.embedding is not None
    if range_.half_precision:
        return f"{direction('_embedding', contract.vector_dimensions or 0)} <#> {rounded}"
    return f"_embedding {OPERATORS[contract.embedding.metric]} {vector}"


def nearest(contract: Contract, table: str, ranges: Ranges, where: str) -> str:
    """Return common table expressions, among them ``query`` (vector) and ``nearest`` (_id, distance).

    The statement binds ``query``, the text of a vector, and what ``candidates`` returns. table: its quoted name.
    ranges: of the ready segments, sorted and disjoint; () compares everything. where: a condition, "" for none.
    """
    assert contract.embedding is not None
    # The vector is sent and parsed once; a scalar subquery of it still lets the planner order by the index.
    given, rounded = "(SELECT vector FROM query)", "(SELECT vector FROM rounded)"
    distance = f"(_embedding {OPERATORS[contract.embedding.metric]} {given})"
    condition = f"FROM {table} WHERE _embedding IS NOT NULL" + (f" AND ({where})" if where else "")
    walked = f"SELECT _id, {distance} AS distance {condition}"
    # Adding zero keeps the planner from a graph where an exact answer is meant; ties go to the record stored first.
    compared = f"SELECT _id, {distance} + 0 AS distance {condition}"
    arms = []
    for place, one in enumerate(ranges):
        order, limit = walk_order(contract, one, given, rounded), f"%({_limit(one, place)})s"
        arms.append(f"({walked} AND {within(one)}{_effort(one)} ORDER BY {order} LIMIT {limit})")
    limit = "%(candidates)s"
    arms += [f"({compared}{_between(lo, hi)} ORDER BY distance, _id LIMIT {limit})" for lo, hi in gaps(ranges)]
    held = held_out(ranges)
    if held:
        arms.append(f"({compared} AND _id = ANY(ARRAY({held})) ORDER BY distance, _id LIMIT {limit})")
    directions = ""
    if any(one.half_precision for one in ranges):
        found = direction("vector", contract.vector_dimensions or 0)
        directions = f" rounded AS MATERIALIZED (SELECT {found} AS vector FROM query),"
    return (
        f"query AS MATERIALIZED (SELECT %(query)s::{vector_type(contract)} AS vector),{directions}"
        f" nearest AS MATERIALIZED ({' UNION ALL '.join(arms)})"
    )


def _effort(range_: Range) -> str:
    """Return a condition that is always true, and that sets the effort of this walk before it begins.

    A setting holds for a whole statement, whose arms run one after the other: a subquery that depends on nothing is
    carried out once, when its arm begins.
    """
    if not range_.ef:
        return ""
    return f" AND (SELECT set_config('hnsw.ef_search', '{range_.ef:d}', true)) IS NOT NULL"


def _between(lo: int | None, hi: int | None) -> str:
    lower = "" if lo is None else f" AND _id >= {lo:d}"
    return lower if hi is None else f"{lower} AND _id < {hi:d}"
