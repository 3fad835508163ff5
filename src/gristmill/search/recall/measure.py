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
from gristmill.datasets.extensions import Gauge
from gristmill.search.query.settings import GRAPHS, THOROUGH, Settings, with_settings
from gristmill.search.query.statements import Layout, Shape
from gristmill.search.query.vector import Ranges, ef_search
from gristmill.search.repository import catalogue, recall, record_ids
from gristmill.search.repository.recall import K

# The record that is searched by is left out, as in a search by likeness: it would always be found.
_NOT_ITSELF = "_id <> %(own)s"


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
    """Compare what searches over ``ranges`` find with the exact answer. ``connection`` is in autocommit mode.

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
    highest = record_ids.highest_id(connection, table)
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


def store_recall(connection: Connection, dataset_id: uuid.UUID, table: str, measured: Recall, took_ms: float) -> None:
    """Keep a measurement, and what the dataset was like then."""
    segments = sum(s.id for s in catalogue.all_segments(connection, dataset_id) if s.state == "ready")
    values = {
        "k": measured.k,
        "value": measured.value,
        "samples": measured.samples,
        "segments": segments,
        "highest": record_ids.highest_id(connection, table),
        "changes": record_ids.changes(connection, table),
        "took_ms": took_ms,
    }
    recall.store(connection, dataset_id, values)


def recall_gauges(connection: Connection) -> list[Gauge]:
    """Return what ``/metrics`` shows of recall."""
    samples = [((dataset, str(k)), value) for dataset, k, value in recall.list_measured(connection)]
    text = "Part of the k nearest records that a search through the indexes finds, as last measured."
    return [Gauge("gristmill_search_recall", text, ("dataset", "k"), samples)]
