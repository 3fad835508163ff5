"""PATCH of children and parents: limits hold, at once where it can be known, else in the job, and both say the same."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.hierarchy import AREA, LIMITS, NAME, Geography, area, field_of
from tests.support.in_process import InProcess

from gristmill.datasets.parents.relations import Relations

pytestmark = pytest.mark.promise(3)
# What an error says, but for the request that it came with.
SAID = ("code", "detail", "errors", "limit", "parent", "children", "value", "used", "asked")


@pytest.fixture
def world(app: InProcess) -> Geography:
    found = Geography(app)
    found.put(found.continents, area("Europe", 100, 100), area("Asia", 100, 100))
    found.put(
        found.countries, area("France", 60, 10, continent="Europe"), area("Spain", 40, 10, continent="Europe"),
        area("Japan", 40, 10, continent="Asia"),
    )  # fmt: skip
    found.put(found.cities, area("Paris", 30, 5, country="France"), area("Lyon", 20, 5, country="France"))
    return found


def one(world: Geography, name: str, key: str, changes: Any) -> Callable[[], Any]:
    return lambda: world.app.http.patch(world.app.key(name, key), json=changes)


def many(world: Geography, name: str, where: Any, changes: Any) -> Callable[[], Any]:
    body = {"where": where, "changes": changes}
    return lambda: world.app.http.patch(f"/api/v1/datasets/{name}/records", json=body)


def refused(world: Geography, name: str, call: Callable[[], Any], code: str) -> Any:
    """What is refused at once, and by the job, in the same words."""
    app = world.app
    before = [sorted(map(str, app.rows(one))) for one in (world.continents, world.countries, world.cities)]
    answer = call()
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, code), problem
    # Something that changes nothing is unfinished.
    app.post(name, {"where": {"name": "nothing"}}, "records/delete")
    job = app.job(call())
    assert job["state"] == "failed", job
    assert {name: job["error"].get(name) for name in SAID} == {name: problem.get(name) for name in SAID}
    assert before == [sorted(map(str, app.rows(one))) for one in (world.continents, world.countries, world.cities)]
    return problem


class TestChild:
    def test_more_than_is_left_is_refused(self, world: Geography) -> None:
        problem = refused(world, world.cities, one(world, world.cities, "Lyon", {"area": 31}), "limit_exceeded")
        assert (problem["value"], problem["used"], problem["asked"]) == (60, 30, 31)
        assert world.app.job(one(world, world.cities, "Lyon", {"area": 30})())["state"] == "succeeded"

    def test_another_parent_has_to_be_there_and_to_have_room(self, world: Geography) -> None:
        refused(world, world.cities, one(world, world.cities, "Lyon", {"country": "Peru"}), "parent_missing")
        call = one(world, world.cities, "Paris", {"country": "Spain", "area": 41})
        problem = refused(world, world.cities, call, "limit_exceeded")
        assert (problem["parent"]["key"], problem["used"]) == ("Spain", 0)
        assert world.app.job(one(world, world.cities, "Paris", {"country": "Spain"})())["state"] == "succeeded"
        assert world.app.job(one(world, world.cities, "Lyon", {"area": 60})())["state"] == "succeeded"

    def test_other_fields_are_changed_whatever_the_limits(self, app: InProcess) -> None:
        fields = [NAME, AREA, {"name": "text", "type": "text"}, field_of("of")]
        above = app.dataset({"fields": [NAME, AREA], "key": ["name"]})
        spec = {"field": "of", "dataset": above, "limits": LIMITS[:1]}
        name = app.dataset({"fields": fields, "key": ["name"], "parents": [spec]})
        app.job(app.post(above, [{"name": "a", "area": 1}]))
        app.job(app.post(name, [{"name": "x", "area": 1, "of": "a"}]))
        job = app.job(app.http.patch(app.key(name, "x"), json={"text": "new"}))
        assert job["state"] == "succeeded"
        with app.gristmill.database.autocommit() as connection:
            query = "SELECT count(*) FROM gristmill.further_scopes WHERE job_id = %(id)s"
            assert connection.exec_driver_sql(query, {"id": job["id"]}).scalar() == 0

    def test_by_filter_the_sum_of_all_counts(self, world: Geography) -> None:
        call = many(world, world.cities, {"country": "France"}, {"area": 31})
        problem = refused(world, world.cities, call, "limit_exceeded")
        assert (problem["value"], problem["used"], problem["asked"]) == (60, 0, 62)
        call = many(world, world.cities, {}, {"country": "Japan", "area": 21})
        problem = refused(world, world.cities, call, "limit_exceeded")
        assert (problem["parent"]["key"], problem["asked"]) == ("Japan", 42)
        refused(world, world.cities, many(world, world.cities, {}, {"country": "Peru"}), "parent_missing")
        job = world.app.job(many(world, world.cities, {}, {"country": "Japan", "area": 20})())
        assert job["result"] == {"changed": 2}

    def test_a_computed_field_that_a_limit_measures_is_measured_as_it_becomes(self, app: InProcess) -> None:
        above = app.dataset({"fields": [NAME, AREA], "key": ["name"]})
        fields = [
            NAME, field_of("of"), {"name": "side", "type": "integer"},
            {"name": "area", "type": "integer", "minimum": 0, "computed": True},
        ]  # fmt: skip
        name = app.dataset(
            {
                "fields": fields,
                "key": ["name"],
                "pipeline": [{"op": "derive", "as": "area", "value": "side * side"}],
                "parents": [{"field": "of", "dataset": above, "limits": LIMITS[:1]}],
            }
        )
        app.job(app.post(above, [{"name": "a", "area": 100}]))
        app.job(app.post(name, [{"name": "x", "side": 8, "of": "a"}, {"name": "y", "side": 5, "of": "a"}]))
        answer = app.http.patch(app.key(name, "y"), json={"side": 7})
        assert (answer.status_code, answer.json()["asked"]) == (409, 49)
        assert app.job(app.http.patch(app.key(name, "y"), json={"side": 6}))["state"] == "succeeded"

    def test_children_without_a_key_are_measured_by_filter_too(self, app: InProcess) -> None:
        above = app.dataset({"fields": [NAME, AREA], "key": ["name"]})
        spec = {"field": "of", "dataset": above, "limits": LIMITS[:1]}
        name = app.dataset({"fields": [AREA, field_of("of")], "parents": [spec]})
        app.job(app.post(above, [{"name": "a", "area": 10}]))
        app.job(app.post(name, [{"area": 2, "of": "a"}] * 3))
        answer = app.http.patch(f"/api/v1/datasets/{name}/records", json={"where": {}, "changes": {"area": 4}})
        assert (answer.status_code, answer.json()["code"]) == (409, "limit_exceeded")
        answer = app.http.patch(f"/api/v1/datasets/{name}/records", json={"where": {}, "changes": {"area": 3}})
        assert app.job(answer)["state"] == "succeeded"


class TestParent:
    def test_it_is_not_lowered_below_its_children(self, world: Geography) -> None:
        problem = refused(world, world.countries, one(world, world.countries, "France", {"area": 49}), "limit_exceeded")
        assert (problem["value"], problem["used"]) == (49, 50)
        assert world.app.job(one(world, world.countries, "France", {"area": 50})())["state"] == "succeeded"

    def test_by_filter_each_is_looked_at(self, world: Geography) -> None:
        call = many(world, world.countries, {"name": {"in": ["France", "Japan"]}}, {"area": 49})
        problem = refused(world, world.countries, call, "limit_exceeded")
        assert problem["parent"]["key"] == "France"
        job = world.app.job(many(world, world.countries, {}, {"area": 50})())
        assert (job["state"], job["result"]) == ("succeeded", {"changed": 3})

    def test_a_bound_that_is_null_holds_nothing_back(self, world: Geography) -> None:
        assert world.app.job(one(world, world.countries, "France", {"population": None})())["state"] == "succeeded"
        assert world.app.job(one(world, world.cities, "Paris", {"population": 10**9})())["state"] == "succeeded"
        refused(world, world.countries, one(world, world.countries, "France", {"population": 5}), "limit_exceeded")


class TestOrder:
    def test_a_parent_lowered_and_a_child_raised_are_judged_one_after_the_other(self, world: Geography) -> None:
        app = world.app
        calls = [one(world, world.countries, "France", {"area": 50}), one(world, world.cities, "Lyon", {"area": 21})]
        for first in (0, 1):
            # Something that changes nothing is unfinished, so that the jobs decide.
            for name in (world.countries, world.cities):
                app.post(name, {"where": {"name": "nothing"}}, "records/delete")
            answers = [calls[first](), calls[1 - first]()]
            states = [app.job(answer)["state"] for answer in answers]
            assert states == ["succeeded", "failed"]
            app.job(one(world, world.cities, "Lyon", {"area": 20})())
            app.job(one(world, world.countries, "France", {"area": 60})())

    def test_a_record_that_moves_below_another_parent_makes_room(self, world: Geography) -> None:
        app = world.app
        for name in (world.countries, world.cities):
            app.post(name, {"where": {"name": "nothing"}}, "records/delete")
        moved = one(world, world.cities, "Paris", {"country": "Spain"})()
        raised = one(world, world.cities, "Lyon", {"area": 60})()
        assert [app.job(answer)["state"] for answer in (moved, raised)] == ["succeeded", "succeeded"]

    def test_two_that_move_a_child_below_the_others_parent(self, world: Geography) -> None:
        """Each would fit if the other one had gone first; neither does."""
        app = world.app
        world.put(world.cities, area("Madrid", 30, 0, country="Spain"))
        for name in (world.countries, world.cities):
            app.post(name, {"where": {"name": "nothing"}}, "records/delete")
        calls = [("Lyon", {"country": "Spain"}), ("Madrid", {"country": "France"}), ("Madrid", {"area": 10})]
        answers = [one(world, world.cities, *call)() for call in calls]
        jobs = [app.job(answer) for answer in answers]
        assert [job["state"] for job in jobs] == ["failed", "failed", "succeeded"]
        assert {job["error"]["code"] for job in jobs[:2]} == {"limit_exceeded"}
        # With less on one side both find room.
        answers = [one(world, world.cities, *call)() for call in reversed(calls[:2])]
        assert [app.job(answer)["state"] for answer in answers] == ["succeeded", "succeeded"]


def test_the_checks_cost_nothing_where_there_are_no_relations(app: InProcess, monkeypatch: Any) -> None:
    name = app.dataset({"fields": [NAME, AREA], "key": ["name"]})
    app.job(app.post(name, [{"name": "a", "area": 1}]))
    seen: list[str] = []
    for method in ("of", "above", "below"):
        monkeypatch.setattr(Relations, method, lambda *_, method=method: seen.append(method))
    monkeypatch.setattr("gristmill.records.changes.writes.all_below", lambda *_: seen.append("all_below"))
    assert app.job(app.http.patch(app.key(name, "a"), json={"area": 2}))["state"] == "succeeded"
    assert app.job(app.http.delete(app.key(name, "a")))["state"] == "succeeded"
    assert app.job(app.post(name, {"where": {}}, "records/delete"))["state"] == "succeeded"
    assert seen == []


def test_other_fields_of_a_parent_are_not_tried_out_when_they_are_submitted(world: Geography, monkeypatch: Any) -> None:
    tried: list[Any] = []
    monkeypatch.setattr("gristmill.records.changes.early.undone", lambda *_: tried.append(1))
    app = world.app
    fields = [NAME, AREA, {"name": "text", "type": "text"}]
    above = app.dataset({"fields": fields, "key": ["name"]})
    spec = {"field": "of", "dataset": above, "limits": LIMITS[:1]}
    app.dataset({"fields": [NAME, AREA, field_of("of")], "key": ["name"], "parents": [spec]})
    app.job(app.post(above, [{"name": "a", "area": 1}]))
    assert app.job(app.http.patch(app.key(above, "a"), json={"text": "new"}))["state"] == "succeeded"
    assert app.job(many(world, above, {}, {"text": "newer"})())["state"] == "succeeded"
    assert not tried
