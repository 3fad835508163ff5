"""Records beside their parents: those that are there, those that are not, and limits that hold, at once and in jobs."""

import json
from typing import Any

import pytest
from tests.support.hierarchy import AREA, NAME, Geography, area, field_of
from tests.support.in_process import InProcess


@pytest.fixture
def world(app: InProcess) -> Geography:
    found = Geography(app)
    found.put(found.continents, area("Europe", 100, 1000), area("Asia", 50, 500))
    found.put(found.countries, area("France", 60, 600, continent="Europe"), area("Spain", 40, 400, continent="Europe"))
    return found


@pytest.fixture
def free(app: InProcess) -> Geography:
    """The same without limits."""
    found = Geography(app, limits=())
    found.put(found.continents, area("Europe", 100, 1000), area("Asia", 50, 500))
    return found


def failed(job: Any) -> Any:
    assert job["state"] == "failed", job
    return job["error"]


class TestParents:
    def test_a_parent_that_is_not_there_is_refused_at_once(self, free: Geography) -> None:
        answer = free.post(free.countries, area("A", 1, continent="Europe"), area("B", 1, continent="Mu"))
        assert answer.status_code == 409, answer.text
        problem = answer.json()
        assert problem["code"] == "parent_missing"
        assert problem["parent"] == {"dataset": free.continents, "key": "Mu"}
        assert problem["errors"][0]["pointer"] == "/1/continent"
        assert free.names(free.countries) == []

    def test_a_parent_that_is_queued_counts_as_there(self, free: Geography) -> None:
        first = free.post(free.continents, area("Africa", 10))
        second = free.post(free.countries, area("Kenya", 1, continent="Africa"))
        assert (first.status_code, second.status_code) == (202, 202), second.text
        assert free.app.job(second)["state"] == "succeeded"
        assert free.names(free.countries) == ["Kenya"]

    def test_a_parent_that_comes_later_does_not_count(self, free: Geography) -> None:
        free.post(free.continents, area("Africa", 10))
        early = free.post(free.countries, area("Fiji", 1, continent="Oceania"))
        late = free.post(free.continents, area("Oceania", 10))
        assert (early.status_code, late.status_code) == (202, 202), early.text
        error = failed(free.app.job(early))
        assert (error["code"], error["parent"]["key"]) == ("parent_missing", "Oceania")
        assert free.names(free.continents) == ["Africa", "Asia", "Europe", "Oceania"]

    def test_children_whose_parents_are_there_run_beside_each_other(self, free: Geography) -> None:
        for name in ("A", "B", "C"):
            assert free.post(free.countries, area(name, 1, continent="Europe")).status_code == 202
        with free.app.gristmill.database.autocommit() as connection:
            rows = connection.exec_driver_sql(
                "SELECT exclusive FROM gristmill.further_scopes WHERE scope = %s", (f"dataset:{free.continents}",)
            ).all()
        # The other is of the job that made the dataset.
        assert {row[0] for row in rows} == {False}
        assert free.app.work() == 3

    def test_a_null_is_no_parent(self, app: InProcess, free: Geography) -> None:
        free.create("none_" + free.cities, [NAME, AREA, {**field_of("country"), "required": False}], "country")
        assert free.put("none_" + free.cities, {"name": "Atlantis", "area": 5})["state"] == "succeeded"


class TestLimits:
    def test_what_is_beyond_the_limit_is_refused_at_once_with_its_figures(self, world: Geography) -> None:
        answer = world.post(world.countries, area("Italy", 30, continent="Europe"))
        assert answer.status_code == 409, answer.text
        problem = answer.json()
        assert problem["code"] == "limit_exceeded"
        figures = {name: problem[name] for name in ("limit", "value", "used", "asked", "children")}
        assert figures == {
            "limit": {"sum": "area", "at_most": "area"},
            "value": 100,
            "used": 100,
            "asked": 30,
            "children": world.countries,
        }
        assert problem["errors"][0]["pointer"] == "/0/area"

    def test_the_job_says_the_same(self, world: Geography) -> None:
        at_once = world.post(world.countries, area("Italy", 30, continent="Europe")).json()
        # Something unfinished: the job has to find out.
        world.post(world.countries, area("Japan", 1, continent="Asia"))
        queued = world.post(world.countries, area("Italy", 30, continent="Europe"))
        error = failed(world.app.job(queued))
        for name in ("code", "detail", "limit", "parent", "value", "used", "asked", "errors"):
            assert error[name] == at_once[name], name

    def test_a_record_that_is_replaced_does_not_count(self, world: Geography) -> None:
        assert world.put(world.countries, area("Spain", 39, 400, continent="Europe"))["state"] == "succeeded"
        assert world.put(world.countries, area("Spain", 40, 400, continent="Europe"))["state"] == "succeeded"
        answer = world.post(world.countries, area("Spain", 41, 400, continent="Europe"))
        assert (answer.status_code, answer.json()["used"], answer.json()["asked"]) == (409, 60, 41)

    def test_a_parent_is_not_lowered_below_its_children(self, world: Geography) -> None:
        answer = world.post(world.continents, area("Europe", 99, 1000))
        assert answer.status_code == 409, answer.text
        assert {"value": 99, "used": 100}.items() <= answer.json().items()
        world.post(world.continents, area("Africa", 1))
        assert failed(world.app.job(world.post(world.continents, area("Europe", 99, 1000))))["code"] == "limit_exceeded"
        assert world.put(world.continents, area("Europe", 101, 1000))["state"] == "succeeded"

    def test_of_many_queued_creates_as_many_succeed_as_fit(self, world: Geography) -> None:
        answers = [world.post(world.cities, area(f"C{n:02}", 7, country="France")) for n in range(20)]
        jobs = [world.app.job(answer) for answer in answers if answer.status_code == 202]
        states = [job["state"] for job in jobs]
        assert states.count("succeeded") == 8
        assert all(failed(job)["code"] == "limit_exceeded" for job in jobs if job["state"] != "succeeded")
        assert len(world.names(world.cities)) == 8

    def test_merge_is_checked_too(self, world: Geography) -> None:
        options = {"params": {"mode": "merge"}}
        job = world.app.job(world.post(world.countries, {"name": "Spain", "area": 41}, **options))
        assert failed(job)["code"] == "limit_exceeded"
        answer = world.post(world.countries, {"name": "Spain", "continent": "Mu"}, **options)
        assert (answer.status_code, answer.json()["code"]) == (409, "parent_missing")
        world.post(world.continents, area("Africa", 1))
        job = world.app.job(world.post(world.countries, {"name": "Spain", "continent": "Mu"}, **options))
        assert failed(job)["code"] == "parent_missing"


class TestQuarantine:
    def rejects(self, world: Geography, job: Any) -> list[Any]:
        answer = world.app.http.get(f"/api/v1/jobs/{job['id']}/rejects")
        assert answer.status_code == 200, answer.text
        return [
            (one["record"], one["raw"], [error["code"] for error in one["errors"]]) for one in answer.json()["rejects"]
        ]

    def test_those_that_fit_go_on_each_judged_after_those_before_it(self, world: Geography) -> None:
        records = [
            area("Lyon", 50, country="France"),
            area("Troy", 1, country="Ilion"),
            area("Paris", 20, country="France"),
            area("Nice", 10, country="France"),
            area("Lyon", 45, country="France"),
            area("Brest", 5, country="France"),
            area("Metz", 1, country="France"),
        ]
        job = world.put(world.cities, *records, params={"on_error": "quarantine"})
        assert job["state"] == "succeeded", job
        assert job["record_counts"] == {"total": 7, "succeeded": 3, "rejected": 3, "superseded": 1, "dropped": 0}
        assert [(place, codes) for place, _, codes in self.rejects(world, job)] == [
            (1, ["parent_missing"]),
            (2, ["limit_exceeded"]),
            (6, ["limit_exceeded"]),
        ]
        assert world.names(world.cities) == ["Brest", "Lyon", "Nice"]

    def test_parents_below_their_children_are_kept_back(self, world: Geography) -> None:
        records = [area("Europe", 99, 1000), area("Asia", 1, 1), area("Africa", 3)]
        job = world.put(world.continents, *records, params={"on_error": "quarantine"})
        assert (job["state"], job["record_counts"]["succeeded"]) == ("succeeded", 2), job
        assert [(place, codes) for place, _, codes in self.rejects(world, job)] == [(0, ["limit_exceeded"])]

    def test_what_was_kept_back_goes_in_when_there_is_room(self, world: Geography) -> None:
        job = world.put(world.cities, area("Lyon", 61, country="France"), params={"on_error": "quarantine"})
        assert job["record_counts"]["rejected"] == 1
        assert world.put(world.continents, area("Europe", 200, 1000))["state"] == "succeeded"
        assert world.put(world.countries, area("France", 100, 600, continent="Europe"))["state"] == "succeeded"
        raw = [one["raw"] for one in world.app.http.get(f"/api/v1/jobs/{job['id']}/rejects").json()["rejects"]]
        again = world.put(world.cities, *map(json.loads, raw), params={"retry_of": job["id"]})
        assert again["state"] == "succeeded", again
        assert world.names(world.cities) == ["Lyon"]
