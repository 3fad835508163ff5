"""Nested reads: children and parents of records, beside a plain nesting of all rows."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support.hierarchy import Geography, area
from tests.support.in_process import InProcess

API = "/api/v1/datasets"


@pytest.fixture
def world(app: InProcess) -> Geography:
    return filled(Geography(app, limits=[]))


def filled(world: Geography) -> Geography:
    world.put(world.continents, area("Europe", 10), area("Asia", 40), area("Antarctica", 14))
    world.put(
        world.countries,
        area("Norway", 3, 5, continent="Europe"),
        area("Denmark", 1, 6, continent="Europe"),
        area("Japan", 4, 120, continent="Asia"),
    )
    world.put(world.cities, *[area(name, 1, country=country) for name, country in CITIES])
    return world


CITIES = [("Oslo", "Norway"), ("Bergen", "Norway"), ("Aarhus", "Denmark"), ("Tokyo", "Japan")]


def ask(world: Geography, path: str, status: int = 200, **params: Any) -> Any:
    answer = world.app.http.get(f"{API}/{path}", params=params)
    assert answer.status_code == status, answer.text
    return answer.json()


def names(records: Any) -> list[str]:
    return [record["name"] for record in records]


class TestChildren:
    def test_a_record_has_its_children_in_the_order_of_their_keys(self, world: Geography) -> None:
        europe = ask(world, f"{world.continents}/records/Europe", expand="children")
        assert {**europe, "_children": None} == {**area("Europe", 10), "_children": None}
        assert europe["_children"] == {
            world.countries: [area("Denmark", 1, 6, continent="Europe"), area("Norway", 3, 5, continent="Europe")]
        }

    def test_depth_says_how_many_levels(self, world: Geography) -> None:
        page = ask(world, f"{world.continents}/records", expand="children", depth=2)
        assert names(page["records"]) == ["Antarctica", "Asia", "Europe"]
        assert page["records"][0]["_children"] == {world.countries: []}
        (japan,) = page["records"][1]["_children"][world.countries]
        assert names(japan["_children"][world.cities]) == ["Tokyo"]
        denmark, norway = page["records"][2]["_children"][world.countries]
        assert names(denmark["_children"][world.cities]) == ["Aarhus"]
        assert names(norway["_children"][world.cities]) == ["Bergen", "Oslo"]
        assert "_children" not in norway["_children"][world.cities][0]

    def test_nothing_below_is_an_empty_object(self, world: Geography) -> None:
        assert ask(world, f"{world.cities}/records/Oslo", expand="children")["_children"] == {}
        deepest = ask(world, f"{world.countries}/records/Norway", expand="children", depth=5)
        assert [city["_children"] for city in deepest["_children"][world.cities]] == [{}, {}]

    def test_two_fields_of_one_dataset_are_told_apart(self, world: Geography) -> None:
        app = world.app
        fields = [{"name": "id", "type": "integer", "required": True}]
        fields += [{"name": name, "type": "text", "max_length": 100, "normalize": "NFC"} for name in ("home", "away")]
        parents = [{"field": name, "dataset": world.countries} for name in ("home", "away")]
        games = app.dataset({"fields": fields, "key": ["id"], "parents": parents})
        app.work()
        rows = [{"id": 2, "home": "Norway", "away": "Japan"}, {"id": 1, "home": "Norway", "away": "Norway"}]
        assert app.job(app.post(games, rows))["state"] == "succeeded"
        norway = ask(world, f"{world.countries}/records/Norway", expand="children")["_children"]
        assert [game["id"] for game in norway[f"{games}.home"]] == [1, 2]
        assert [game["id"] for game in norway[f"{games}.away"]] == [1]
        assert names(norway[world.cities]) == ["Bergen", "Oslo"]
        first = ask(world, f"{games}/records/1", expand="parent,children", depth=2)
        assert first["_children"] == {}
        assert names(first["_parents"].values()) == ["Norway", "Norway"]
        assert first["_parents"]["away"]["_parents"]["continent"]["name"] == "Europe"


class TestParents:
    def test_a_record_has_its_parents_and_theirs(self, world: Geography) -> None:
        oslo = ask(world, f"{world.cities}/records/Oslo", expand="parent", depth=5)
        norway = oslo["_parents"]["country"]
        assert {name: norway[name] for name in ("name", "area")} == {"name": "Norway", "area": 3}
        assert norway["_parents"] == {"continent": {**area("Europe", 10), "_parents": {}}}
        assert "_parents" not in ask(world, f"{world.cities}/records/Oslo", expand="parent")["_parents"]["country"]

    def test_no_parent_is_null(self, app: InProcess) -> None:
        key = {"name": "k", "type": "integer", "required": True}
        up = app.dataset({"fields": [key], "key": ["k"]})
        fields = [key, {"name": "up", "type": "integer"}]
        down = app.dataset({"fields": fields, "key": ["k"], "parents": [{"field": "up", "dataset": up}]})
        app.work()
        app.job(app.post(up, [{"k": 1}]))
        app.job(app.post(down, [{"k": 1, "up": 1}, {"k": 2, "up": None}]))
        answer = app.http.get(f"{API}/{down}/records", params={"expand": "parent"}).json()
        assert [one["_parents"] for one in answer["records"]] == [{"up": {"k": 1}}, {"up": None}]

    def test_both_may_be_asked_for(self, world: Geography) -> None:
        for wanted in (["children", "parent"], ["children,parent"], ["parent", "children"]):
            norway = ask(world, f"{world.countries}/records/Norway", expand=wanted)
            assert norway["_parents"]["continent"]["name"] == "Europe"
            assert names(norway["_children"][world.cities]) == ["Bergen", "Oslo"]
            # Up and down are not mixed: it would never end.
            assert "_parents" not in norway["_children"][world.cities][0]


class TestEveryRead:
    def test_latest_query_and_get_nest_too(self, world: Geography) -> None:
        http = world.app.http
        latest = ask(world, f"{world.continents}/latest", n=2, expand="children")["records"]
        assert all(set(one["_children"]) == {world.countries} for one in latest)
        url = f"{API}/{world.continents}/records"
        body = {"where": {"area": {"lt": 20}}, "expand": ["children"], "depth": 2, "fields": ["area"], "page_size": 2}
        queried = http.post(f"{url}/query", json=body).json()["records"]
        assert [set(one) for one in queried] == [{"area", "_children"}] * 2
        assert names(queried[1]["_children"][world.countries]) == ["Denmark", "Norway"]
        body = {"keys": ["Europe", "Atlantis", "Asia"], "expand": ["children"]}
        got = http.post(f"{url}/get", json=body).json()
        assert [len(one["_children"][world.countries]) for one in got["records"]] == [2, 1]
        assert got["missing"] == ["Atlantis"]

    def test_fields_are_those_of_the_records_that_are_asked_for(self, world: Geography) -> None:
        page = ask(world, f"{world.countries}/records", expand="children,parent", fields="area")
        assert set(page["records"][0]) == {"area", "_children", "_parents"}
        assert set(page["records"][0]["_children"][world.cities][0]) == {"name", "area", "population", "country"}

    def test_pages_go_on(self, world: Geography) -> None:
        url, token, seen = f"{world.continents}/records", None, []
        while True:
            more = {} if token is None else {"page_token": token}
            page = ask(world, url, expand="children", page_size=1, order="-area", **more)
            seen += page["records"]
            token = page["next_page_token"]
            if token is None:
                break
        assert [len(one["_children"][world.countries]) for one in seen] == [1, 0, 2]

    def test_an_expanded_record_has_an_etag_of_all_that_is_in_it(self, world: Geography) -> None:
        http, url = world.app.http, f"{API}/{world.countries}/records/Norway"
        plain = http.get(url).headers["ETag"]
        first = http.get(url, params={"expand": "children"})
        same = http.get(url, params={"expand": "children"}, headers={"If-None-Match": first.headers["ETag"]})
        assert same.status_code == 304
        assert http.get(url, params={"expand": "children"}, headers={"If-None-Match": plain}).status_code == 200
        assert http.get(url, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200
        world.put(world.cities, area("Oslo", 2, country="Norway"))
        other = http.get(url, params={"expand": "children"}, headers={"If-None-Match": first.headers["ETag"]})
        assert other.status_code == 200
        assert other.headers["ETag"] != first.headers["ETag"]
        assert http.get(url, headers={"If-None-Match": plain}).status_code == 304
        # The record itself is the one that was read.
        patched = http.patch(url, json={"area": 4}, headers={"If-Match": first.headers["ETag"]})
        assert world.app.job(patched)["state"] == "succeeded"
        late = http.patch(url, json={"area": 5}, headers={"If-Match": first.headers["ETag"]})
        assert late.status_code == 412

    def test_vectors_and_zones_are_those_of_all(self, app: InProcess) -> None:
        key = {"name": "k", "type": "integer", "required": True}
        at = {"name": "at", "type": "timestamp"}
        embedding = {"dimensions": 2}
        up = app.dataset({"fields": [key, at], "key": ["k"], "embedding": embedding})
        fields = [key, at, {"name": "up", "type": "integer"}]
        parents = [{"field": "up", "dataset": up}]
        down = app.dataset({"fields": fields, "key": ["k"], "parents": parents, "embedding": embedding})
        app.work()
        record = {"k": 1, "at": "2026-01-01T00:00:00Z", "_embedding": [1.0, 0.5]}
        app.job(app.post(up, [record]))
        app.job(app.post(down, [{**record, "up": 1}]))
        params = {"expand": "children", "include": "embedding", "zone": "Asia/Tokyo"}
        (found,) = app.http.get(f"{API}/{up}/records", params=params).json()["records"]
        (child,) = found["_children"][down]
        assert child == {"k": 1, "at": "2026-01-01T09:00:00+09:00", "up": 1, "_embedding": [1.0, 0.5]}


KEYS: dict[str, Any] = {
    "text": "naïve 😀",
    "integer": 2**53 + 1,
    "decimal": "12345678901234567890.123456789",
    "boolean": True,
    "timestamp": "9999-12-31T23:59:59.999999Z",
    "date": "0001-01-01",
    "duration": "PT1H",
    "uuid": "0192f0c2-7d3a-7000-8000-0123456789ab",
}
OTHERS = {"float": 0.1, "json": {"deep": [1, 2.5, None, {"x": "y"}]}, "vector": [0.5, -2.0], "image": "iVBORw0KGgo="}
LIMITS = {"vector": {"dimensions": 2}, "decimal": {"precision": 38, "scale": 9}, "text": {"max_length": 99}}


class TestTypes:
    def test_what_is_nested_is_shown_as_it_is_alone(self, app: InProcess) -> None:
        values = {**KEYS, **OTHERS}
        fields = [{"name": f"f_{kind}", "type": kind, **LIMITS.get(kind, {})} for kind in values]
        record = {f"f_{kind}": value for kind, value in values.items()}
        for kind, value in KEYS.items():
            key = {"name": "k", "type": kind, "required": True, **LIMITS.get(kind, {})}
            up = app.dataset({"fields": [key, *fields], "key": ["k"]})
            parents = [{"field": "up", "dataset": up}]
            columns = [key, {**key, "name": "up", "required": False}, *fields]
            down = app.dataset({"fields": columns, "key": ["k"], "parents": parents})
            app.work()
            assert app.job(app.post(up, [{"k": value, **record}]))["state"] == "succeeded"
            assert app.job(app.post(down, [{"k": value, "up": value, **record}]))["state"] == "succeeded"
            for zone in ({}, {"zone": "UTC"}):
                (parent,) = app.http.get(f"{API}/{up}/records", params=zone).json()["records"]
                (child,) = app.http.get(f"{API}/{down}/records", params=zone).json()["records"]
                answer = app.http.get(f"{API}/{up}/records", params={**zone, "expand": "children"}).json()
                assert answer["records"] == [{**parent, "_children": {down: [child]}}], kind
                answer = app.http.get(f"{API}/{down}/records", params={**zone, "expand": "parent"}).json()
                assert answer["records"] == [{**child, "_parents": {"up": parent}}], kind

    def test_texts_are_not_taken_for_what_stands_in_their_place(self, app: InProcess) -> None:
        key = {"name": "k", "type": "text", "required": True, "max_length": 99}
        up = app.dataset({"fields": [key, {"name": "j", "type": "json"}], "key": ["k"]})
        fields = [key, {**key, "name": "up"}, {"name": "j", "type": "json"}]
        down = app.dataset({"fields": fields, "key": ["k"], "parents": [{"field": "up", "dataset": up}]})
        app.work()
        texts = ['"\\u00000"', "\\u00000", '"\\\\u00000"', "\u20280", '\n"\x01']
        parents = [{"k": text, "j": {text: [text]}} for text in texts]
        children = [{**parent, "up": parent["k"]} for parent in parents]
        assert app.job(app.post(up, parents))["state"] == "succeeded"
        assert app.job(app.post(down, children))["state"] == "succeeded"
        found = app.http.post(
            f"{API}/{up}/records/get", json={"keys": [*texts, '"\\u0000'], "expand": ["children"]}
        ).json()
        expected = [{**one, "_children": {down: [child]}} for one, child in zip(parents, children, strict=True)]
        assert found == {"records": expected, "missing": ['"\\u0000']}


class TestRefused:
    @pytest.mark.parametrize(
        ("params", "pointer", "says"),
        [
            ({"expand": "siblings"}, "/query/expand", "children, parent"),
            ({"expand": "children,"}, "/query/expand", "children, parent"),
            ({"expand": "children", "depth": 20_000}, "/query/depth", "20000"),
            ({"expand": "children", "depth": 0}, "/query/depth", "0"),
            ({"expand": "children", "depth": "deep"}, "/query/depth", "deep"),
            ({"depth": 2}, "/query/depth", "expand"),
        ],
    )
    def test_what_is_wrong_is_named(self, app: InProcess, params: Any, pointer: str, says: str) -> None:
        world = Geography(app)
        for path in ("records", "latest", "records/x"):
            problem = ask(world, f"{world.cities}/{path}", 422, **params)
            assert problem["errors"][0]["pointer"] == pointer, problem
            assert says in problem["errors"][0]["reason"], problem

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"expand": ["siblings"]}, "/expand/0"),
            ({"expand": "children"}, "/expand"),
            ({"expand": ["children"], "depth": 6}, "/depth"),
            ({"expand": ["children"], "depth": 10**400}, "/depth"),
            ({"depth": 1}, "/depth"),
        ],
    )
    def test_in_bodies_too(self, app: InProcess, body: Any, pointer: str) -> None:
        world = Geography(app)
        for path, more in (("query", {}), ("get", {"keys": []})):
            answer = app.http.post(f"{API}/{world.cities}/records/{path}", json={**more, **body})
            assert answer.status_code == 422, answer.text
            assert answer.json()["errors"][0]["pointer"] == pointer, answer.text


class TestBounds:
    @pytest.fixture
    def small(self, database_url: str) -> Iterator[Geography]:
        app = InProcess(database_url, reads_max_expanded=6)
        with app.http:
            yield filled(Geography(app, limits=[]))
        app.gristmill.database.close()

    def test_more_than_the_limit_is_refused_with_the_count(self, small: Geography) -> None:
        assert len(ask(small, f"{small.continents}/records", expand="children")["records"]) == 3
        problem = ask(small, f"{small.continents}/records", 413, expand="children", depth=2)
        assert (problem["code"], problem["records"], problem["max_records"]) == ("expanded_too_large", 7, 6)
        assert "reads.max_expanded" in problem["detail"]

    def test_a_parent_counts_wherever_it_is_shown(self, small: Geography) -> None:
        cities = [area(f"t{n}", 1, country="Norway") for n in range(3)]
        small.put(small.cities, *cities)
        problem = ask(small, f"{small.cities}/records", 413, expand="parent")
        assert problem["records"] == 7, problem

    def test_more_bytes_than_the_limit_are_refused_wherever_they_are_shown(self, database_url: str) -> None:
        app = InProcess(database_url, reads_max_expanded_bytes=10_000)
        key = {"name": "k", "type": "text", "required": True, "max_length": 9}
        with app.http:
            up = app.dataset({"fields": [key, {"name": "t", "type": "text"}], "key": ["k"]})
            parents = [{"field": "up", "dataset": up}]
            fields = [key, {**key, "name": "up"}, {"name": "t", "type": "text"}]
            down = app.dataset({"fields": fields, "key": ["k"], "parents": parents})
            app.work()
            app.job(app.post(up, [{"k": "a", "t": "é" * 2000}, {"k": "b", "t": None}]))
            app.job(app.post(down, [{"k": f"a{n}", "up": "a", "t": "é" * 2000} for n in range(2)]))
            for path in (f"{up}/records/a?expand=children", f"{down}/records?expand=parent"):
                assert app.http.get(f"{API}/{path}").status_code == 200
            app.job(app.post(down, [{"k": "a2", "up": "a", "t": "é" * 2000}]))
            for path in (f"{up}/records/a?expand=children", f"{down}/records?expand=parent"):
                problem = app.http.get(f"{API}/{path}")
                assert problem.status_code == 413, problem.text
                assert problem.json()["code"] == "expanded_too_large"
                assert problem.json()["max_bytes"] == 10_000
                assert "reads.max_expanded_bytes" in problem.json()["detail"]
            assert app.http.get(f"{API}/{up}/records/b?expand=children").status_code == 200
        app.gristmill.database.close()

    def test_the_default_takes_a_hundred_thousand(self, app: InProcess) -> None:
        assert app.gristmill.settings.reads_max_expanded == 100_000


# A tree of datasets: c has two parents, of which one is its parent's sibling.
_key = st.sampled_from([f"k{n}" for n in range(6)])


class Forest:
    def __init__(self, app: InProcess) -> None:
        self.app = app
        self.parents: dict[str, dict[str, str]] = {}
        self.a = self._dataset({})
        self.b = self._dataset({"a": self.a, "other": self.a})
        self.c = self._dataset({"a": self.a, "b": self.b})
        self.d = self._dataset({"c": self.c})
        app.work()
        self.names = (self.a, self.b, self.c, self.d)

    def _dataset(self, parents: dict[str, str]) -> str:
        columns = [{"name": name, "type": "text", "max_length": 9} for name in parents]
        fields = [{"name": "k", "type": "text", "required": True, "max_length": 9}, *columns]
        above = [{"field": field, "dataset": dataset} for field, dataset in parents.items()]
        name = self.app.dataset({"fields": fields, "key": ["k"], "parents": above})
        self.parents[name] = parents
        return name

    def fill(self, rows: Any) -> None:
        for name in reversed(self.names):
            self.app.job(self.app.http.post(f"{API}/{name}/records/delete", json={"where": {}}))
        for name in self.names:
            if rows[name]:
                assert self.app.job(self.app.post(name, list(rows[name].values())))["state"] == "succeeded"

    def children(self, rows: Any, name: str, record: Any, depth: int) -> Any:
        if not depth:
            return record
        found: dict[str, Any] = {}
        for child, parents in self.parents.items():
            fields = [field for field, dataset in parents.items() if dataset == name]
            for field in fields:
                mine = [one for _, one in sorted(rows[child].items()) if one[field] == record["k"]]
                member = f"{child}.{field}" if len(fields) > 1 else child
                found[member] = [self.children(rows, child, one, depth - 1) for one in mine]
        return {**record, "_children": found}

    def above(self, rows: Any, name: str, record: Any, depth: int) -> Any:
        if not depth:
            return record
        found = {}
        for field, dataset in self.parents[name].items():
            parent = rows[dataset].get(record[field])
            found[field] = None if parent is None else self.above(rows, dataset, parent, depth - 1)
        return {**record, "_parents": found}


@pytest.fixture(scope="module")
def forest(module_app: InProcess) -> Forest:
    return Forest(module_app)


@st.composite
def _rows(draw: st.DrawFn) -> list[list[Any]]:
    levels: list[list[Any]] = []
    for fields in ({}, {"a": 0, "other": 0}, {"a": 0, "b": 1}, {"c": 2}):
        keys = draw(st.lists(_key, max_size=5, unique=True))
        refs = {name: st.sampled_from([None, *(one["k"] for one in levels[level])]) for name, level in fields.items()}
        levels.append([{"k": key, **draw(st.fixed_dictionaries(refs))} for key in keys])
    return levels


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(levels=_rows())
def test_nested_answers_equal_a_plain_nesting_of_all_rows(forest: Forest, levels: Any) -> None:
    rows = {name: {one["k"]: one for one in level} for name, level in zip(forest.names, levels, strict=True)}
    forest.fill(rows)
    for name in forest.names:
        for depth in (1, 2, 3, 5):
            for expand, plain in (("children", forest.children), ("parent", forest.above)):
                url = f"{API}/{name}/records"
                answer = forest.app.http.get(url, params={"expand": expand, "depth": depth})
                assert answer.status_code == 200, answer.text
                expected = [plain(rows, name, record, depth) for _, record in sorted(rows[name].items())]
                assert answer.json()["records"] == expected, json.dumps(rows)
