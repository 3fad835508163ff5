"""Vector indexes in tests: datasets with clustered vectors, what Postgres and the catalogue hold, builds that stand."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from gristmill.core.database import Database
from gristmill.datasets.lookup import Dataset
from gristmill.kit.ids import uuid7
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.query.statements import Layout, Shape
from gristmill.search.query.vector import Ranges, candidates, taken
from gristmill.search.repository import catalogue
from gristmill.search.repository.catalogue import Segment
from tests.support.stored import store

DIMENSIONS = 16
BODY = {
    "name": "things",
    "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "kind", "type": "text"}],
    "key": ["id"],
    "embedding": {"dimensions": DIMENSIONS},
}


def fill(database: Database, dataset: Dataset, first: int, count: int) -> np.ndarray:
    """Store records with clustered vectors."""
    random = np.random.default_rng(first)
    centres = np.random.default_rng(7).normal(size=(20, DIMENSIONS))
    vectors: np.ndarray = centres[random.integers(0, 20, count)] + random.normal(scale=0.3, size=(count, DIMENSIONS))
    records = [{"id": first + place, "kind": "ab"[place % 2]} for place in range(count)]
    store(database, dataset.contract, records, vectors.tolist(), seq=first + 1)
    return vectors


def build(builder: IndexBuilder, dataset: Dataset, **order: Any) -> dict[str, Any]:
    return builder.build(dataset.id, uuid7(), lambda: None, **order)


def segments(database: Database, dataset: Dataset) -> list[Segment]:
    with database.autocommit() as connection:
        return catalogue.all_segments(connection, dataset.id)


def indexes(database: Database) -> dict[str, bool]:
    """Return the vector indexes of all datasets by name, and whether they are valid."""
    sql = (
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'hnsw'"
    )
    with database.autocommit() as connection:
        return {row[0]: row[1] for row in connection.exec_driver_sql(sql)}


def assert_whole(database: Database, dataset: Dataset, rows: int) -> None:
    """Every index is valid and in the catalogue, every segment is ready and has its index, and searches find all."""
    found = segments(database, dataset)
    assert [s.state for s in found] == ["ready"] * len(found)
    assert indexes(database) == {s.index_name: True for s in found}
    for first, second in itertools.pairwise(found):
        assert first.hi <= second.lo
    with database.autocommit() as connection:
        ranges = catalogue.ready_ranges(connection, dataset.id)
    assert len(search_ids(database, dataset, [1.0] * DIMENSIONS, rows, ranges)) == rows
    near = [search_ids(database, dataset, [1.0] * DIMENSIONS, 10, given) for given in (ranges, ())]
    assert near[0] == near[1]


def search_ids(
    database: Database, dataset: Dataset, vector: list[float], k: int, ranges: Ranges | None = None
) -> list[int]:
    """Return the ids that a search finds. ranges: None for those that are ready now."""
    with database.transaction() as connection:
        found = catalogue.ready_ranges(connection, dataset.id) if ranges is None else ranges
        settings = "SET LOCAL hnsw.iterative_scan = relaxed_order; SET LOCAL hnsw.ef_search = 200;"
        statement, values = nearest(dataset, found, vector, k)
        return [row.id for row in connection.exec_driver_sql(settings + statement, values)]


def nearest(dataset: Dataset, ranges: Ranges, vector: list[float], k: int) -> tuple[str, dict[str, Any]]:
    """Return the statement of a search, and its parameters."""
    wanted = [taken(one, k, 200) for one in ranges]
    values = {"query": str(vector), "k": k, "limit": k, "size": k, **candidates(ranges, wanted, k)}
    return Layout(dataset.contract).statement(Shape("vector", ranges)), values


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def phase(database: Database) -> str | None:
    """Return the phase of the index build that Postgres carries out now; ``drop`` while one is dropped."""
    sql = (
        "SELECT coalesce(p.phase, 'drop') FROM pg_stat_activity a LEFT JOIN pg_stat_progress_create_index p USING (pid)"
        " WHERE a.datname = current_database() AND a.state = 'active'"
        " AND (p.phase IS NOT NULL OR a.query LIKE 'DROP INDEX CONC%%') AND a.pid <> pg_backend_pid()"
    )
    with database.autocommit() as connection:
        found: str | None = connection.exec_driver_sql(sql).scalar()
    return found


def builder_pid(database: Database) -> int | None:
    """Return the backend that builds or drops an index now."""
    sql = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND (query LIKE 'CREATE INDEX CONC%%' OR query LIKE 'DROP INDEX CONC%%') AND state = 'active'"
    )
    with database.autocommit() as connection:
        found: int | None = connection.exec_driver_sql(sql).scalar()
    return found


@contextmanager
def other(database: Database, sql: str) -> Iterator[Any]:
    """Another session with an open transaction that has run ``sql``."""
    connection = database.connect_raw()
    connection.autocommit = False
    connection.set_session(isolation_level="REPEATABLE READ")
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
        yield connection
    finally:
        connection.close()


class Background(threading.Thread):
    """Runs a function; ``outcome`` is what it returned or raised."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.outcome: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            self.outcome = error

    def ended(self, seconds: float = 60) -> Any:
        self.join(seconds)
        assert not self.is_alive(), "it did not end in time"
        return self.outcome
