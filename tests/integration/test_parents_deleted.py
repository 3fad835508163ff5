"""Deleting records that have children, in every way that there is: what goes, what stays, and what is said of it."""

from typing import Any

import pytest
from tests.support.hierarchy import AREA, NAME, Geography, area, field_of
from tests.support.in_process import InProcess

from gristmill.jobs.maintenance.schedules import promote_scheduled

pytestmark = pytest.mark.promise(3)


def fill(world: Geography) -> Geography:
    world.put(world.continents, area("Europe", 100), area("Asia", 100))
    world.put(
        world.countries,
        area("France", 10, continent="Europe"),
        area("Spain", 10, continent="Europe"),
        area("Japan", 10, continent="Asia"),
    )
    world.put(
        world.cities,
        area("Paris", 1, country="France"),
        area("Lyon", 1, country="France"),
        area("Madrid", 1, country="Spain"),
        area("Tokyo", 1, country="Japan"),
    )
    return world


@pytest.fixture
def world(app: InProcess) -> Geography:
    """All that is below goes along."""
    return fill(Geography(app, on_delete="cascade"))


@pytest.fixture
def kept(app: InProcess) -> Geography:
    """Nothing goes that has something below."""
    return fill(Geography(app))


def names(world: Geography) -> list[list[str]]:
    return [sorted(world.names(name)) for name in (world.continents, world.countries, world.cities)]


class TestCascade:
    def test_by_key_all_levels_go_and_are_counted(self, app: InProcess, world: Geography) -> None:
        job = app.job(app.http.delete(app.key(world.continents, "Europe")))
        assert job["state"] == "succeeded", job
        assert job["result"] == {"deleted": 1, "cascaded": {world.countries: 2, world.cities: 3}}
        assert names(world) == [["Asia"], ["Japan"], ["Tokyo"]]

    def test_by_keys(self, app: InProcess, world: Geography) -> None:
        job = app.job(app.post(world.countries, {"keys": ["France", "Japan", "Peru"]}, "records/delete"))
        assert job["result"] == {"deleted": 2, "missing": 1, "cascaded": {world.cities: 3}}
        assert names(world) == [["Asia", "Europe"], ["Spain"], ["Madrid"]]

    def test_by_filter(self, app: InProcess, world: Geography) -> None:
        job = app.job(app.post(world.continents, {"where": {"name": {"starts_with": "A"}}}, "records/delete"))
        assert job["result"] == {"deleted": 1, "cascaded": {world.countries: 1, world.cities: 1}}
        assert names(world) == [["Europe"], ["France", "Spain"], ["Lyon", "Madrid", "Paris"]]

    def test_truncate_takes_the_children_along(self, app: InProcess, world: Geography) -> None:
        world.put(world.cities, area("Nowhere", 1, country="France"))
        job = app.job(app.http.post(f"/api/v1/datasets/{world.countries}/truncate"))
        assert job["result"] == {"table": f"data.{world.countries}", "cascaded": {world.cities: 5}}
        assert names(world) == [["Asia", "Europe"], [], []]

    def test_one_without_children_is_deleted_as_ever(self, app: InProcess, world: Geography) -> None:
        assert app.job(app.http.delete(app.key(world.cities, "Paris")))["result"] == {"deleted": 1}
        world.put(world.continents, area("Africa", 1))
        assert app.job(app.http.delete(app.key(world.continents, "Africa")))["result"] == {"deleted": 1}

    def test_an_unknown_one_is_unknown_and_takes_nothing(self, app: InProcess, world: Geography) -> None:
        assert app.http.delete(app.key(world.continents, "Mars")).status_code == 404
        job = app.job(app.post(world.continents, {"keys": []}, "records/delete"))
        assert job["result"] == {"deleted": 0, "missing": 0}

    def test_children_without_a_key_go_too(self, app: InProcess, world: Geography) -> None:
        fields = [{"name": "text", "type": "text"}, field_of("country")]
        parents = [{"field": "country", "dataset": world.countries, "on_delete": "cascade"}]
        name = app.dataset({"fields": fields, "parents": parents})
        app.job(app.post(name, [{"text": "a", "country": "France"}] * 3 + [{"text": "b", "country": "Japan"}]))
        job = app.job(app.http.delete(app.key(world.continents, "Europe")))
        assert job["result"]["cascaded"] == {world.countries: 2, world.cities: 3, name: 3}
        assert [row["text"] for row in app.rows(name)] == ["b"]

    def test_a_dataset_that_is_reached_in_two_ways_loses_each_record_once(
        self, app: InProcess, world: Geography
    ) -> None:
        fields = [NAME, {**field_of("home"), "required": False}, {**field_of("away"), "required": False}]
        parents = [{"field": one, "dataset": world.cities, "on_delete": "cascade"} for one in ("home", "away")]
        name = app.dataset({"fields": fields, "key": ["name"], "parents": parents})
        app.job(
            app.post(
                name,
                [
                    {"name": "both", "home": "Paris", "away": "Lyon"},
                    {"name": "one", "home": "Tokyo", "away": "Paris"},
                    {"name": "none", "home": "Tokyo", "away": None},
                ],
            )
        )
        job = app.job(app.http.delete(app.key(world.countries, "France")))
        assert job["result"] == {"deleted": 1, "cascaded": {world.cities: 2, name: 2}}
        assert [row["name"] for row in app.rows(name)] == ["none"]


class TestRefuse:
    def refused(self, answer: Any, world: Geography) -> Any:
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (409, "children_left"), problem
        assert names(world) == names(fill(world))
        return problem

    def test_it_names_the_parent_the_children_and_the_first_of_them(self, app: InProcess, kept: Geography) -> None:
        problem = self.refused(app.http.delete(app.key(kept.countries, "France")), kept)
        assert problem["parent"] == {"dataset": kept.countries, "key": "France"}
        assert (problem["children"], problem["count"], problem["first"]) == (kept.cities, 2, "Lyon")
        for part in ("France", kept.cities, "2 children", "Lyon"):
            assert part in problem["detail"]

    def test_all_ways_are_refused_at_once(self, app: InProcess, kept: Geography) -> None:
        for body in ({"keys": ["Peru", "Spain"]}, {"where": {"name": "Spain"}}):
            problem = self.refused(app.post(kept.countries, body, "records/delete"), kept)
            assert (problem["parent"]["key"], problem["count"]) == ("Spain", 1)
        problem = self.refused(app.http.post(f"/api/v1/datasets/{kept.continents}/truncate"), kept)
        assert problem["parent"]["key"] == "Asia"

    def test_the_job_says_the_same_when_something_is_unfinished(self, app: InProcess, kept: Geography) -> None:
        at_once = app.http.delete(app.key(kept.countries, "France")).json()
        for call in (
            lambda: app.http.delete(app.key(kept.countries, "France")),
            lambda: app.post(kept.countries, {"keys": ["France"]}, "records/delete"),
            lambda: app.post(kept.countries, {"where": {"name": "France"}}, "records/delete"),
        ):
            kept.post(kept.cities, area("Nice", 1, country="Spain"))
            job = app.job(call())
            assert job["state"] == "failed"
            error = job["error"]
            assert {name: error[name] for name in ("code", "detail", "parent", "children", "count", "first")} == {
                name: at_once[name] for name in ("code", "detail", "parent", "children", "count", "first")
            }
        kept.post(kept.cities, area("Nice", 1, country="Spain"))
        job = app.job(app.http.post(f"/api/v1/datasets/{kept.countries}/truncate"))
        assert (job["state"], job["error"]["code"]) == ("failed", "children_left")
        assert names(kept)[1] == ["France", "Japan", "Spain"]

    def test_a_job_before_it_that_takes_the_children_away_lets_it_succeed(
        self, app: InProcess, kept: Geography
    ) -> None:
        app.post(kept.cities, {"where": {"country": "France"}}, "records/delete")
        assert app.job(app.http.delete(app.key(kept.countries, "France")))["state"] == "succeeded"
        assert names(kept)[1:] == [["Japan", "Spain"], ["Madrid", "Tokyo"]]

    def test_a_child_that_goes_by_another_way_keeps_nothing(self, app: InProcess, world: Geography) -> None:
        """As foreign keys do with NO ACTION: what counts is what is left at the end."""
        fields = [NAME, field_of("country"), field_of("city")]
        parents = [
            {"field": "country", "dataset": world.countries, "on_delete": "refuse"},
            {"field": "city", "dataset": world.cities, "on_delete": "cascade"},
        ]
        name = app.dataset({"fields": fields, "key": ["name"], "parents": parents})
        app.job(app.post(name, [{"name": "within", "country": "France", "city": "Paris"}]))
        job = app.job(app.http.delete(app.key(world.continents, "Europe")))
        assert job["result"]["cascaded"][name] == 1
        world.put(world.continents, area("Africa", 100))
        world.put(world.countries, area("Egypt", 10, continent="Africa"))
        world.put(world.cities, area("Cairo", 1, country="Egypt"))
        app.job(app.post(name, [{"name": "beyond", "country": "Japan", "city": "Cairo"}]))
        answer = app.http.delete(app.key(world.continents, "Asia"))
        assert (answer.status_code, answer.json()["first"]) == (409, "beyond")
        assert names(world) == [["Africa", "Asia"], ["Egypt", "Japan"], ["Cairo", "Tokyo"]]


class TestBeside:
    def test_a_dataset_that_got_children_after_the_job_was_drafted_is_seen(self, app: InProcess) -> None:
        """The API remembers the dataset as it was without children."""
        name = app.dataset({"fields": [NAME, AREA], "key": ["name"]})
        app.job(app.post(name, [{"name": "a", "area": 1}, {"name": "b", "area": 1}]))
        assert app.job(app.http.delete(app.key(name, "b")))["result"] == {"deleted": 1}
        parents = [{"field": "of", "dataset": name, "on_delete": "cascade"}]
        below = app.dataset({"fields": [NAME, field_of("of")], "key": ["name"], "parents": parents})
        app.job(app.post(below, [{"name": "x", "of": "a"}]))
        assert app.job(app.http.delete(app.key(name, "a")))["result"] == {"deleted": 1, "cascaded": {below: 1}}

    def test_a_scheduled_job_that_does_not_know_a_dataset_below_touches_nothing(
        self, app: InProcess, world: Geography
    ) -> None:
        """It is in the scopes of those datasets alone that there were when it was submitted."""
        later = {"run_at": "2999-01-01T00:00:00Z"}
        jobs = [
            app.http.delete(app.key(world.countries, "France"), params=later).json(),
            app.post(world.countries, {"where": {}}, "records/delete", params=later).json(),
            app.post(world.countries, {"keys": ["France"]}, "records/delete", params=later).json(),
            app.http.patch(app.key(world.countries, "France"), json={"name": "Gaul"}, params=later).json(),
        ]
        parents = [{"field": "of", "dataset": world.cities, "on_delete": "cascade"}]
        name = app.dataset({"fields": [NAME, field_of("of")], "key": ["name"], "parents": parents})
        app.job(app.post(name, [{"name": "x", "of": "Paris"}]))
        with app.gristmill.database.transaction() as connection:
            for table, column in (("jobs", "id"), ("chunks", "job_id")):
                for job in jobs:
                    query = f"UPDATE gristmill.{table} SET run_at = now() WHERE {column} = %(id)s"
                    connection.exec_driver_sql(query, {"id": job["id"]})
        promote_scheduled(app.gristmill.database)
        app.work()
        for job in jobs:
            found = app.http.get(job["links"]["self"]).json()
            assert (found["state"], found["error"]["code"]) == ("failed", "hierarchy_changed"), found
            assert name in found["error"]["detail"]
        assert len(app.rows(name)) == 1
        assert names(world)[1] == ["France", "Japan", "Spain"]

    def test_what_the_children_declare_counts_when_the_job_runs(self, app: InProcess, kept: Geography) -> None:
        """The change of the contract was submitted before, and is carried out before."""
        assert app.http.delete(app.key(kept.countries, "France")).status_code == 409
        spec = {"field": "country", "dataset": kept.countries, "on_delete": "cascade"}
        changed = app.http.patch(f"/api/v1/datasets/{kept.cities}", json={"parents": [spec]})
        job = app.job(app.http.delete(app.key(kept.countries, "France")))
        assert app.job(changed)["state"] == "succeeded"
        assert job["result"] == {"deleted": 1, "cascaded": {kept.cities: 2}}
        # Without parents nothing keeps a record, and nothing goes along.
        assert app.job(app.http.patch(f"/api/v1/datasets/{kept.cities}", json={"parents": []}))["state"] == "succeeded"
        assert app.job(app.http.delete(app.key(kept.countries, "Spain")))["result"] == {"deleted": 1}
        assert kept.names(kept.cities) == ["Madrid", "Tokyo"]

    def test_a_scheduled_job_of_a_dataset_that_had_no_children_then(self, app: InProcess) -> None:
        name = app.dataset({"fields": [NAME], "key": ["name"]})
        app.job(app.post(name, [{"name": "a"}]))
        later = {"run_at": "2999-01-01T00:00:00Z"}
        link = app.http.delete(app.key(name, "a"), params=later).json()["links"]["self"]
        spec = {"field": "of", "dataset": name, "on_delete": "cascade"}
        below = app.dataset({"fields": [NAME, field_of("of")], "key": ["name"], "parents": [spec]})
        app.job(app.post(below, [{"name": "x", "of": "a"}]))
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql("UPDATE gristmill.jobs SET run_at = now() WHERE finished_at IS NULL")
            connection.exec_driver_sql("UPDATE gristmill.chunks SET run_at = now() WHERE state = 'waiting'")
        promote_scheduled(app.gristmill.database)
        app.work()
        assert app.http.get(link).json()["error"]["code"] == "hierarchy_changed"
        assert len(app.rows(below)) == 1

    def test_a_dataset_below_that_was_renamed_since_is_known(self, app: InProcess, world: Geography) -> None:
        other = f"{world.cities}_new"
        assert app.http.post(f"/api/v1/datasets/{world.cities}/rename", json={"name": other}).status_code == 202
        job = app.job(app.http.delete(app.key(world.countries, "France")))
        assert job["result"] == {"deleted": 1, "cascaded": {other: 2}}

    def test_records_of_a_parents_dataset_are_never_deleted_by_age(self, app: InProcess) -> None:
        fields = [NAME, {"name": "at", "type": "timestamp"}]
        name = app.dataset({"fields": fields, "key": ["name"], "time_field": "at"})
        aged = app.dataset({"fields": fields, "key": ["name"], "time_field": "at", "keep": "30d"})
        child = {"fields": [NAME, field_of("of")], "key": ["name"]}
        body = {**child, "name": "late", "parents": [{"field": "of", "dataset": aged}]}
        answer = app.http.post("/api/v1/datasets", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "parent_expires")
        app.dataset({**child, "parents": [{"field": "of", "dataset": name}]})
        answer = app.http.patch(f"/api/v1/datasets/{name}", json={"keep": "30d"})
        assert (answer.status_code, answer.json()["code"]) == (409, "has_children")
