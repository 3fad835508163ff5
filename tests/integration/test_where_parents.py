"""Filters on fields of parents: what they find, beside a plain reading with three-valued logic; who takes them."""

import json
import time
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support.hierarchy import Geography, area
from tests.support.in_process import InProcess

from gristmill.datasets.contract import load_contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.parents.above import attach_above, named_parents
from gristmill.datasets.parents.closure import scopes_read_by
from gristmill.datasets.where import compile_where

NAME = {"name": "name", "type": "text", "required": True, "max_length": 100}
FIELDS = [NAME, {"name": "n", "type": "integer"}, {"name": "meta", "type": "json"}]


class Tree:
    """Three levels of parents that a record may be without; towns name two countries."""

    def __init__(self, app: InProcess) -> None:
        self.app = app
        self.tops = app.dataset({"fields": FIELDS, "key": ["name"]})
        self.middles = self._below(self.tops, "top")
        self.leaves = self._below(self.middles, "middle", "other")
        app.work()

    def _below(self, parent: str, *fields: str) -> str:
        columns = [{"name": field, "type": "text", "max_length": 100} for field in fields]
        parents = [{"field": field, "dataset": parent} for field in fields]
        return self.app.dataset({"fields": [*FIELDS, *columns], "key": ["name"], "parents": parents})

    def fill(self, tops: Any, middles: Any, leaves: Any) -> None:
        for name, records in ((self.leaves, ()), (self.middles, ()), (self.tops, ())):
            answer = self.app.http.post(f"/api/v1/datasets/{name}/records/delete", json={"where": {}})
            assert self.app.job(answer)["state"] == "succeeded", records
        for name, records in ((self.tops, tops), (self.middles, middles), (self.leaves, leaves)):
            if records:
                assert self.app.job(self.app.post(name, records))["state"] == "succeeded"

    def found(self, where: Any, name: str = "") -> list[str]:
        url = f"/api/v1/datasets/{name or self.leaves}/records/query"
        answer = self.app.http.post(url, json={"where": where, "page_size": 1000})
        assert answer.status_code == 200, answer.text
        return [record["name"] for record in answer.json()["records"]]


@pytest.fixture(scope="module")
def tree(module_app: InProcess) -> Tree:
    return Tree(module_app)


# A plain reading.


def value_of(record: Any, path: list[str], rows: dict[str, dict[str, Any]]) -> Any:
    above = {"middle": "middles", "other": "middles", "top": "tops"}
    head, *rest = path
    value = None if record is None else record.get(head)
    if not rest or value is None:
        return value
    if head == "meta":
        return value.get(rest[0])
    return value_of(rows[above[head]].get(value), rest, rows)


def holds(where: Any, record: Any, rows: Any) -> bool | None:
    parts = [_member(name, item, record, rows) for name, item in where.items()]
    return _every(parts)


def _every(parts: list[bool | None]) -> bool | None:
    return False if False in parts else (None if None in parts else True)


def _member(name: str, item: Any, record: Any, rows: Any) -> bool | None:
    if name == "not":
        inner = holds(item, record, rows)
        return None if inner is None else not inner
    if name in ("and", "or"):
        parts = [holds(one, record, rows) for one in item]
        if name == "and":
            return _every(parts)
        return True if True in parts else (None if None in parts else False)
    value = value_of(record, name.split("."), rows)
    return _every([_compare(value, operator, other) for operator, other in item.items()])


def _compare(value: Any, operator: str, other: Any) -> bool | None:
    if operator == "null":
        return (value is None) is other
    if operator == "in" and not other:
        return False
    if value is None:
        return None
    if operator == "in":
        return value in other
    return {"eq": value == other, "ne": value != other}.get(operator, value >= other if operator == "ge" else None)


_numbers = st.none() | st.integers(0, 2)
_metas = st.none() | st.fixed_dictionaries({"y": st.integers(0, 2)}) | st.just({})
_names = st.sampled_from(["a", "b", "c", "d"])


def _rows(**refs: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    record = st.fixed_dictionaries({"name": _names, "n": _numbers, "meta": _metas, **refs})
    return st.lists(record, max_size=4, unique_by=lambda one: one["name"])


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[Any], list[Any], list[Any]]:
    tops = draw(_rows())
    middles = draw(_rows(top=st.sampled_from([None, *(one["name"] for one in tops)])))
    reference = st.sampled_from([None, *(one["name"] for one in middles)])
    return tops, middles, draw(_rows(middle=reference, other=reference))


_fields = ["n", "middle.n", "other.n", "middle.top.n", "other.top.n", "middle.meta.y", "middle.top.meta.y"]
_operators = {
    "eq": st.integers(0, 2),
    "ne": st.integers(0, 2),
    "ge": st.integers(0, 2),
    "in": st.lists(st.integers(0, 2), max_size=2),
    "null": st.booleans(),
}
_comparison = st.sampled_from(sorted(_operators)).flatmap(lambda name: st.tuples(st.just(name), _operators[name]))
_leaf = st.tuples(st.sampled_from(_fields), st.lists(_comparison, min_size=1, max_size=2).map(dict)).map(
    lambda pair: {pair[0]: pair[1]}
) | st.sampled_from(["a", "b"]).map(lambda name: {"middle.top": {"ne": name}})
_filters = st.recursive(
    st.just({}) | _leaf,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts})
        | inner.map(lambda part: {"not": part})
        | st.tuples(_leaf, inner).map(lambda pair: {**pair[0], "not": pair[1]})
    ),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(rows=trees(), filters=st.lists(_filters, min_size=15, max_size=15))
def test_what_is_found_is_what_a_plain_reading_finds(tree: Tree, rows: Any, filters: list[Any]) -> None:
    tree.fill(*rows)
    levels = ("tops", "middles", "leaves")
    by_name = {level: {one["name"]: one for one in found} for level, found in zip(levels, rows, strict=True)}
    for where in filters:
        expected = sorted(one["name"] for one in rows[2] if holds(where, one, by_name) is True)
        assert tree.found(where) == expected, (where, rows)


class TestEveryPlace:
    """One mechanism: each call that takes a filter takes one on a parent's field."""

    @pytest.fixture
    def world(self, app: InProcess) -> Geography:
        world = Geography(app, limits=[])
        world.put(world.continents, area("Europe", 10), area("Asia", 40))
        world.put(world.countries, area("Norway", 3, 5, continent="Europe"), area("Japan", 4, 120, continent="Asia"))
        world.put(world.cities, area("Oslo", 1, 1, country="Norway"), area("Tokyo", 2, 14, country="Japan"))
        return world

    WHERE: ClassVar[Any] = {"country.population": {"gt": 100}, "country.continent.area": {"ge": 40}}

    def test_list_count_distinct_aggregate_export(self, world: Geography) -> None:
        http, url = world.app.http, f"/api/v1/datasets/{world.cities}"
        text = json.dumps(self.WHERE)
        listed = http.get(f"{url}/records", params={"where": text, "total": True}).json()
        assert [one["name"] for one in listed["records"]] == ["Tokyo"]
        assert listed["total"] == 1
        assert http.post(f"{url}/records/count", json={"where": self.WHERE}).json() == {"count": 1}
        distinct = http.post(f"{url}/records/distinct", json={"where": self.WHERE, "field": "country"}).json()
        assert distinct["values"] == [{"value": "Japan", "count": 1}]
        body = {"where": self.WHERE, "measures": [{"agg": "sum", "field": "population"}]}
        assert http.post(f"{url}/aggregate", json=body).json()["rows"] == [{"sum_population": 14}]
        exported = http.get(f"{url}/export", params={"where": text, "format": "ndjson"})
        assert [json.loads(line)["name"] for line in exported.text.splitlines()] == ["Tokyo"]

    def test_a_field_of_a_parent_is_no_field_to_count_values_of(self, world: Geography) -> None:
        url = f"/api/v1/datasets/{world.cities}/records/distinct"
        answer = world.app.http.post(url, json={"where": self.WHERE, "field": "country.population"})
        assert answer.status_code == 422, answer.text

    def test_patch_and_delete_by_filter_take_the_scopes_of_what_they_read(self, world: Geography) -> None:
        http, url = world.app.http, f"/api/v1/datasets/{world.cities}/records"
        changed = http.patch(url, json={"where": self.WHERE, "changes": {"area": 3}})
        assert world.app.job(changed)["result"] == {"changed": 1}
        deleted = http.post(f"{url}/delete", json={"where": {"not": self.WHERE}})
        with world.app.gristmill.database.autocommit() as connection:
            query = "SELECT scope, exclusive FROM gristmill.further_scopes WHERE job_id = %(id)s ORDER BY scope"
            rows = connection.exec_driver_sql(query, {"id": deleted.json()["id"]}).all()
        assert sorted(rows) == sorted((f"dataset:{one}", True) for one in (world.continents, world.countries)), rows
        assert world.app.job(deleted)["result"] == {"deleted": 1}
        assert world.names(world.cities) == ["Tokyo"]

    def test_it_waits_for_what_was_submitted_before_it_for_a_parent(self, world: Geography) -> None:
        # The parent shrinks before the children of large parents are deleted.
        shrunk = world.post(world.countries, area("Japan", 4, 50, continent="Asia"))
        deleted = world.app.http.post(f"/api/v1/datasets/{world.cities}/records/delete", json={"where": self.WHERE})
        grown = world.post(world.countries, area("Japan", 4, 500, continent="Asia"))
        assert world.app.job(deleted)["result"] == {"deleted": 0}
        assert {world.app.job(shrunk)["state"], world.app.job(grown)["state"]} == {"succeeded"}

    def test_what_is_wrong_is_refused_with_its_place(self, world: Geography) -> None:
        http = world.app.http
        for where, pointer, code in (
            ({"country.areas": 1}, "/where/country.areas", "unknown_field"),
            ({"country.area": "1"}, "/where/country.area", "wrong_type"),
            ({"country.continent.nothing": 1}, "/where/country.continent.nothing", "unknown_field"),
            ({"country.area": {"icontains": "x"}}, "/where/country.area/icontains", "unknown_operator"),
            ({"country.area.x": 1}, "/where/country.area.x", "unknown_field"),
            ({"country.": 1}, "/where/country.", "unknown_field"),
            ({"country.name": None}, "/where/country.name", "null"),
            ({"area.x": 1}, "/where/area.x", "unknown_field"),
        ):
            for method, path, body in (
                ("POST", "records/query", {"where": where}),
                ("POST", "records/delete", {"where": where}),
                ("PATCH", "records", {"where": where, "changes": {"area": 1}}),
                ("POST", "aggregate", {"where": where, "measures": [{"agg": "count"}]}),
            ):
                answer = http.request(method, f"/api/v1/datasets/{world.cities}/{path}", json=body)
                assert answer.status_code == 422, (where, path, answer.text)
                error = answer.json()["errors"][0]
                assert (error["pointer"], error["code"]) == (pointer, code), answer.text

    def test_a_field_that_a_parent_gets_is_known_at_once(self, world: Geography) -> None:
        http = world.app.http
        where = {"country.flag": {"null": True}}
        url = f"/api/v1/datasets/{world.cities}/records"
        assert http.post(f"{url}/delete", json={"where": where}).status_code == 422
        added = http.patch(
            f"/api/v1/datasets/{world.countries}", json={"add_fields": [{"name": "flag", "type": "text"}]}
        )
        deleted = http.post(f"{url}/delete", json={"where": where})
        assert world.app.job(added)["state"] == "succeeded"
        assert world.app.job(deleted)["result"] == {"deleted": 2}
        assert http.post(f"{url}/query", json={"where": where}).json()["records"] == []

    def test_parents_are_deleted_by_what_is_above_them_with_their_children(self, app: InProcess) -> None:
        world = Geography(app, limits=[], on_delete="cascade")
        world.put(world.continents, area("Europe", 10), area("Asia", 40))
        world.put(world.countries, area("Norway", 3, continent="Europe"), area("Japan", 4, continent="Asia"))
        world.put(world.cities, area("Oslo", 1, country="Norway"), area("Tokyo", 2, country="Japan"))
        url = f"/api/v1/datasets/{world.countries}/records/delete"
        job = app.job(app.http.post(url, json={"where": {"continent.area": {"gt": 20}}}))
        assert job["state"] == "succeeded", job
        assert (world.names(world.countries), world.names(world.cities)) == (["Norway"], ["Oslo"])

    def test_children_keep_what_a_filter_on_parents_finds(self, app: InProcess) -> None:
        world = Geography(app, limits=[])
        world.put(world.continents, area("Europe", 10))
        world.put(world.countries, area("Norway", 3, continent="Europe"), area("Malta", 1, continent="Europe"))
        world.put(world.cities, area("Oslo", 1, country="Norway"))
        url = f"/api/v1/datasets/{world.countries}/records/delete"
        refused = app.http.post(url, json={"where": {"continent.area": 10}})
        assert (refused.status_code, refused.json()["code"]) == (409, "children_left"), refused.text
        left = app.http.post(url, json={"where": {"continent.area": 10, "name": "Malta"}})
        assert app.job(left)["state"] == "succeeded"

    def test_search_views_fit_and_recompute_take_it(self, app: InProcess) -> None:
        key = {"name": "k", "type": "text", "required": True, "max_length": 9}
        up = app.dataset({"fields": [key, {"name": "n", "type": "integer"}], "key": ["k"]})
        fields = [key, {"name": "up", "type": "text", "max_length": 9}, {"name": "v", "type": "float"}]
        fields += [{"name": "scaled", "type": "float", "computed": True}]
        down = app.dataset(
            {
                "fields": fields,
                "key": ["k"],
                "parents": [{"field": "up", "dataset": up}],
                "embedding": {"dimensions": 2},
                "text_search": {"from": ["k"]},
                "pipeline": [{"op": "normalise", "column": "v", "as": "scaled", "method": "minmax"}],
                "views": {"all": [{"op": "sort", "by": ["k"]}]},
            }
        )
        app.work()
        app.job(app.post(up, [{"k": "a", "n": 1}, {"k": "b", "n": 2}]))
        rows = [{"k": f"k{n}", "up": "ab"[n % 2], "v": float(n), "_embedding": [1.0, n]} for n in range(6)]
        http, url, where = app.http, f"/api/v1/datasets/{down}", {"up.n": {"ge": 2}}
        fitted = http.post(f"{url}/fit", json={"where": {}})
        if fitted.status_code == 422:
            pytest.fail(fitted.text)
        app.work()
        app.work(queue="long")
        posted = app.job(app.post(down, rows))
        assert posted["state"] == "succeeded", posted
        for body in ({"vector": [1.0, 0.0]}, {"text": "k1", "mode": "text"}, {"vector": [1.0, 0.0], "exact": True}):
            found = http.post(f"{url}/search", json={**body, "k": 10, "where": where})
            assert found.status_code == 200, found.text
            wanted = ["k1"] if "text" in body else ["k1", "k3", "k5"]
            assert [hit["key"] for hit in found.json()["hits"]] == wanted, found.text
            assert found.json()["complete"], found.text
        viewed = http.get(f"{url}/views/all", params={"where": json.dumps(where)})
        assert [row["k"] for row in viewed.json()["rows"]] == ["k1", "k3", "k5"], viewed.text
        for path in ("fit", "recompute"):
            job = http.post(f"{url}/{path}", json={"where": where})
            assert job.status_code == 202, job.text
            app.work()
            app.work(queue="long")
            ended = http.get(job.json()["links"]["self"]).json()
            assert ended["state"] == "succeeded", ended

    def test_copy_takes_it(self, world: Geography) -> None:
        body = {"name": f"{world.cities}_copy", "where": self.WHERE}
        copied = world.app.http.post(f"/api/v1/datasets/{world.cities}/copy", json=body)
        assert copied.status_code == 202, copied.text
        world.app.work()
        world.app.work(queue="long")
        assert world.names(body["name"]) == ["Tokyo"]


class TestPlans:
    def test_a_selective_filter_on_a_parent_uses_the_index_of_the_children(self, app: InProcess) -> None:
        world = Geography(app, limits=[])
        with app.gristmill.database.transaction() as connection:
            for name, columns, values in (
                (world.continents, "name, area", "'c' || n, n FROM generate_series(1, 7) AS n"),
                (
                    world.countries,
                    "name, area, population, continent",
                    "'c' || n, n, n, 'c' || mod(n, 7) + 1 FROM generate_series(1, 1000) AS n",
                ),
                (
                    world.cities,
                    "name, area, population, country",
                    "'t' || n, n, n, 'c' || mod(n, 1000) + 1 FROM generate_series(1, 200000) AS n",
                ),
            ):
                select = values.replace(" FROM", ", 1, n FROM", 1)
                connection.exec_driver_sql(f"INSERT INTO data.{name} ({columns}, _seq, _ord) SELECT {select}")
        with app.gristmill.database.autocommit() as connection:
            for name in (world.continents, world.countries, world.cities):
                connection.exec_driver_sql(f"ANALYZE data.{name}")
        one = {"country.area": 77}
        assert f"{world.cities}__f" in self._plan(world, one)
        for where, count in (
            (one, 200),
            ({"or": [one, {"area": 5}]}, 201),
            ({"not": {"country.area": {"gt": 2}}}, 400),
            ({"country.continent.area": 3}, 28600),
            ({"or": [{"country.population": {"null": True}}, {"country.continent.area": {"lt": 2}}]}, 28400),
        ):
            began = time.perf_counter()
            answer = app.http.post(f"/api/v1/datasets/{world.cities}/records/count", json={"where": where})
            took = time.perf_counter() - began
            assert abs(answer.json()["count"] - count) <= 200, (where, answer.text)
            # Comparing each child with each parent would take a minute.
            assert took < 3, (where, took, self._plan(world, where))

    def _plan(self, world: Geography, where: Any) -> str:
        database = world.app.gristmill.database
        with database.autocommit() as connection:
            body = world.app.http.get(f"/api/v1/datasets/{world.cities}").json()["contract"]
            contract = attach_above(connection, load_contract(body), where)
            table = record_table(contract)
            query = sa.select(table.c["_id"]).where(compile_where(where, contract, table))
            sql = query.compile(connection, compile_kwargs={"literal_binds": True})
            return "\n".join(connection.exec_driver_sql(f"EXPLAIN {sql}").scalars())


def test_the_scopes_of_a_filter_are_those_of_the_datasets_that_it_reads(tree: Tree) -> None:
    with tree.app.gristmill.database.autocommit() as connection:
        body = tree.app.http.get(f"/api/v1/datasets/{tree.leaves}").json()["contract"]
        contract = load_contract(body)
        for where, names in (
            ({"n": 1}, []),
            ({"or": [{"not": {"middle.n": 1}}]}, [tree.middles]),
            ({"middle.meta.y": 1}, [tree.middles]),
            ({"middle.top": "a"}, [tree.middles]),
            ({"other.top.n": 1}, [tree.middles, tree.tops]),
        ):
            found = scopes_read_by(where, attach_above(connection, contract, where))
            assert found == {f"dataset:{name}": True for name in names}, where
            assert bool(list(named_parents(where, contract))) is bool(names)
