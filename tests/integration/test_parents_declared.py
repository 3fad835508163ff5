"""Parents in a contract: what is declared, altered, refused, and what then cannot be dropped, renamed or aged."""

import json
from typing import Any

import pytest
from tests.support.hierarchy import AREA, NAME, PEOPLE, Geography, area, field_of
from tests.support.in_process import InProcess


@pytest.fixture
def app(fresh_app: InProcess) -> InProcess:
    """They look into its database."""
    return fresh_app


@pytest.fixture
def world(app: InProcess) -> Geography:
    return Geography(app)


def refused(answer: Any, status: int, code: str) -> Any:
    assert answer.status_code == status, answer.text
    problem = answer.json()
    codes = [problem["code"], *(error["code"] for error in problem.get("errors", []))]
    assert code in codes, problem
    return problem


class TestDeclare:
    def test_the_contract_reads_back_with_its_parents(self, app: InProcess, world: Geography) -> None:
        contract = app.http.get(f"/api/v1/datasets/{world.countries}").json()["contract"]
        assert contract["parents"] == [
            {
                "field": "continent",
                "dataset": world.continents,
                "on_delete": "refuse",
                "on_rename": "refuse",
                "limits": [{"sum": "area", "at_most": "area"}, {"sum": "population", "at_most": "population"}],
            }
        ]

    def test_a_parent_cannot_be_dropped_renamed_or_aged(self, app: InProcess, world: Geography) -> None:
        url = f"/api/v1/datasets/{world.continents}"
        dropped = app.http.delete(url, params={"confirm": world.continents})
        assert world.countries in refused(dropped, 409, "has_children")["detail"]
        refused(app.http.post(f"{url}/rename", json={"name": "other"}), 409, "has_children")
        added = {"add_fields": [{"name": "at", "type": "timestamp"}]}
        assert app.job(app.http.patch(url, json=added))["state"] == "succeeded"

    @pytest.mark.parametrize(
        ("parent", "code"),
        [
            ({"field": "nowhere"}, "unknown_field"),
            ({"dataset": "nowhere"}, "unknown_dataset"),
            ({"field": "population"}, "wrong_type"),
            ({"limits": [{"sum": "name", "at_most": "area"}]}, "wrong_type"),
            ({"limits": [{"sum": "area", "at_most": "name"}]}, "wrong_type"),
            ({"limits": [{"sum": "area", "at_most": "areas"}]}, "unknown_field"),
            ({"limits": [{"sum": "areas", "at_most": "area"}]}, "unknown_field"),
            ({"limits": [{"sum": "area"}]}, "one_bound"),
            ({"limits": [{"sum": "area", "at_most": 1, "at_least": 0}]}, "one_bound"),
            ({"limits": [{"sum": "area", "count": True, "at_most": 1}]}, "one_measure"),
            ({"limits": [{"at_most": 1}]}, "one_measure"),
            ({"limits": [{"count": False, "at_most": 1}]}, "one_measure"),
            ({"limits": [{"count": True, "at_least": 1}]}, "not_applicable"),
            ({"limits": [{"min": "area", "at_most": 1}]}, "not_applicable"),
            ({"limits": [{"max": "area", "at_least": 1}]}, "not_applicable"),
            ({"limits": [{"sum": "free", "at_most": 1}]}, "may_be_negative"),
            ({"limits": [{"sum": "area", "at_most": True}]}, "wrong_type"),
            ({"limits": [{"sum": "area", "at_most": [1]}]}, "wrong_type"),
            ({"limits": [{"sum": "area", "at_most": 1e400}]}, "invalid"),
            ({"limits": [{"count": True, "at_most": 1}] * 21}, "too_many"),
            ({"on_delete": "set null"}, "unknown_value"),
            ({"colour": 1}, "unknown_member"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_its_place(self, world: Geography, parent: Any, code: str) -> None:
        free = {"name": "free", "type": "integer"}
        body = {
            "name": "towns",
            "fields": [NAME, AREA, PEOPLE, free, field_of("country")],
            "key": ["name"],
            "parents": [{"field": "country", "dataset": world.countries, **parent}],
        }
        # As text: Python writes infinity otherwise, which is no JSON.
        raw = json.dumps(body).replace("Infinity", "1e400")
        answer = world.app.http.post("/api/v1/datasets", content=raw, headers={"content-type": "application/json"})
        problem = refused(answer, 422, code)
        assert all(error["pointer"].startswith("/parents") for error in problem["errors"]), problem

    def test_datasets_form_no_circle(self, app: InProcess, world: Geography) -> None:
        itself = {"parents": [{"field": "name", "dataset": world.continents}]}
        refused(app.http.patch(f"/api/v1/datasets/{world.continents}", json=itself), 422, "cycle")
        around = {
            "add_fields": [{**field_of("capital"), "required": False}],
            "parents": [{"field": "capital", "dataset": world.cities}],
        }
        problem = refused(app.http.patch(f"/api/v1/datasets/{world.continents}", json=around), 422, "cycle")
        assert f"{world.continents} -> {world.cities} -> {world.countries}" in problem["detail"]

    def test_a_parent_needs_a_key_of_one_field_of_the_same_type_and_form(self, app: InProcess) -> None:
        pair = app.dataset({"fields": [NAME, {**NAME, "name": "other"}], "key": ["name", "other"]})
        none = app.dataset({"fields": [NAME]})
        plain = app.dataset({"fields": [{**NAME, "normalize": None}], "key": ["name"]})
        aged = app.dataset(
            {
                "fields": [NAME, {"name": "at", "type": "timestamp"}],
                "key": ["name"],
                "time_field": "at",
                "keep": "30d",
            }
        )
        app.work()
        for parent, code in (
            (pair, "not_one_key_field"),
            (none, "not_one_key_field"),
            (plain, "other_normal_form"),
            (aged, "parent_expires"),
        ):
            body = {"name": "towns", "fields": [NAME, field_of("country")], "key": ["name"]}
            parents = [{"field": "country", "dataset": parent}]
            refused(app.http.post("/api/v1/datasets", json={**body, "parents": parents}), 422, code)

    def test_renaming_cascades_not_into_what_something_is_made_of(self, world: Geography) -> None:
        body = {
            "name": "towns",
            "fields": [NAME, field_of("country"), {"name": "shown", "type": "text", "computed": True}],
            "key": ["name"],
            "pipeline": [{"op": "derive", "as": "shown", "value": "upper(country)"}],
            "parents": [{"field": "country", "dataset": world.countries, "on_rename": "cascade"}],
        }
        refused(world.app.http.post("/api/v1/datasets", json=body), 422, "not_applicable")


class TestChange:
    def test_limits_that_stored_records_break_are_not_declared(self, app: InProcess) -> None:
        world = Geography(app, limits=())
        world.put(world.continents, area("Europe", 10))
        world.put(world.countries, area("A", 6, continent="Europe"), area("B", 5, continent="Europe"))
        url = f"/api/v1/datasets/{world.countries}"
        parent = {"field": "continent", "dataset": world.continents}
        limited = {"parents": [{**parent, "limits": [{"sum": "area", "at_most": "area"}]}]}
        job = app.job(app.http.patch(url, json=limited))
        assert (job["state"], job["error"]["code"]) == ("failed", "limit_exceeded")
        assert (job["error"]["value"], job["error"]["used"]) == (10, 11)
        assert "limits" not in app.http.get(url).json()["contract"]["parents"][0]
        assert world.put(world.continents, area("Europe", 11))["state"] == "succeeded"
        assert app.job(app.http.patch(url, json=limited))["state"] == "succeeded"
        refused(world.post(world.countries, area("C", 1, continent="Europe")), 409, "limit_exceeded")

    def test_parents_that_stored_records_lack_are_not_declared(self, app: InProcess) -> None:
        world = Geography(app, limits=())
        fields = [NAME, {**field_of("country"), "required": False}]
        world.create(f"towns_{world.cities}", fields)
        world.put(f"towns_{world.cities}", {"name": "Paris", "country": "France"}, {"name": "Rome", "country": None})
        url = f"/api/v1/datasets/towns_{world.cities}"
        change = {"parents": [{"field": "country", "dataset": world.countries}]}
        job = app.job(app.http.patch(url, json=change))
        assert (job["state"], job["error"]["code"]) == ("failed", "parent_missing")
        assert job["error"]["parent"] == {"dataset": world.countries, "key": "France"}
        assert "parents" not in app.http.get(url).json()["contract"]

    def test_parents_are_taken_back(self, app: InProcess, world: Geography) -> None:
        url = f"/api/v1/datasets/{world.countries}"
        assert app.job(app.http.patch(url, json={"parents": []}))["state"] == "succeeded"
        assert world.put(world.countries, area("A", 1, continent="Mu"))["state"] == "succeeded"
        dropped = app.http.delete(f"/api/v1/datasets/{world.continents}", params={"confirm": world.continents})
        assert app.job(dropped)["state"] == "succeeded"

    def test_a_parent_keeps_what_its_children_need(self, app: InProcess, world: Geography) -> None:
        timed = {"add_fields": [{"name": "at", "type": "timestamp"}]}
        url = f"/api/v1/datasets/{world.countries}"
        assert app.job(app.http.patch(url, json=timed))["state"] == "succeeded"
        free = {"alter_fields": [{"name": "area", "minimum": None}]}
        # A sum of what may be negative could be broken by a deletion.
        refused(app.http.patch(url, json=free), 422, "may_be_negative")

    def test_a_child_of_a_dropped_dataset(self, app: InProcess, world: Geography) -> None:
        for name in (world.cities, world.countries, world.continents):
            answer = app.http.delete(f"/api/v1/datasets/{name}", params={"confirm": name})
            assert app.job(answer)["state"] == "succeeded", answer.text
        body = {"name": "towns", "fields": [NAME, field_of("country")], "key": ["name"]}
        parents = [{"field": "country", "dataset": world.countries}]
        refused(app.http.post("/api/v1/datasets", json={**body, "parents": parents}), 422, "unknown_dataset")

    def test_a_copy_has_the_parents_too(self, app: InProcess, world: Geography) -> None:
        world.put(world.continents, area("Europe", 10))
        world.put(world.countries, area("A", 6, continent="Europe"))
        copy = f"copy_{world.countries}"
        app.work()
        answer = app.http.post(f"/api/v1/datasets/{world.countries}/copy", json={"name": copy})
        assert answer.status_code == 202, answer.text
        app.work(queue="long")
        assert world.names(copy) == ["A"]
        refused(world.post(copy, area("B", 5, continent="Europe")), 409, "limit_exceeded")
        dropped = app.http.delete(f"/api/v1/datasets/{world.continents}", params={"confirm": world.continents})
        assert copy in refused(dropped, 409, "has_children")["datasets"]

    def test_a_child_whose_parents_dataset_fails_fails_too(self, app: InProcess, database: Any) -> None:
        name = f"parent_{next(app.names)}_declared"
        with database.transaction() as connection:
            connection.exec_driver_sql(f"CREATE TABLE data.{name} (x int)")
        above = app.http.post("/api/v1/datasets", json={"name": name, "fields": [NAME], "key": ["name"]})
        body = {"name": f"{name}_below", "fields": [NAME, field_of("country")], "key": ["name"]}
        parents = [{"field": "country", "dataset": name}]
        below = app.http.post("/api/v1/datasets", json={**body, "parents": parents})
        assert (above.status_code, below.status_code) == (202, 202), below.text
        assert app.job(above)["error"]["code"] == "table_exists"
        job = app.job(below)
        assert (job["state"], job["error"]["code"]) == ("failed", "dataset_failed")
