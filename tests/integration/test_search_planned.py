"""Searches of graphs are planned once per connection: the plan, how many are kept, and what makes them void."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg2
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from tests.support.embedders import registry
from tests.support.searching import ids, seal, search
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.core.errors import DatabaseUnavailable
from gristmill.core.prepared import MOST_PASSING, Passing, fetch
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.search.query.planned import PLANNED_ONCE, is_planned_once, planned
from gristmill.search.query.service import SearchService
from gristmill.search.query.settings import GRAPHS, set_all
from gristmill.search.query.statements import Layout, Shape
from gristmill.search.repository import catalogue

ROWS, DIMENSIONS = 3000, 16
BODY: dict[str, Any] = {
    "name": "planned",
    "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "size", "type": "integer"}],
    "key": ["id"],
    "embedding": {"dimensions": DIMENSIONS},
}


@pytest.fixture
def one(database_url: str) -> Iterator[Database]:
    """A pool of one connection, so that every search is on the same."""
    found = Database(database_url, "test", pool=1)
    yield found
    found.close()


@pytest.fixture
def vectors() -> np.ndarray:
    """(rows, dimensions)"""
    return np.random.default_rng(7).normal(size=(ROWS, DIMENSIONS))


@pytest.fixture
def dataset(one: Database, vectors: np.ndarray) -> Dataset:
    """One segment, and no tail."""
    found = make_dataset(one, BODY)
    store(one, found.contract, [{"id": n, "size": n} for n in range(ROWS)], vectors.tolist())
    seal(one, found)
    with one.autocommit() as connection:
        connection.exec_driver_sql("ANALYZE data.planned")
    return found


@pytest.fixture
def service(one: Database, dataset: Dataset) -> SearchService:
    return SearchService(one, DatasetLookup(), registry)


def names(database: Database, part: str = "") -> list[str]:
    """Return the prepared statements whose text has ``part``, in the order of their making."""
    with database.autocommit() as connection:
        sql = "SELECT name FROM pg_prepared_statements WHERE strpos(statement, %(part)s) > 0 ORDER BY prepare_time"
        return [row[0] for row in connection.exec_driver_sql(sql, {"part": part})]


def value(number: int) -> Passing:
    return Passing(f"SELECT {number}")


def first(connection: Connection, statement: Passing) -> Any:
    return fetch(connection, {}, statement)[0][0]


class TestPlan:
    @pytest.mark.parametrize("more", [{}, {"limited": True}, {"after": True}, {"embedding": True}])
    def test_the_generic_plan_walks_the_graph(self, one: Database, dataset: Dataset, more: dict[str, bool]) -> None:
        given = {"query": json.dumps([1.0] * DIMENSIONS), "k": 10, "limit": 10, "candidates": 10, "size": 11}
        given |= {"most": 0.5, "after_place": 0.1, "after_id": 5}
        settings = {**GRAPHS, "hnsw.ef_search": 40, **PLANNED_ONCE}
        with one.autocommit() as connection:
            shape = Shape("vector", catalogue.ready_ranges(connection, dataset.id), **more)
            assert is_planned_once(shape)
            statement = planned(Layout(dataset.contract).statement(shape), given, settings)
            fetch(connection, given, set_all(settings), statement)
            rows = fetch(connection, given, set_all(settings), f"EXPLAIN {statement.execute}")
            counted = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = %(name)s"
            assert fetch(connection, {"name": statement.name}, counted) == [(2, 0)]
        plan = "\n".join(row[0] for row in rows)
        assert plan.count("Index Scan using planned__seg1") == 1
        assert "Seq Scan" not in plan

    def test_the_effort_of_each_search_applies(self, one: Database, service: SearchService) -> None:
        for ef in (20, 200, 20):
            answer = search(service, "planned", vector=[1.0] * DIMENSIONS, ef=ef, explain=True)
            assert answer["plan"] == "segments"
            assert answer["explain"]["ef"] == ef
        # Each has its own plan.
        assert len(names(one, "hnsw.ef_search = ")) == 2
        with one.autocommit() as connection:
            assert connection.exec_driver_sql("SHOW hnsw.ef_search").scalar() == "40"
            assert connection.exec_driver_sql("SHOW plan_cache_mode").scalar() == "auto"

    def test_each_vector_gets_its_own_answer(self, service: SearchService, vectors: np.ndarray) -> None:
        for place in range(20):
            assert ids(search(service, "planned", vector=vectors[place].tolist(), k=3, ef=200))[0] == place

    def test_filters_and_words_are_planned_each_time(self, dataset: Dataset) -> None:
        ranges = ((1, 3001),)
        assert not is_planned_once(Shape("vector", ranges, "size = 1"))
        assert not is_planned_once(Shape("vector", ()))
        assert not is_planned_once(Shape("hybrid", ranges))


class TestChanges:
    def test_a_column_of_another_type_is_read_by_a_new_plan(self, one: Database, service: SearchService) -> None:
        assert search(service, "planned", vector=[1.0] * DIMENSIONS)["hits"]
        with one.autocommit() as connection:
            connection.exec_driver_sql("ALTER TABLE data.planned ALTER COLUMN size TYPE text")
        answer = search(service, "planned", vector=[1.0] * DIMENSIONS)
        assert isinstance(answer["hits"][0]["record"]["size"], str)
        assert len(names(one, "hnsw.ef_search = ")) == 1

    def test_a_graph_that_is_gone_is_not_walked(
        self, one: Database, service: SearchService, vectors: np.ndarray
    ) -> None:
        query = vectors[5].tolist()
        assert ids(search(service, "planned", vector=query))[0] == 5
        with one.autocommit() as connection:
            connection.exec_driver_sql("DROP INDEX data.planned__seg1")
        assert ids(search(service, "planned", vector=query))[0] == 5

    def test_a_dataset_of_the_same_name_is_searched_by_its_own_version(
        self, one: Database, service: SearchService, dataset: Dataset
    ) -> None:
        assert search(service, "planned", vector=[1.0] * DIMENSIONS)["hits"]
        with one.transaction() as connection:
            connection.exec_driver_sql(
                "UPDATE gristmill.datasets SET state = 'dropped', dropped_at = now(), name = 'old' WHERE id = %(id)s",
                {"id": str(dataset.id)},
            )
            connection.exec_driver_sql("DROP TABLE data.planned")
        second = make_dataset(one, BODY)
        store(one, second.contract, [{"id": 77, "size": 1}], [[1.0] * DIMENSIONS])
        assert ids(search(service, "planned", vector=[1.0] * DIMENSIONS)) == [77]


class TestFetch:
    def test_a_connection_keeps_the_statements_that_it_used_last(self, one: Database) -> None:
        with one.autocommit() as connection:
            for number in range(MOST_PASSING):
                assert first(connection, value(number)) == number
            assert first(connection, value(0)) == 0
            assert first(connection, value(MOST_PASSING)) == MOST_PASSING
        kept = set(names(one, "AS SELECT"))
        assert len(kept) == MOST_PASSING
        assert value(0).name in kept
        assert value(1).name not in kept
        with one.autocommit() as connection:
            assert first(connection, value(1)) == 1

    def test_errors_are_those_of_sqlalchemy(self, one: Database) -> None:
        with one.autocommit() as connection:
            with pytest.raises(DBAPIError) as raised:
                fetch(connection, {}, "SELECT 1 / 0")
            assert raised.value.orig is not None
            assert raised.value.orig.pgcode == "22012"
            assert not raised.value.connection_invalidated
            assert fetch(connection, {"n": 5}, "SELECT 1", "SELECT %(n)s") == [(5,)]

    def test_a_lost_connection_is_replaced(self, one: Database, database_url: str) -> None:
        with one.autocommit() as connection:
            (found,) = fetch(connection, {}, "SELECT pg_backend_pid()")
            assert first(connection, value(3)) == 3
        other = psycopg2.connect(database_url)
        with other, other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", found)
        other.close()
        with pytest.raises(DatabaseUnavailable), one.autocommit() as connection:
            fetch(connection, {}, "SELECT 1")
        with one.autocommit() as connection:
            assert first(connection, value(3)) == 3
