"""Vectors that were searched by are kept where the contract says so, and only then, and only they."""

import json
from typing import Any

import pytest
from tests.support.embedders import registry
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.datasets import repository
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.search.index.tasks import empty_catalogue
from gristmill.search.query.kept import SLOTS, KeptQueries
from gristmill.search.query.service import SearchService
from gristmill.search.recall.keeper import RecallKeeper
from gristmill.search.repository import curves


def make(database: Database, keep: bool) -> Dataset:
    embedding: dict[str, Any] = {"dimensions": 2, **({"keep_queries": True} if keep else {})}
    fields = [{"name": "id", "type": "integer", "required": True}]
    dataset = make_dataset(database, {"name": "plane", "fields": fields, "key": ["id"], "embedding": embedding})
    store(database, dataset.contract, [{"id": 1}, {"id": 2}], [[1.0, 0.0], [0.0, 1.0]])
    return dataset


def kept(database: Database, dataset: Dataset) -> list[str]:
    with database.autocommit() as connection:
        return curves.kept_queries(connection, dataset.id)


def search(service: SearchService, **body: Any) -> dict[str, Any]:
    return service.search("plane", json.dumps(body).encode())


class TestKept:
    def test_one_vector_of_a_search_and_nothing_without_leave(self, database: Database) -> None:
        dataset = make(database, keep=True)
        search(SearchService(database, DatasetLookup(), registry), vector=[0.25, 0.5])
        assert kept(database, dataset) == ["[0.25,0.5]"]

    def test_nothing_without_leave(self, database: Database) -> None:
        dataset = make(database, keep=False)
        search(SearchService(database, DatasetLookup(), registry), vector=[0.25, 0.5])
        assert kept(database, dataset) == []

    def test_not_the_vector_of_a_stored_record(self, database: Database) -> None:
        dataset = make(database, keep=True)
        service = SearchService(database, DatasetLookup(), registry)
        search(service, like=1)
        assert kept(database, dataset) == []
        search(service, queries=[{"like": 1}, {"vector": [3.0, 4.0]}])
        assert [json.loads(text) for text in kept(database, dataset)] == [[3, 4]]

    def test_one_at_a_time_and_never_more_than_there_are_slots(self, database: Database) -> None:
        dataset = make(database, keep=True)
        with database.autocommit() as connection:
            seldom = KeptQueries(seconds=3600)
            for number in range(5):
                seldom.offer(connection, dataset, [f"[{number},0]"])
            assert curves.kept_queries(connection, dataset.id) == ["[0,0]"]
            often = KeptQueries(seconds=0)
            for number in range(2 * SLOTS):
                often.offer(connection, dataset, [f"[{number},1]"])
            found = curves.kept_queries(connection, dataset.id)
        assert SLOTS / 2 < len(found) <= SLOTS
        # Those of late are there more often than those of long ago.
        numbers = [int(text[1:].split(",")[0]) for text in found if text.endswith(",1]")]
        assert sum(number >= SLOTS for number in numbers) > len(numbers) / 2

    def test_a_search_does_not_fail_where_nothing_can_be_kept(self, database: Database) -> None:
        make(database, keep=True)
        with database.autocommit() as connection:
            connection.exec_driver_sql("DROP TABLE gristmill.kept_queries")
        answer = search(SearchService(database, DatasetLookup(), registry), vector=[0.25, 0.5])
        assert [hit["key"] for hit in answer["hits"]] == [2, 1]


class TestForgotten:
    @pytest.fixture
    def dataset(self, database: Database) -> Dataset:
        dataset = make(database, keep=True)
        with database.autocommit() as connection:
            curves.keep_query(connection, dataset.id, 7, "[1,2]")
        return dataset

    def test_when_the_contract_takes_its_leave_back(self, database: Database, dataset: Dataset) -> None:
        keeper = RecallKeeper(database, samples=0)
        keeper.run()
        assert kept(database, dataset) == ["[1,2]"]
        contract = dataset.contract.as_json()
        del contract["embedding"]["keep_queries"]
        with database.transaction() as connection:
            version = repository.insert_version(connection, dataset.id, contract)
            repository.set_version_state(connection, dataset.id, version, "applied")
            connection.exec_driver_sql(
                "UPDATE gristmill.datasets SET contract = %(contract)s", {"contract": json.dumps(contract)}
            )
        keeper.run()
        assert kept(database, dataset) == []

    def test_with_all_records(self, database: Database, dataset: Dataset) -> None:
        with database.transaction() as connection:
            empty_catalogue(connection, dataset.id, dataset.name)
        assert kept(database, dataset) == []
