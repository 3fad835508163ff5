"""The statement of a similarity search: one graph scan per ready segment, everything else exactly, merged and joined.

    WITH query AS (the vector), nearest AS (
        (SELECT _id, distance WHERE _id >= 1 AND _id < 40001 ORDER BY distance LIMIT k)      -- a segment: HNSW
        UNION ALL (SELECT _id, distance WHERE _id >= 40001 ORDER BY distance + 0 LIMIT k))   -- the tail: exact
    SELECT the record, distance FROM the k best of nearest JOIN the table

The arms cover every ``_id`` whatever ranges are given: a range whose index is gone is merely scanned, and no record is
ever missed or found twice.
"""

import math
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR

from gristmill.datasets.contract import Contract
from gristmill.datasets.model import EMBEDDING_COLUMN
from gristmill.records.read import RecordShape

OPERATORS = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>"}
OPERATOR_CLASSES = {"cosine": "vector_cosine_ops", "l2": "vector_l2_ops", "inner_product": "vector_ip_ops"}
MAX_EF = 1000

Ranges = tuple[tuple[int, int], ...]


def score_of(metric: str, distance: float) -> float:
    """Return the score of a distance: larger is more similar.

    cosine: the cosine of the angle, 1 - distance, from -1 to 1. l2: 1 / (1 + distance), from 0 to 1.
    inner_product: the inner product itself, which pgvector's distance is the negative of.
    """
    if metric == "cosine":
        return 1.0 - distance
    return 1.0 / (1.0 + distance) if metric == "l2" else -distance


def ef_search(ef: int, k: int, segments: int) -> int:
    """Return ``hnsw.ef_search`` for each of ``segments`` graphs, to reach about the recall of one graph with ``ef``.

    The k nearest are spread over all graphs, so each has to find fewer of them, and the effort can shrink with the
    root of their number. Recall@10 on 60,000 package descriptions: 1 graph at 100 0.984, 2 at 71 0.981, 3 at 58 0.978.
    """
    return min(MAX_EF, max(k, math.ceil(ef / math.sqrt(max(segments, 1))), 40))


def gaps(ranges: Ranges) -> list[tuple[int | None, int | None]]:
    """Return the complement of the sorted ``ranges`` as (from, to) pairs, None for no bound."""
    found: list[tuple[int | None, int | None]] = []
    start: int | None = None
    for lo, hi in ranges:
        if start is None or start < lo:
            found.append((start, lo))
        start = hi
    return [*found, (start, None)]


def nearest(
    contract: Contract, ranges: Ranges, where: sa.ColumnElement[bool] | None = None, embedding: bool = False
) -> sa.Select[Any]:
    """Return the statement; bind ``query`` (text of a vector) and ``k``. Rows: the record's columns, then distance.

    ranges: (lo, hi) of the ready segments, sorted and disjoint; () scans everything exactly.
    """
    assert contract.embedding is not None
    shape = RecordShape(contract, embedding)
    table = shape.table
    vector = table.c[EMBEDDING_COLUMN]
    k = sa.bindparam("k", type_=sa.Integer)
    text = sa.bindparam("query", type_=sa.Text)
    # The vector is sent and parsed once; a scalar subquery of it still lets the planner order by the index.
    query = sa.select(sa.cast(text, VECTOR(contract.vector_dimensions)).label("vector")).cte("query")
    query = query.prefix_with("MATERIALIZED")
    operator = OPERATORS[contract.embedding.metric]
    distance = vector.op(operator, return_type=sa.Float())(sa.select(query.c.vector).scalar_subquery())
    conditions = [vector.is_not(None), *([] if where is None else [where])]

    def arm(bounds: Sequence[sa.ColumnElement[bool]], order: Sequence[Any]) -> sa.Select[Any]:
        picked = sa.select(table.c["_id"], distance.label("distance")).where(*bounds, *conditions)
        return sa.select(picked.order_by(*order).limit(k).subquery())

    arms = [arm(_between(table, lo, hi), [distance]) for lo, hi in ranges]
    # Adding zero keeps the planner from a graph where an exact answer is meant; ties go to the record stored first.
    exact = [distance + sa.literal_column("0"), table.c["_id"]]
    arms += [arm(_between(table, lo, hi), exact) for lo, hi in gaps(ranges)]
    found = sa.union_all(*arms).cte("nearest").prefix_with("MATERIALIZED")
    best = sa.select(found).order_by(found.c.distance, found.c["_id"]).limit(k).subquery("best")
    joined = sa.select(*shape.columns, best.c.distance).join(best, best.c["_id"] == table.c["_id"])
    return joined.order_by(best.c.distance, best.c["_id"])


def _between(table: sa.Table, lo: int | None, hi: int | None) -> list[sa.ColumnElement[bool]]:
    # Written out as constants: the planner proves a partial index usable from them alone.
    column = table.c["_id"]
    bounds = [] if lo is None else [column >= sa.literal_column(str(lo))]
    return bounds if hi is None else [*bounds, column < sa.literal_column(str(hi))]
