"""PATCH of a field of the key: the record gets the new one, and its children follow or keep it as it is."""

import json
from typing import Any

import pytest
from tests.support.hierarchy import AREA, NAME, Geography, area, field_of
from tests.support.in_process import InProcess, Job

pytestmark = pytest.mark.promise(3)
THING = {
    "fields": [
        {"name": "k", "type": "text", "required": True, "max_length": 40, "normalize": "NFC"},
        {"name": "n", "type": "integer", "required": True},
        {"name": "v", "type": "integer"},
    ],
    "key": ["k", "n"],
}


class TestKey:
    """Datasets without children."""

    def test_the_record_gets_the_new_key_with_the_other_changes(self, app: InProcess) -> None:
        name = app.dataset(THING)
        app.job(app.post(name, [{"k": "a", "n": 1, "v": 1}, {"k": "b", "n": 1, "v": 2}]))
        job = app.job(app.http.patch(app.key(name, ["a", 1]), json={"n": 2, "v": 3}))
        assert job["state"] == "succeeded", job
        assert app.rows(name) == [{"k": "a", "n": 2, "v": 3}, {"k": "b", "n": 1, "v": 2}]
        found = app.http.get(app.key(name, ["a", 2]))
        assert found.headers["etag"] == job["result"]["etag"]
        assert app.http.get(app.key(name, ["a", 1])).status_code == 404

    def test_a_key_that_is_taken_is_refused_at_once_or_by_the_job(self, app: InProcess) -> None:
        name = app.dataset(THING)
        app.job(app.post(name, [{"k": "a", "n": 1}, {"k": "a", "n": 2}]))
        answer = app.http.patch(app.key(name, ["a", 1]), json={"n": 2})
        assert (answer.status_code, answer.json()["code"], answer.json()["key"]) == (409, "key_exists", ["a", 2])
        app.post(name, [{"k": "a", "n": 3}])
        job = app.job(app.http.patch(app.key(name, ["a", 1]), json={"n": 3}))
        assert (job["state"], job["error"]["code"], job["error"]["key"]) == ("failed", "key_exists", ["a", 3])

    def test_its_own_key_is_no_change_of_it(self, app: InProcess) -> None:
        name = app.dataset(THING)
        app.job(app.post(name, [{"k": "é", "n": 1}]))
        for text in ("é", "e\u0301"):
            assert app.job(app.http.patch(app.key(name, ["é", 1]), json={"k": text, "v": 5}))["state"] == "succeeded"
        assert app.rows(name) == [{"k": "é", "n": 1, "v": 5}]

    def test_two_records_change_places_by_way_of_a_third(self, app: InProcess) -> None:
        name = app.dataset(THING)
        app.job(app.post(name, [{"k": "a", "n": 1, "v": 1}, {"k": "b", "n": 1, "v": 2}]))
        for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
            last = app.http.patch(app.key(name, [old, 1]), json={"k": new})
        assert app.job(last)["state"] == "succeeded"
        assert app.rows(name) == [{"k": "a", "n": 1, "v": 2}, {"k": "b", "n": 1, "v": 1}]

    def test_one_that_is_not_there_is_unknown_though_the_new_key_is_taken(self, app: InProcess) -> None:
        name = app.dataset(THING)
        app.job(app.post(name, [{"k": "a", "n": 1}]))
        assert app.http.patch(app.key(name, ["b", 1]), json={"k": "a"}).status_code == 404
        app.post(name, [{"k": "c", "n": 1}])
        job = app.job(app.http.patch(app.key(name, ["b", 1]), json={"k": "a"}))
        assert job["error"]["code"] == "unknown_record"

    @pytest.mark.parametrize(
        ("changes", "code"), [({"k": None}, "null"), ({"k": "x" * 41}, "too_long"), ({"n": "1"}, "wrong_type")]
    )
    def test_what_is_no_key_is_refused(self, app: InProcess, changes: Job, code: str) -> None:
        answer = app.http.patch(app.key(app.dataset(THING), ["a", 1]), json=changes)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)

    def test_if_match_is_that_of_the_record_as_it_was(self, app: InProcess) -> None:
        name = app.dataset(THING)
        app.job(app.post(name, [{"k": "a", "n": 1}]))
        old = app.http.get(app.key(name, ["a", 1])).headers["etag"]
        job = app.job(app.http.patch(app.key(name, ["a", 1]), json={"k": "b"}, headers={"if-match": old}))
        assert job["state"] == "succeeded"
        answer = app.http.patch(app.key(name, ["b", 1]), json={"k": "c"}, headers={"if-match": old})
        assert answer.status_code == 412

    def test_what_is_made_of_the_key_is_made_anew(self, app: InProcess) -> None:
        fields = [
            {"name": "k", "type": "text", "required": True, "max_length": 40},
            {"name": "loud", "type": "text", "computed": True},
        ]
        body = {
            "fields": fields,
            "key": ["k"],
            "pipeline": [{"op": "derive", "as": "loud", "value": "upper(k)"}],
            "embedding": {"from": ["k"], "embedder": "hashing"},
        }
        name = app.dataset(body)
        app.job(app.post(name, [{"k": "green apples"}]))
        assert app.job(app.http.patch(app.key(name, "green apples"), json={"k": "red pears"}))["state"] == "succeeded"
        assert app.rows(name) == [{"k": "red pears", "loud": "RED PEARS"}]
        found = app.post(name, {"text": "red pears", "k": 1}, "search").json()
        assert found["hits"][0]["distance"] == pytest.approx(0, abs=1e-6)

    def test_a_field_may_be_called_as_the_statement_calls_its_own_values(self, app: InProcess) -> None:
        names = ["seq", "key_0", "value_0"]
        fields = [{"name": one, "type": "integer", "required": True} for one in names]
        name = app.dataset({"fields": fields, "key": ["key_0"]})
        app.job(app.post(name, [{"seq": 1, "key_0": 2, "value_0": 3}]))
        job = app.job(app.http.patch(app.key(name, "2"), json={"seq": 10, "key_0": 20, "value_0": 30}))
        assert job["state"] == "succeeded"
        assert app.rows(name) == [{"seq": 10, "key_0": 20, "value_0": 30}]


def fill(world: Geography) -> Geography:
    world.put(world.continents, area("Europe", 100), area("Asia", 100))
    world.put(world.countries, area("France", 10, continent="Europe"), area("Spain", 10, continent="Europe"))
    world.put(world.cities, area("Paris", 6, country="France"), area("Lyon", 4, country="France"))
    return world


@pytest.fixture
def world(app: InProcess) -> Geography:
    return fill(Geography(app, on_rename="cascade"))


def parents(world: Geography, name: str, field: str) -> Any:
    return {row["name"]: row[field] for row in world.app.rows(name)}


class TestCascade:
    def test_children_follow_and_keep_their_batch(self, app: InProcess, world: Geography) -> None:
        batches = self.batches(app, world)
        job = app.job(app.http.patch(app.key(world.countries, "France"), json={"name": "Gaul"}))
        assert job["result"]["moved"] == {world.cities: 2}
        assert parents(world, world.cities, "country") == {"Paris": "Gaul", "Lyon": "Gaul"}
        assert parents(world, world.countries, "continent") == {"Gaul": "Europe", "Spain": "Europe"}
        assert self.batches(app, world) == batches
        tag = app.http.get(app.key(world.cities, "Paris")).headers["etag"]
        assert tag.split(".")[0] == job["result"]["etag"].split(".")[0]

    def batches(self, app: InProcess, world: Geography) -> Any:
        with app.gristmill.database.autocommit() as connection:
            query = f"SELECT name, coalesce(_batch, _seq) FROM data.{world.cities} ORDER BY name"
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def test_limits_stay_with_the_record(self, app: InProcess, world: Geography) -> None:
        app.job(app.http.patch(app.key(world.countries, "France"), json={"name": "Gaul"}))
        answer = app.http.patch(app.key(world.countries, "Gaul"), json={"area": 9})
        assert (answer.status_code, answer.json()["code"], answer.json()["used"]) == (409, "limit_exceeded", 10)
        answer = app.http.patch(app.key(world.countries, "Gaul"), json={"area": 9, "name": "Frankia"})
        assert (answer.status_code, answer.json()["code"], answer.json()["used"]) == (409, "limit_exceeded", 10)

    def test_children_that_are_named_by_their_parents_pass_it_on(self, app: InProcess, world: Geography) -> None:
        """A capital is named by its country, and a mayor by the capital."""
        spec = {"on_rename": "cascade", "on_delete": "cascade"}
        capitals = app.dataset(
            {
                "fields": [field_of("country"), AREA],
                "key": ["country"],
                "parents": [{"field": "country", "dataset": world.countries, **spec}],
            }
        )
        mayors = app.dataset(
            {
                "fields": [NAME, field_of("capital")],
                "parents": [{"field": "capital", "dataset": capitals, **spec}],
            }
        )
        app.job(app.post(capitals, [{"country": "France", "area": 1}, {"country": "Spain", "area": 1}]))
        app.job(app.post(mayors, [{"name": "A", "capital": "France"}, {"name": "B", "capital": "Spain"}]))
        job = app.job(app.http.patch(app.key(world.countries, "France"), json={"name": "Gaul"}))
        assert job["result"]["moved"] == {world.cities: 2, capitals: 1, mayors: 1}
        assert sorted(row["country"] for row in app.rows(capitals)) == ["Gaul", "Spain"]
        assert [(row["name"], row["capital"]) for row in app.rows(mayors)] == [("A", "Gaul"), ("B", "Spain")]

    def test_a_child_with_two_such_parents_follows_with_both_fields_and_counts_once(
        self, app: InProcess, world: Geography
    ) -> None:
        fields = [field_of("home"), field_of("away"), {"name": "n", "type": "integer"}]
        above = [{"field": one, "dataset": world.cities, "on_rename": "cascade"} for one in ("home", "away")]
        name = app.dataset({"fields": fields, "key": ["home", "away"], "parents": above})
        pairs = [("Paris", "Paris"), ("Paris", "Lyon"), ("Lyon", "Paris"), ("Lyon", "Lyon")]
        app.job(app.post(name, [{"home": home, "away": away} for home, away in pairs]))
        job = app.job(app.http.patch(app.key(world.cities, "Paris"), json={"name": "Lutetia"}))
        assert job["result"]["moved"] == {name: 3}
        assert sorted((row["home"], row["away"]) for row in app.rows(name)) == sorted(
            (home.replace("Paris", "Lutetia"), away.replace("Paris", "Lutetia")) for home, away in pairs
        )

    def test_a_key_that_does_not_fit_the_childrens_field_is_refused(self, app: InProcess, world: Geography) -> None:
        fields = [NAME, {**field_of("city"), "max_length": 5}]
        above = [{"field": "city", "dataset": world.cities, "on_rename": "cascade"}]
        name = app.dataset({"fields": fields, "key": ["name"], "parents": above})
        app.job(app.post(name, [{"name": "x", "city": "Paris"}]))
        answer = app.http.patch(app.key(world.cities, "Paris"), json={"name": "Lutetia"})
        assert (answer.status_code, answer.json()["code"]) == (409, "children_left")
        assert "Lutetia" in answer.json()["detail"]
        assert "at most 5" in answer.json()["detail"]
        assert app.job(app.http.patch(app.key(world.cities, "Lyon"), json={"name": "Lugdunum"}))["state"] == "succeeded"
        assert app.job(app.http.patch(app.key(world.cities, "Paris"), json={"name": "Paname"[:5]}))["result"]["moved"]

    def test_a_key_that_is_measured_itself_is_measured_anew(self, app: InProcess) -> None:
        """Years are children of decades, by a number that a limit counts."""
        number = {"name": "number", "type": "integer", "required": True, "minimum": 0}
        decades = app.dataset({"fields": [number, {"name": "most", "type": "integer"}], "key": ["number"]})
        spec = {"field": "of", "dataset": decades, "on_rename": "cascade", "limits": [{"sum": "of", "at_most": "most"}]}
        of = {"name": "of", "type": "integer", "required": True, "minimum": 0}
        years = app.dataset({"fields": [NAME, of], "key": ["name"], "parents": [spec]})
        app.job(app.post(decades, [{"number": 10, "most": 40}]))
        app.job(app.post(years, [{"name": "a", "of": 10}, {"name": "b", "of": 10}]))
        answer = app.http.patch(app.key(decades, "10"), json={"number": 21})
        assert (answer.status_code, answer.json()["code"]) == (409, "limit_exceeded"), answer.text
        job = app.job(app.http.patch(app.key(decades, "10"), json={"number": 20}))
        assert job["result"]["moved"] == {years: 2}


class TestRefuse:
    def test_it_names_the_parent_and_its_children(self, app: InProcess) -> None:
        world = fill(Geography(app))
        answer = app.http.patch(app.key(world.countries, "France"), json={"name": "Gaul"})
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (409, "children_left")
        assert problem["parent"] == {"dataset": world.countries, "key": "France"}
        assert (problem["children"], problem["count"], problem["first"]) == (world.cities, 2, "Lyon")
        world.post(world.continents, area("Africa", 1))
        world.post(world.cities, area("Nice", 0, country="Spain"))
        job = app.job(app.http.patch(app.key(world.countries, "France"), json={"name": "Gaul"}))
        assert {name: job["error"][name] for name in ("code", "detail")} == {
            name: problem[name] for name in ("code", "detail")
        }
        assert app.job(app.http.patch(app.key(world.countries, "France"), json={"area": 20}))["state"] == "succeeded"

    def test_one_without_children_gets_another_key(self, app: InProcess) -> None:
        world = fill(Geography(app))
        job = app.job(app.http.patch(app.key(world.countries, "Spain"), json={"name": "Iberia"}))
        assert (job["state"], list(job["result"])) == ("succeeded", ["etag"])
        assert "Iberia" in world.names(world.countries)


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ({"type": "integer"}, 2**53 + 1, -(2**63)),
        ({"type": "decimal", "precision": 20, "scale": 2}, "1.50", "12345678901234567.89"),
        ({"type": "boolean"}, True, False),
        ({"type": "timestamp"}, "2026-01-02T03:04:05.000006Z", "1999-12-31T23:59:59.999999Z"),
        ({"type": "date"}, "2026-01-02", "0001-01-01"),
        ({"type": "duration"}, "PT1H30M", "PT0.000001S"),
        ({"type": "uuid"}, "0192b1a0-0000-7000-8000-000000000001", "0192b1a0-0000-7000-8000-000000000002"),
        ({"type": "text", "max_length": 50}, "a/b %s é'\"", "%(key)s\\"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_keys_of_every_type(app: InProcess, field: Job, old: Any, new: Any) -> None:
    """Children follow, keep, and go along, whatever names them."""
    key, of = {"name": "key", "required": True, **field}, {"name": "of", **field}
    above = app.dataset({"fields": [key], "key": ["key"]})
    spec = {"field": "of", "dataset": above, "on_rename": "cascade", "on_delete": "cascade"}
    below = app.dataset({"fields": [NAME, of], "key": ["name"], "parents": [spec]})
    kept = app.dataset({"fields": [NAME, of], "parents": [{**spec, "on_rename": "refuse", "on_delete": "refuse"}]})
    app.job(app.post(above, [{"key": old}]))
    app.job(app.post(below, [{"name": "a", "of": old}, {"name": "b", "of": None}]))
    assert app.job(app.post(kept, [{"name": "c", "of": old}]))["state"] == "succeeded"
    shown = old if isinstance(old, str) else json.dumps(old)
    for answer in (app.http.patch(app.key(above, shown), json={"key": new}), app.http.delete(app.key(above, shown))):
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["parent"]["key"]) == (409, "children_left", old)
        assert (problem["children"], problem["count"], problem["first"]) == (kept, 1, None)
    assert app.job(app.post(kept, {"where": {}}, "records/delete"))["state"] == "succeeded"
    job = app.job(app.http.patch(app.key(above, shown), json={"key": new}))
    assert (job["state"], job["result"]["moved"]) == ("succeeded", {below: 1}), job
    assert {row["name"]: row["of"] for row in app.rows(below)} == {"a": new, "b": None}
    job = app.job(app.post(above, {"keys": [new]}, "records/delete"))
    assert job["result"] == {"deleted": 1, "missing": 0, "cascaded": {below: 1}}
    assert [row["name"] for row in app.rows(below)] == ["b"]
