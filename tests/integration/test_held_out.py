"""Records that are held out of a graph: found by every search, whatever the ranges and the steps are."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.datasets.lookup import Dataset
from gristmill.kit.ids import uuid7
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.graph import HELD_OUT, held_step
from gristmill.search.index.settings import BuildSettings
from gristmill.search.query.statements import Layout, Shape
from gristmill.search.query.vector import held_out, outside, within
from gristmill.search.repository import catalogue
from gristmill.search.repository.catalogue import BLOCK, Range

ROWS = 400
BODY = {
    "name": "things",
    "fields": [{"name": "id", "type": "integer", "required": True}],
    "key": ["id"],
    "embedding": {"dimensions": 3, "metric": "l2"},
}


@pytest.fixture
def things(database: Database) -> Dataset:
    """Records with ids and ``_id`` 1 to 400, on a line, every fifth one deleted."""
    dataset = make_dataset(database, BODY)
    records = [{"id": n} for n in range(1, ROWS + 1)]
    store(database, dataset.contract, records, [[float(n), 0.0, 0.0] for n in range(1, ROWS + 1)])
    with database.autocommit() as connection:
        connection.exec_driver_sql("DELETE FROM data.things WHERE mod(id, 5) = 0")
    return dataset


@st.composite
def ranges(draw: st.DrawFn) -> tuple[Range, ...]:
    """Sorted, disjoint ranges with and without gaps, some of which hold records out."""
    ends = sorted(draw(st.sets(st.integers(1, ROWS + 20), min_size=2, max_size=6)))
    pairs = itertools.pairwise(ends)
    return tuple(Range(lo, hi, draw(st.sampled_from([0, 2, 3, 7, 50]))) for lo, hi in pairs if draw(st.booleans()))


class TestEveryRecord:
    @given(ranges(), st.floats(-5, ROWS + 5), st.integers(1, ROWS))
    def test_is_found_exactly_once(
        self, database: Database, things: Dataset, given_ranges: tuple[Range, ...], at: float, k: int
    ) -> None:
        # There are no graphs here, so each arm compares what its condition holds.
        values = {"query": json.dumps([at, 0, 0]), "k": k, "candidates": k, "limit": k, "size": k}
        statement = Layout(things.contract).statement(Shape("vector", given_ranges))
        with database.autocommit() as connection:
            found = [row[0] for row in connection.exec_driver_sql(statement, values)]
        stored = [n for n in range(1, ROWS + 1) if n % 5]
        expected = sorted(stored, key=lambda n: (abs(n - at), n))[:k]
        assert sorted(found) == sorted(expected)

    @given(ranges())
    def test_is_in_a_graph_or_outside(
        self, database: Database, things: Dataset, given_ranges: tuple[Range, ...]
    ) -> None:
        conditions = [*map(within, given_ranges), *outside(given_ranges)]
        with database.autocommit() as connection:
            found = [
                row[0]
                for condition in conditions
                for row in connection.exec_driver_sql(f"SELECT _id FROM data.things WHERE {condition}")
            ]
        assert sorted(found) == [n for n in range(1, ROWS + 1) if n % 5]


class TestHowMany:
    @given(st.integers(0, 10_000_000))
    def test_at_most_so_many_and_of_small_graphs_less(self, rows: int) -> None:
        step = held_step(rows, rows)
        held = rows / step if step else 0
        assert held <= min(HELD_OUT * 2, rows / 2)
        assert held >= 16 or rows < 500

    def test_a_built_index_holds_them_out_and_searches_compare_them(self, database: Database) -> None:
        dataset = make_dataset(database, {**BODY, "name": "built"})
        vectors = np.random.default_rng(0).normal(size=(3000, 3))
        store(database, dataset.contract, [{"id": n} for n in range(3000)], vectors.tolist())
        IndexBuilder(database, BuildSettings(memory_mb=64, workers=0)).rebuild(dataset.id, uuid7(), lambda: None)
        with database.autocommit() as connection:
            (segment,) = catalogue.ready_segments(connection, dataset.id)
            (definition,) = connection.exec_driver_sql(
                "SELECT indexdef FROM pg_indexes WHERE indexname = 'built__seg1'"
            ).one()
            held = connection.exec_driver_sql(held_out((segment.range,))).all()
            plan = "\n".join(
                row[0]
                for row in connection.exec_driver_sql(
                    "EXPLAIN " + Layout(dataset.contract).statement(Shape("vector", (segment.range,))),
                    {"query": "[1,2,3]", "k": 5, "candidates": 5, "limit": 5, "size": 5},
                )
            )
        assert segment.range.held_step == held_step(3000, 3000) == 16
        assert f"mod((_id / {BLOCK})" in definition
        assert 170 < len(held) < 210
        assert "Index Scan using built__seg1" in plan
