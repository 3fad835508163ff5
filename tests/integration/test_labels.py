"""Which labels jobs have: names, values, counts; bounded."""

from typing import Any

import pytest
from tests.support.in_process import InProcess

from gristmill.jobs import service
from gristmill.jobs.repository import labels

URL = "/api/v1/jobs/labels"
ONE = {"fields": [{"name": "id", "type": "integer", "required": True}], "key": ["id"]}


def get(app: InProcess, **parameters: Any) -> Any:
    answer = app.http.get(URL, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def label(app: InProcess, name: str, *pairs: str) -> None:
    assert app.post(name, [{"id": 1}], params={"label": list(pairs)}).status_code == 202


def test_labels_have_their_values_and_counts_the_frequent_first(app: InProcess) -> None:
    assert get(app) == {"labels": [], "labels_total": 0, "jobs": 0, "complete": True}
    name, other = app.dataset(ONE), app.dataset(ONE)
    for pairs in (["run=b", "who=é"], ["run=b"], ["run=a"], []):
        label(app, name, *pairs)
    label(app, other, "run=c")
    assert get(app) == {
        "labels": [
            {
                "name": "run",
                "jobs": 4,
                "values_total": 3,
                "values": [{"value": "b", "jobs": 2}, {"value": "a", "jobs": 1}, {"value": "c", "jobs": 1}],
            },
            {"name": "who", "jobs": 1, "values_total": 1, "values": [{"value": "é", "jobs": 1}]},
        ],
        "labels_total": 2,
        "jobs": 7,
        "complete": True,
    }
    (run,) = get(app, name="run", dataset=name, values=1)["labels"]
    assert run == {"name": "run", "jobs": 3, "values_total": 2, "values": [{"value": "b", "jobs": 2}]}
    assert get(app, type="dataset.create")["labels"] == []
    assert [found["name"] for found in get(app, name="who")["labels"]] == ["who"]


def test_what_is_looked_at_and_listed_is_bounded(app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MOST_JOBS", 3)
    monkeypatch.setattr(service, "MOST_JOBS", 3)
    monkeypatch.setattr(labels, "MOST_NAMES", 2)
    name = app.dataset(ONE)
    label(app, name, "old=1")
    for number in range(3):
        label(app, name, f"a={number}", f"b={number}", f"c={number}")
    found = get(app, values=2)
    assert (found["jobs"], found["complete"], found["labels_total"]) == (3, False, 3)
    assert [(one["name"], one["values_total"], len(one["values"])) for one in found["labels"]] == [
        ("a", 3, 2),
        ("b", 3, 2),
    ]


@pytest.mark.parametrize(
    "parameters", [{"values": 0}, {"values": 1001}, {"values": "x"}, {"name": "a\0"}, {"nmae": "a"}]
)  # fmt: skip
def test_a_bad_parameter_is_named(app: InProcess, parameters: dict[str, Any]) -> None:
    answer = app.http.get(URL, params=parameters)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"/query/{next(iter(parameters))}"


def test_a_job_is_still_found_by_its_id(app: InProcess) -> None:
    assert app.http.get("/api/v1/jobs/label").json()["code"] == "unknown_job"
