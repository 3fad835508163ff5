"""How many of the true nearest a search finds: stored records are searched by, through the graphs and exactly."""

import random
import time
import uuid
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.database import DATA_SCHEMA
from gristmill.datasets.contract import EMBEDDING_COLUMN
from gristmill.kit.timestamps import rfc3339
from gristmill.search import repository
from gristmill.search.query.settings import GRAPHS, THOROUGH, Settings, with_settings
from gristmill.search.query.statements import Layout, Shape
from gristmill.search.query.vector import Ranges, ef_search

K = 10
# The record that is searched by is left out, as in a search by likeness: it would always be found.
_NOT_ITSELF = "_id <> %(own)s"
_STORE = """
INSERT INTO gristmill.recall (dataset_id, k, value, samples, segments, highest, changes, took_ms)
VALUES (%(dataset_id)s, %(k)s, %(value)s, %(samples)s, %(segments)s, %(highest)s, %(changes)s, %(took_ms)s)
ON CONFLICT (dataset_id) DO UPDATE SET k = EXCLUDED.k, value = EXCLUDED.value, samples = EXCLUDED.samples,
    segments = EXCLUDED.segments, highest = EXCLUDED.highest, changes = EXCLUDED.changes, took_ms = EXCLUDED.took_ms,
    measured_at = now()
"""
_ONE = "SELECT value, k, samples, measured_at FROM gristmill.recall WHERE dataset_id = %(dataset_id)s"
_ALL = """
SELECT d.name, r.k, r.value FROM gristmill.recall r JOIN gristmill.datasets d ON d.id = r.dataset_id
WHERE d.state = 'ready' AND r.samples > 0
    AND EXISTS (SELECT FROM gristmill.segments s WHERE s.dataset_id = d.id AND s.state = 'ready')
ORDER BY d.name
"""
_MEASURED = """
SELECT dataset_id, segments, highest, changes, extract(epoch FROM now() - measured_at)::float AS age
FROM gristmill.recall
"""


@dataclass(frozen=True, slots=True)
class Recall:
    """value: the part of the ``k`` nearest that was found, over ``samples`` searches; 1 if there are no records."""

    value: float
    k: int
    samples: int


@dataclass(frozen=True, slots=True)
class Effort:
    """samples: searches to compare. seconds: for all of them; fewer are made where comparing every record takes long.

    ef: as in the settings of searches.
    """

    samples: int = 50
    seconds: float = 10.0
    ef: int = 100


def measure(connection: Connection, layout: Layout, ranges: Ranges, effort: Effort, seed: int = 0) -> Recall:
    """Compare what searches over ``ranges`` find with what is nearest in truth. ``connection`` is in autocommit mode.

    A hit that is as near as the k-th nearest counts: of equally near ones an index may choose. Stops when the time is
    used up, so that ``samples`` of the answer may be 0.
    """
    found = wanted = samples = 0
    deadline = time.monotonic() + effort.seconds
    graphs = {**GRAPHS, "hnsw.ef_search": ef_search(effort.ef, K, len(ranges))}
    for own, vector in _pick(connection, layout.contract.name, effort.samples, seed):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            truth = _distances(connection, layout, (), _within(THOROUGH, left), own, vector)
            served = _distances(connection, layout, ranges, _within(graphs, left), own, vector)
        except DBAPIError as error:
            # 57014, query_canceled: the time is used up.
            if getattr(error.orig, "pgcode", None) != "57014":
                raise
            break
        samples += 1
        wanted += len(truth)
        found += sum(distance <= truth[-1] for distance in served) if truth else 0
    return Recall(found / wanted if wanted else 1.0, K, samples)


def _pick(connection: Connection, table: str, count: int, seed: int) -> list[tuple[int, str]]:
    """Return (_id, vector as text) of up to ``count`` records, spread over the whole table."""
    number = sa.column("_id", sa.BigInteger)
    embedding: sa.ColumnClause[Any] = sa.column(EMBEDDING_COLUMN)
    source = sa.table(table, number, embedding, schema=DATA_SCHEMA)
    start = sa.bindparam("start", type_=sa.BigInteger)
    one = sa.select(number, sa.cast(embedding, sa.Text)).select_from(source)
    one = one.where(number >= start, embedding.is_not(None)).order_by(number).limit(1)
    highest = repository.highest_id(connection, table)
    chosen = random.Random(seed)
    picked: dict[int, str] = {}
    for _ in range(count):
        row = connection.execute(one, {"start": chosen.randint(1, max(highest, 1))}).first()
        if row is not None:
            picked[row[0]] = row[1]
    return list(picked.items())


def _within(settings: Settings, seconds: float) -> Settings:
    return {**settings, "statement_timeout": max(1, int(seconds * 1000))}


def _distances(
    connection: Connection, layout: Layout, ranges: Ranges, settings: Settings, own: int, vector: str
) -> list[float]:
    """Return the distances of the K nearest, in order, by the statement that searches use."""
    sql = with_settings(settings, layout.statement(Shape("vector", ranges, where=_NOT_ITSELF)))
    values = {"query": vector, "k": K, "candidates": K, "limit": K, "size": K, "own": own}
    rows = connection.exec_driver_sql(sql, values)
    # The last three columns are the distance and two counts; without any record there is a row of nulls.
    return [float(row[-3]) for row in rows if row[-3] is not None]


def store_recall(connection: Connection, dataset_id: uuid.UUID, table: str, recall: Recall, took_ms: float) -> None:
    """Keep a measurement, and what the dataset was like then."""
    segments = sum(s.id for s in repository.all_segments(connection, dataset_id) if s.state == "ready")
    values = {
        "dataset_id": str(dataset_id),
        "k": recall.k,
        "value": recall.value,
        "samples": recall.samples,
        "segments": segments,
        "highest": repository.highest_id(connection, table),
        "changes": repository.changes(connection, table),
        "took_ms": took_ms,
    }
    connection.exec_driver_sql(_STORE, values)


def shown_recall(connection: Connection, dataset_id: uuid.UUID, has_segments: bool) -> dict[str, Any] | None:
    """Return what the dataset's body shows; None if it has segments and nothing was measured yet."""
    if not has_segments:
        return {"value": 1.0, "k": K, "exact": True, "samples": 0, "measured_at": None}
    row = connection.exec_driver_sql(_ONE, {"dataset_id": str(dataset_id)}).first()
    if row is None:
        return None
    shown = rfc3339(row.measured_at)
    value = round(row.value, 4) if row.samples else None
    return {"value": value, "k": row.k, "exact": False, "samples": row.samples, "measured_at": shown}


def read_recalls(connection: Connection) -> list[tuple[str, int, float]]:
    """Return (dataset, k, recall) of every dataset with segments that was measured."""
    return [(row[0], row[1], row[2]) for row in connection.exec_driver_sql(_ALL)]


def last_measured(connection: Connection) -> dict[uuid.UUID, Any]:
    """Return by dataset what was there when it was measured last: segments, highest, changes; age in seconds."""
    return {uuid.UUID(str(row.dataset_id)): row for row in connection.exec_driver_sql(_MEASURED)}
