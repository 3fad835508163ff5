"""Parents in a contract: what is declared, altered, refused, and what then cannot be dropped, renamed or aged."""

import json
from typing import Any

import pytest
from tests.support.hierarchy import AREA, NAME, PEOPLE, Geography, field_of
from tests.support.in_process import InProcess


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
