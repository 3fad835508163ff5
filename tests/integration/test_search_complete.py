"""Promise 6 as properties: a filtered search finds k if k exist, pages are one answer cut up, limits are kept."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.embedders import registry
from tests.support.searching import cosine_distances, ids, pages, seal, search
from tests.support.servers import add_database
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.core.errors import Malformed
from gristmill.datasets.lookup import DatasetLookup
from gristmill.search.query import selectivity
from gristmill.search.query.service import SearchService

pytestmark = pytest.mark.promise(6)

ROWS, DIMENSIONS = 1500, 12
BODY: dict[str, Any] = {
    "name": "things",
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "group", "type": "integer", "filterable": True},
        {"name": "rare", "type": "integer"},
        {"name": "word", "type": "text", "filterable": True},
    ],
    "key": ["id"],
    "embedding": {"dimensions": DIMENSIONS},
}


@dataclass(frozen=True)
class World:
    """Three segments' worth of records in a table, and the same in numpy."""

    service: SearchService
    records: list[dict[str, Any]]
    vectors: np.ndarray

    def matching(self, where: dict[str, Any]) -> list[int]:
        return [place for place, record in enumerate(self.records) if matches(record, where)]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Sealed twice, with a tail, many equal vectors among them. Nothing writes to it."""
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
    database = Database(url, "test")
    dataset = make_dataset(database, BODY)
    random = np.random.default_rng(11)
    centres = random.normal(size=(30, DIMENSIONS))
    vectors = centres[random.integers(0, 30, ROWS)] + random.normal(scale=0.3, size=(ROWS, DIMENSIONS))
    # Equal distances: every tenth record has the vector of the one before.
    vectors[9::10] = vectors[8::10]
    records = [
        {"id": n, "group": int(random.integers(0, 10)), "rare": n % 300, "word": f"w{n % 50:02}"} for n in range(ROWS)
    ]
    records[7]["group"] = None
    for first, last in ((0, 900), (900, 1300), (1300, ROWS)):
        store(database, dataset.contract, records[first:last], vectors[first:last].tolist(), seq=first + 1)
        if last < ROWS:
            seal(database, dataset)
    with database.autocommit() as connection:
        connection.exec_driver_sql("ANALYZE data.things")
    yield World(SearchService(database, DatasetLookup(), registry), records, vectors)
    database.close()


CONDITIONS = st.one_of(
    st.integers(-1, 10).map(lambda n: {"group": n}),
    st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda pair: {"group": {"between": sorted(pair)}}),
    st.lists(st.integers(0, 320), max_size=4).map(lambda some: {"rare": {"in": some}}),
    st.sampled_from(["w", "w0", "w1", "w12", "x"]).map(lambda text: {"word": {"prefix": text}}),
    st.booleans().map(lambda no: {"group": {"null": no}}),
)
FILTERS = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts}),
    ),
    max_leaves=4,
)


def matches(record: dict[str, Any], where: dict[str, Any]) -> bool:
    """Say whether a record matches a filter, by the words of docs/where.md."""
    for name, wanted in where.items():
        if name in ("and", "or"):
            found = (all if name == "and" else any)(matches(record, part) for part in wanted)
        elif not isinstance(wanted, dict):
            found = record[name] == wanted
        elif "in" in wanted:
            found = record[name] in wanted["in"]
        elif "between" in wanted:
            found = record[name] is not None and wanted["between"][0] <= record[name] <= wanted["between"][1]
        elif "prefix" in wanted:
            found = record[name].startswith(wanted["prefix"])
        else:
            found = (record[name] is None) is wanted["null"]
        if not found:
            return False
    return True


class TestFilters:
    @settings(max_examples=80)
    @given(
        where=FILTERS,
        k=st.integers(1, 60),
        query=st.integers(0, ROWS - 1),
        exact=st.booleans(),
        # In a small table every filter is quickly read; at no cost graphs are tried for all but the rarest.
        cost=st.sampled_from([0.0, selectivity.VISIT_COST]),
    )
    def test_there_are_k_hits_if_k_match_and_exact_answers_are_the_true_ones(
        self, world: World, where: dict[str, Any], k: int, query: int, exact: bool, cost: float
    ) -> None:
        matching = world.matching(where)
        vector = world.vectors[query]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(selectivity, "VISIT_COST", cost)
            answer = search(world.service, "things", vector=vector.tolist(), k=k, where=where, exact=exact)
        found = ids(answer)
        assert len(found) == len(set(found)) == min(k, len(matching))
        assert set(found) <= set(matching)
        assert answer["complete"] is True
        distances = cosine_distances(world.vectors, vector)
        shown = [hit["distance"] for hit in answer["hits"]]
        assert shown == sorted(shown)
        assert shown == pytest.approx(distances[found].tolist(), abs=1e-5)
        if exact or answer["plan"] != "segments":
            assert answer["plan"] in ("exact", "filter, then exact", "segments, then exact")
            assert shown == pytest.approx(np.sort(distances[matching])[:k].tolist(), abs=1e-5)

    @settings(max_examples=30)
    @given(where=FILTERS, query=st.integers(0, ROWS - 1))
    def test_filters_do_not_make_the_recall_of_graphs_collapse(
        self, world: World, where: dict[str, Any], query: int
    ) -> None:
        matching = world.matching(where)
        vector = world.vectors[query]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(selectivity, "VISIT_COST", 0.0)
            answer = search(world.service, "things", vector=vector.tolist(), k=10, where=where)
        nearest = np.sort(cosine_distances(world.vectors, vector)[matching])[:10]
        if len(nearest):
            assert sum(hit["distance"] <= nearest[-1] + 1e-5 for hit in answer["hits"]) >= 0.8 * len(nearest)


class TestPages:
    @settings(max_examples=40)
    @given(
        k=st.integers(1, 200),
        page_size=st.integers(1, 90),
        query=st.integers(0, ROWS - 1),
        where=st.one_of(st.none(), FILTERS),
        exact=st.booleans(),
        cost=st.sampled_from([0.0, selectivity.VISIT_COST]),
    )
    def test_pages_together_are_the_one_large_answer(
        self, world: World, k: int, page_size: int, query: int, where: dict[str, Any] | None, exact: bool, cost: float
    ) -> None:
        body = {"vector": world.vectors[query].tolist(), "k": k, "where": where, "exact": exact}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(selectivity, "VISIT_COST", cost)
            large = search(world.service, "things", **body)["hits"]
            assert pages(world.service, "things", max(page_size, k // 8), **body) == large

    def test_a_record_that_comes_in_between_makes_no_other_come_twice(self, database: Database) -> None:
        dataset = make_dataset(database, {**BODY, "embedding": {"dimensions": 2}})
        store(database, dataset.contract, [{"id": n} for n in range(6)], [[1.0, n / 10] for n in range(6)])
        service = SearchService(database, DatasetLookup(), registry)
        asked: dict[str, Any] = {"vector": [1.0, 0.0], "k": 5, "page_size": 2}
        first = search(service, "things", **asked)
        store(database, dataset.contract, [{"id": 9}], [[1.0, 0.01]], seq=2)
        second = search(service, "things", **asked, page_token=first["next_page_token"])
        assert ids(first) + ids(second) == [0, 1, 2, 3]

    def test_a_token_is_good_for_its_own_search_only(self, world: World) -> None:
        asked: dict[str, Any] = {"vector": world.vectors[3].tolist(), "k": 9, "page_size": 4}
        token = search(world.service, "things", **asked)["next_page_token"]
        others: list[dict[str, Any]] = [{"k": 8}, {"where": {"group": 1}}, {"vector": world.vectors[4].tolist()}]
        for other in others:
            with pytest.raises(Malformed) as caught:
                search(world.service, "things", **{**asked, **other}, page_token=token)
            assert (caught.value.violations[0].pointer, caught.value.violations[0].code) == (
                "/page_token",
                "bad_page_token",
            )
        # The size of the pages may change on the way.
        assert len(search(world.service, "things", **{**asked, "page_size": 2}, page_token=token)["hits"]) == 2


class TestLimits:
    @settings(max_examples=60)
    @given(
        limit=st.floats(0, 2.1),
        k=st.integers(1, 300),
        query=st.integers(0, ROWS - 1),
        where=st.one_of(st.none(), FILTERS),
    )
    def test_hits_are_within_the_distance_and_complete_says_whether_all_are(
        self, world: World, limit: float, k: int, query: int, where: dict[str, Any] | None
    ) -> None:
        vector = world.vectors[query]
        body = {"vector": vector.tolist(), "k": k, "where": where, "max_distance": limit, "exact": True}
        answer = search(world.service, "things", **body)
        matching = world.matching(where or {})
        distances = cosine_distances(world.vectors, vector)[matching]
        # pgvector adds up in another order than numpy: what lies upon the limit may count either way.
        least, most = int((distances <= limit - 1e-5).sum()), int((distances <= limit + 1e-5).sum())
        assert min(k, least) <= len(answer["hits"]) <= min(k, most)
        assert all(hit["distance"] <= limit for hit in answer["hits"])
        if least > k:
            assert answer["complete"] is False
            assert f"More than k = {k}" in answer["incomplete_because"]
        elif most <= k:
            assert answer["complete"] is True

    def test_a_score_is_a_limit_too(self, world: World) -> None:
        vector = world.vectors[5].tolist()
        by_score = search(world.service, "things", vector=vector, k=50, min_score=0.9)
        by_distance = search(world.service, "things", vector=vector, k=50, max_distance=0.1)
        assert ids(by_score) == ids(by_distance) != []
        assert all(hit["score"] >= 0.9 - 1e-9 for hit in by_score["hits"])

    def test_a_limit_that_few_are_within_does_not_make_the_graphs_go_on_looking(self, world: World) -> None:
        answer = search(world.service, "things", vector=world.vectors[5].tolist(), k=20, max_distance=1e-6)
        assert answer["plan"] == "segments"
        assert 1 <= len(answer["hits"]) < 20
        assert answer["complete"] is True

    @pytest.mark.parametrize("where", [None, {"group": {"between": [0, 4]}}])
    def test_a_thousand_are_found_as_well_as_ten(self, world: World, where: dict[str, Any] | None) -> None:
        for query in (1, 500, 1400):
            vector = world.vectors[query]
            answer = search(world.service, "things", vector=vector.tolist(), k=1000, where=where)
            matching = world.matching(where or {})
            nearest = np.sort(cosine_distances(world.vectors, vector)[matching])[:1000]
            assert len(answer["hits"]) == min(1000, len(matching))
            assert sum(hit["distance"] <= nearest[-1] + 1e-5 for hit in answer["hits"]) >= 0.98 * len(nearest)


class TestSeveral:
    def test_each_query_has_the_answer_that_it_would_have_alone(self, world: World) -> None:
        queries: list[dict[str, Any]] = [
            {"vector": world.vectors[1].tolist()},
            {"like": 17},
            {"vector": world.vectors[800].tolist()},
        ]
        shared: dict[str, Any] = {"k": 7, "where": {"group": {"le": 8}}}
        together = search(world.service, "things", queries=queries, **shared)
        assert together["took_ms"] > 0
        for query, answer in zip(queries, together["answers"], strict=True):
            alone = search(world.service, "things", **query, **shared)
            assert (answer["hits"], answer["plan"]) == (alone["hits"], alone["plan"])

    def test_the_plan_can_be_explained(self, world: World) -> None:
        vector = world.vectors[1].tolist()
        answer = search(world.service, "things", vector=vector, explain=True)
        assert answer["explain"] == {"segments": 2, "ef": answer["ef"], "visits": answer["ef"]}
        explained = search(world.service, "things", vector=vector, where={"group": 3}, explain=True)["explain"]
        assert explained["records_about"] == ROWS
        assert 50 < explained["filter_keeps_about"] < 400
