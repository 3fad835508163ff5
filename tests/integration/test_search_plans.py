"""The planner uses the index that each shape of search is meant to use, and search chooses between them."""

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection
from sqlalchemy.schema import CreateIndex
from tests.support.embedders import registry
from tests.support.searching import seal, search
from tests.support.servers import add_database
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.datasets import ddl
from gristmill.datasets import repository as datasets
from gristmill.datasets.contract_parser import alter_contract
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.field_indexes.repository import list_wanted
from gristmill.datasets.field_indexes.tasks import list_missing
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.where import compile_where
from gristmill.search.query import selectivity
from gristmill.search.query.curve import assumed
from gristmill.search.query.effort import Graph, effort_for
from gristmill.search.query.selectivity import Estimate, Estimates
from gristmill.search.query.service import SearchService
from gristmill.search.query.settings import GRAPHS, QUICK, Settings, with_settings
from gristmill.search.query.statements import Layout, Shape, condition_of
from gristmill.search.repository import catalogue
from gristmill.search.repository.catalogue import Range

ROWS, DIMENSIONS = 6000, 16
BODY: dict[str, Any] = {
    "name": "things",
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "percent", "type": "integer", "filterable": True},
        {"name": "word", "type": "text", "filterable": True},
        {"name": "plain", "type": "integer"},
    ],
    "key": ["id"],
    "embedding": {"dimensions": DIMENSIONS},
    "text_search": {"from": ["word"]},
}


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """One database for all of these tests: they only read it."""
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
    found = Database(url, "test")
    yield found
    found.close()


@pytest.fixture(scope="module")
def things(database: Database) -> Dataset:
    """One segment and a tail of 300."""
    dataset = make_dataset(database, BODY)
    random = np.random.default_rng(4)
    vectors = random.normal(size=(ROWS, DIMENSIONS))
    records = [{"id": n, "percent": n % 100, "word": f"word{n:04}", "plain": n % 1000} for n in range(ROWS)]
    store(database, dataset.contract, records[:-300], vectors[:-300].tolist())
    seal(database, dataset)
    store(database, dataset.contract, records[-300:], vectors[-300:].tolist(), seq=2)
    with database.autocommit() as connection:
        connection.exec_driver_sql("ANALYZE data.things")
    return dataset


@pytest.fixture
def changed(database: Database) -> Iterator[Dataset]:
    """A small dataset, to be changed."""
    dataset = make_dataset(database, {**BODY, "name": "changed"})
    records = [{"id": n, "plain": n} for n in range(2000)]
    store(database, dataset.contract, records, [[1.0] * DIMENSIONS] * 2000)
    yield dataset
    with database.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE gristmill.datasets SET state = 'dropped', dropped_at = now() WHERE name = 'changed'"
        )
        connection.exec_driver_sql("DROP TABLE IF EXISTS data.changed")


def explain(
    connection: Connection, dataset: Dataset, shape: Shape, settings: Settings, k: int = 10, **values: Any
) -> str:
    sql = with_settings(settings, "EXPLAIN " + Layout(dataset.contract).statement(shape))
    given = {
        "query": json.dumps([1.0] * DIMENSIONS),
        "text": "word0077",
        "k": k,
        "limit": k,
        "size": k,
        "depth": 100,
        "candidates": k,
    }
    given |= {"candidates": k, "depth": 100, "vector_weight": 1, "text_weight": 1}
    given |= {"most": 0.5, "after_place": 0.1, "after_id": 5, **values}
    return "\n".join(row[0] for row in connection.exec_driver_sql(sql, given))


class TestShapes:
    @pytest.mark.parametrize("k", [10, 1000])
    @pytest.mark.parametrize("more", [{}, {"limited": True}, {"after": True}, {"limited": True, "embedding": True}])
    def test_graph_for_the_segment_and_number_for_the_tail_whatever_is_cut_off(
        self, database: Database, things: Dataset, k: int, more: dict[str, bool]
    ) -> None:
        with database.transaction() as connection:
            ranges = catalogue.ready_ranges(connection, things.id)
            plan = explain(connection, things, Shape("vector", ranges, **more), GRAPHS, k)
        assert plan.count("Index Scan using things__seg1") == 1
        assert "Index Cond: (_id >= 5701)" in plan
        # A thousand records of this small table may be fetched by reading all of it.
        assert "Seq Scan" not in plan or k == 1000

    def test_a_filter_that_keeps_half_is_checked_while_the_graph_is_walked(
        self, database: Database, things: Dataset
    ) -> None:
        where = condition_of(compile_where({"percent": {"lt": 50}}, things.contract, ddl.record_table(things.contract)))
        with database.transaction() as connection:
            ranges = catalogue.ready_ranges(connection, things.id)
            plan = explain(connection, things, Shape("vector", ranges, where.sql), GRAPHS, **where.parameters)
        assert "Index Scan using things__seg1" in plan
        assert "Seq Scan" not in plan

    @pytest.mark.parametrize(
        ("where", "index"),
        [
            ({"percent": 7}, "things__f1"),
            ({"percent": {"between": [7, 8]}}, "things__f1"),
            ({"percent": {"in": [7, 8]}}, "things__f1"),
            ({"word": {"prefix": "word00"}}, "things__f2"),
            ({"word": "word0077"}, "things__f2"),
            ({"id": {"lt": 50}}, "things__key"),
        ],
    )
    def test_a_selective_filter_is_read_through_its_index(
        self, database: Database, things: Dataset, where: dict[str, Any], index: str
    ) -> None:
        condition = condition_of(compile_where(where, things.contract, ddl.record_table(things.contract)))
        with database.transaction() as connection:
            plan = explain(connection, things, Shape("vector", (), condition.sql), QUICK, **condition.parameters)
        assert index in plan
        assert "__seg" not in plan
        assert "Seq Scan" not in plan

    def test_words_are_read_through_theirs_and_hybrid_uses_both(self, database: Database, things: Dataset) -> None:
        with database.transaction() as connection:
            ranges = catalogue.ready_ranges(connection, things.id)
            words = explain(connection, things, Shape("text", ()), QUICK)
            both = explain(connection, things, Shape("hybrid", ranges), GRAPHS)
        assert "Bitmap Index Scan on things__text" in words
        assert "Bitmap Index Scan on things__text" in both
        assert "Index Scan using things__seg1" in both
        assert "Seq Scan" not in words + both


class TestChoice:
    def test_each_filter_has_the_plan_that_suits_it(
        self, database: Database, things: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = SearchService(database, DatasetLookup(), registry)

        def plan(**where: Any) -> str:
            answer = search(service, "things", vector=[1.0] * DIMENSIONS, where=where)
            assert len(answer["hits"]) == 10
            return str(answer["plan"])

        assert plan(percent=7) == "filter, then exact"
        assert plan(word={"prefix": "word00"}) == "filter, then exact"
        # In so small a table any filter is quickly read; dearer visits are what larger ones have.
        monkeypatch.setattr(selectivity, "VISIT_COST", 1.0)
        assert plan(percent=7) == "filter, then exact"
        assert plan(percent={"lt": 50}) == "segments"
        assert plan(plain={"lt": 500}) == "segments"

    def test_what_graphs_would_look_for_in_vain_they_are_not_asked_for(self) -> None:
        def first(rows: int, cost: float) -> bool:
            found = Estimate(rows=rows, total=1_000_000, cost=cost)
            graph = Graph(Range(1, 1_000_001), 1_000_000, assumed(1_000_000))
            return found.filter_first(effort_for([graph], 0.98, 10 / found.share))

        assert first(rows=100, cost=1e9)
        assert not first(rows=500_000, cost=500_000.0)
        assert first(rows=10_000, cost=11_500.0)

    def test_estimates_follow_the_statistics(self, database: Database, things: Dataset) -> None:
        condition = condition_of(compile_where({"percent": 7}, things.contract, ddl.record_table(things.contract)))
        with database.autocommit() as connection:
            found = Estimates().ask(connection, things.id, '"data"."things"', condition)
        assert found.total == ROWS
        assert 30 < found.rows < 120

    def test_a_field_made_filterable_later_is_read_through_its_index(
        self, database: Database, changed: Dataset
    ) -> None:
        new = alter_contract(changed.contract, {"alter_fields": [{"name": "plain", "filterable": True}]})
        with database.transaction() as connection:
            ddl.apply_alter(connection, changed.contract, new)
            (index,) = (list_wanted(new)[name] for name in list_missing(connection, new))
            connection.execute(CreateIndex(index))
            connection.exec_driver_sql("ANALYZE data.changed")
            condition = condition_of(compile_where({"plain": 5}, new, ddl.record_table(new)))
            plan = explain(connection, changed, Shape("vector", (), condition.sql), QUICK, **condition.parameters)
        assert "changed__f3" in plan


class TestOutdated:
    """What a process remembers of a dataset is checked in the same message as the search."""

    def test_a_change_of_the_contract_is_seen_by_the_next_search(self, database: Database, changed: Dataset) -> None:
        service = SearchService(database, DatasetLookup(), registry)
        vector = [1.0] * DIMENSIONS
        assert "colour" not in search(service, "changed", vector=vector)["hits"][0]["record"]
        _apply(database, changed, {"add_fields": [{"name": "colour", "type": "text", "filterable": True}]})
        # The filter is a mistake in the eyes of the contract before.
        answer = search(service, "changed", vector=vector, where={"colour": {"null": True}})
        assert answer["hits"][0]["record"]["colour"] is None
        assert "colour" in search(service, "changed", vector=vector)["hits"][0]["record"]

    def test_a_table_made_anew_under_the_name_is_another_dataset(self, database: Database, changed: Dataset) -> None:
        service = SearchService(database, DatasetLookup(), registry)
        assert search(service, "changed", vector=[1.0] * DIMENSIONS)["hits"]
        with database.transaction() as connection:
            connection.exec_driver_sql(
                "UPDATE gristmill.datasets SET state = 'dropped', dropped_at = now() WHERE name = 'changed'"
            )
            ddl.drop_table(connection, "changed", changed.id)
        with pytest.raises(UnknownDataset):
            search(service, "changed", vector=[1.0] * DIMENSIONS)
        other = make_dataset(database, {**BODY, "name": "changed", "embedding": {"dimensions": 2}})
        store(database, other.contract, [{"id": 5}], [[1.0, 0.0]])
        assert [hit["key"] for hit in search(service, "changed", vector=[1.0, 0.0])["hits"]] == [5]


def _apply(database: Database, dataset: Dataset, change: dict[str, Any]) -> None:
    """Do what PATCH and its job do."""
    new = alter_contract(dataset.contract, change)
    with database.transaction() as connection:
        version = datasets.insert_version(connection, dataset.id, new.as_json())
        datasets.show_version(connection, dataset.id, version, new.as_json())
        ddl.apply_alter(connection, dataset.contract, new)
        datasets.set_version_state(connection, dataset.id, version, "applied")
