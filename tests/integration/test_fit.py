"""Steps that are fitted to what is stored: the statistics are a version of the contract."""

import statistics as plain
from typing import Any

import pytest
from tests.support.in_process import InProcess, Job

READINGS: Job = {
    "name": "readings",
    "fields": [
        {"name": "n", "type": "integer", "required": True},
        {"name": "x", "type": "float"},
        {"name": "d", "type": "decimal"},
        *({"name": name, "type": "float", "computed": True} for name in ("z", "share", "spread")),
    ],
    "key": ["n"],
    "pipeline": [
        {"op": "normalise", "column": "x", "as": "z"},
        {"op": "normalise", "column": "n", "as": "share", "method": "minmax"},
        {"op": "normalise", "column": "d", "as": "spread", "method": "robust"},
    ],
}
XS = [1.0, 2.5, None, 7.25, -3.0]
DS = ["1", "2", "4", "8", None]
SENT = [{"n": n * 10, "x": x, "d": d} for n, (x, d) in enumerate(zip(XS, DS, strict=True))]


def submitted(app: InProcess, answer: Any) -> Job:
    assert answer.status_code == 202, answer.text
    app.work()
    app.work(queue="long")
    return app.job(answer)


def fit(app: InProcess, name: str, **body: Any) -> Job:
    return submitted(app, app.post(name, body, path="fit"))


def test_the_values_are_scaled_once_they_are_fitted(app: InProcess) -> None:
    name = app.dataset(READINGS)
    app.job(app.post(name, SENT))
    assert {row["z"] for row in app.rows(name)} == {None}
    job = fit(app, name)
    given = [x for x in XS if x is not None]
    mean, deviation = plain.fmean(given), plain.pstdev(given)
    assert job["state"] == "succeeded", job["error"]
    assert job["result"]["version"] == 2
    assert job["result"]["fitted"]["0"] == {
        "mean": pytest.approx(mean, 1e-12),
        "deviation": pytest.approx(deviation, 1e-12),
    }
    assert job["result"]["fitted"]["1"] == {"minimum": 0.0, "maximum": 40.0}
    assert job["result"]["fitted"]["2"] == {"median": 3.0, "lower_quartile": 1.75, "upper_quartile": 5.0}
    shown = app.http.get(f"/api/v1/datasets/{name}").json()
    assert shown["version"] == 2
    assert [step["fitted"] for step in shown["contract"]["pipeline"]] == list(job["result"]["fitted"].values())
    assert {row["z"] for row in app.rows(name)} == {None}
    recomputed = submitted(app, app.post(name, {}, path="recompute"))
    assert recomputed["result"] == {"records": 5, "changed": 5}
    rows = app.rows(name)
    assert [row["z"] for row in rows] == [
        None if x is None else pytest.approx((x - mean) / deviation, 1e-12) for x in XS
    ]
    assert [row["share"] for row in rows] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [row["spread"] for row in rows] == [None if d is None else (float(d) - 3) / 3.25 for d in DS]
    app.job(app.post(name, [{"n": 80, "x": mean, "d": "3"}]))
    assert app.rows(name)[-1] == {"n": 80, "x": mean, "d": "3", "z": 0.0, "share": 2.0, "spread": 0.0}


def test_records_keep_the_statistics_that_they_were_validated_with(app: InProcess) -> None:
    name = app.dataset(READINGS)
    app.job(app.post(name, SENT))
    waiting_fit = app.post(name, {"steps": [1]}, path="fit")
    waiting = app.post(name, [{"n": 20}])
    submitted(app, waiting_fit)
    assert app.job(waiting)["state"] == "succeeded"
    assert {row["share"] for row in app.rows(name)} == {None}
    app.job(app.post(name, [{"n": 20}]))
    assert [row["share"] for row in app.rows(name) if row["n"] == 20] == [0.5]


def test_a_filter_says_which_records_and_a_second_fit_replaces_the_first(app: InProcess) -> None:
    name = app.dataset(READINGS)
    app.job(app.post(name, SENT))
    assert fit(app, name, steps=[1])["result"]["fitted"] == {"1": {"minimum": 0.0, "maximum": 40.0}}
    assert fit(app, name, steps=[1], where={"n": {"gt": 10}})["result"]["fitted"] == {
        "1": {"minimum": 20.0, "maximum": 40.0}
    }
    assert app.http.get(f"/api/v1/datasets/{name}").json()["version"] == 3


def test_without_values_it_fails_and_says_so(app: InProcess) -> None:
    name = app.dataset(READINGS)
    job = fit(app, name)
    assert (job["state"], job["error"]["code"]) == ("failed", "contract_change_failed")
    assert "x has no value" in job["error"]["detail"]
    assert app.http.get(f"/api/v1/datasets/{name}").json()["version"] == 1


def test_a_change_meanwhile_is_never_overwritten(app: InProcess) -> None:
    name = app.dataset(READINGS)
    app.job(app.post(name, SENT))
    waiting_fit = app.post(name, {}, path="fit")
    changed = app.http.patch(f"/api/v1/datasets/{name}", json={"add_fields": [{"name": "more", "type": "text"}]})
    job = submitted(app, waiting_fit)
    assert (job["state"], job["error"]["code"]) == ("failed", "contract_change_failed")
    assert app.job(changed)["state"] == "succeeded"
    shown = app.http.get(f"/api/v1/datasets/{name}").json()
    assert [field["name"] for field in shown["contract"]["fields"]][-1] == "more"
    assert fit(app, name)["state"] == "succeeded"
    waiting_change = app.http.patch(f"/api/v1/datasets/{name}", json={"title": "x"})
    assert app.post(name, {}, path="fit").json()["code"] == "change_under_way"
    app.job(waiting_change)


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"steps": []}, "/steps", "wrong_type"),
        ({"steps": [3]}, "/steps/0", "not_applicable"),
        ({"steps": [0, -1]}, "/steps/1", "not_applicable"),
        ({"step": [0]}, "/step", "unknown_member"),
        ({"where": {"no": 1}}, "/where/no", "unknown_field"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused_at_its_place(
    app: InProcess, body: Job, pointer: str, code: str
) -> None:
    answer = app.post(app.dataset(READINGS), body, path="fit")
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(pointer, code)]


def test_what_is_not_stored_as_the_step_sees_it_is_named(app: InProcess) -> None:
    body = {
        **READINGS,
        "input": ["n", {"name": "raw", "type": "float"}, "x", "d"],
        "pipeline": [*READINGS["pipeline"][1:], {"op": "normalise", "column": "raw", "as": "z"}],
    }
    name = app.dataset(body)
    answer = app.post(name, {}, path="fit")
    assert [(one["code"], one["field"]) for one in answer.json()["errors"]] == [("input_not_stored", "raw")]
    assert app.post(name, {"steps": [0, 1]}, path="fit").status_code == 202
    plain_name = app.dataset({"name": "x", "fields": [{"name": "n", "type": "integer"}]})
    assert app.post(plain_name, {}, path="fit").json()["errors"][0]["code"] == "not_applicable"


def test_a_contract_without_statistics_is_still_that_of_a_fitted_dataset(app: InProcess) -> None:
    name = app.dataset(READINGS)
    app.job(app.post(name, SENT))
    fit(app, name)
    url = "/api/v1/datasets?if_not_exists=true"
    again = {**READINGS, "name": name, "pipeline": [dict(reversed(step.items())) for step in READINGS["pipeline"]]}
    assert app.http.post(url, json=again).status_code == 202
    shown = app.http.get(f"/api/v1/datasets/{name}").json()["contract"]
    assert app.http.post(url, json=shown).status_code == 202
    other = {**again, "pipeline": [{**again["pipeline"][0], "method": "robust"}, *again["pipeline"][1:]]}
    answer = app.http.post(url, json=other)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (409, "/pipeline")
    known = {**shown["pipeline"][0], "fitted": {"mean": 0.0, "deviation": 1.0}}
    assert app.http.post(url, json={**shown, "pipeline": [known, *shown["pipeline"][1:]]}).status_code == 409


def test_a_changed_pipeline_keeps_the_statistics_of_steps_that_stay(app: InProcess) -> None:
    name = app.dataset(READINGS)
    app.job(app.post(name, SENT))
    fit(app, name)
    steps = [READINGS["pipeline"][1], READINGS["pipeline"][0], {**READINGS["pipeline"][2], "method": "zscore"}]
    submitted(app, app.http.patch(f"/api/v1/datasets/{name}", json={"pipeline": steps}))
    shown = app.http.get(f"/api/v1/datasets/{name}").json()["contract"]["pipeline"]
    assert shown[0]["fitted"] == {"minimum": 0.0, "maximum": 40.0}
    assert set(shown[1]["fitted"]) == {"mean", "deviation"}
    assert "fitted" not in shown[2]


def test_values_whose_statistics_no_float_holds_are_said(app: InProcess) -> None:
    name = app.dataset(READINGS)
    app.job(app.post(name, [{"n": n, "x": x} for n, x in enumerate((1.7e308, 1.7e308, -1.7e308))]))
    job = fit(app, name, steps=[0])
    assert (job["state"], job["error"]["code"]) == ("failed", "contract_change_failed")
