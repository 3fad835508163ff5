"""Pipelines that change: what waits keeps its steps, what is there stays, and is made anew when asked for."""

from typing import Any

import pytest
from tests.support.in_process import InProcess, Job

SHOP: Job = {
    "name": "shop",
    "input": ["n", "title", "count", {"name": "price_text", "type": "text"}],
    "fields": [
        {"name": "n", "type": "integer", "required": True},
        {"name": "title", "type": "text"},
        {"name": "count", "type": "integer"},
        {"name": "price", "type": "decimal", "computed": True},
        {"name": "total", "type": "decimal", "computed": True, "maximum": "1000"},
        {"name": "label", "type": "text", "computed": True},
    ],
    "key": ["n"],
    "pipeline": [
        {"op": "text_clean", "column": "title"},
        {"op": "cast", "column": "price_text", "as": "price", "type": "decimal", "decimal": ","},
        {"op": "derive", "as": "total", "value": "price * count"},
        {"op": "derive", "as": "label", "value": "upper(title)"},
    ],
    "embedding": {"from": ["label"], "embedder": "hashing"},
}
SENT = [{"n": n, "title": f" title {n} ", "count": n, "price_text": f"{n},50"} for n in range(1, 5)]
NEW = [*SHOP["pipeline"][:2], {"op": "derive", "as": "total", "value": "price * count * 2"}, *SHOP["pipeline"][3:]]
LOUD = [*NEW[:3], {"op": "derive", "as": "label", "value": "upper(title) + '!'"}]


def change(app: InProcess, name: str, **body: Any) -> Job:
    return app.job(app.http.patch(f"/api/v1/datasets/{name}", json=body))


def recompute(app: InProcess, name: str, **body: Any) -> Job:
    answer = app.post(name, body, path="recompute")
    assert answer.status_code == 202, answer.text
    app.work()
    app.work(queue="long")
    return app.job(answer)


def totals(app: InProcess, name: str) -> dict[int, str | None]:
    return {row["n"]: row["total"] for row in app.rows(name)}


class TestChange:
    def test_a_new_pipeline_is_a_new_version_for_what_comes_from_now_on(self, app: InProcess) -> None:
        name = app.dataset(SHOP)
        app.job(app.post(name, SENT[:1]))
        waiting = app.post(name, SENT[1:2])
        change_job = app.http.patch(f"/api/v1/datasets/{name}", json={"pipeline": NEW})
        later = app.post(name, SENT[2:3])
        for answer in (waiting, change_job, later):
            assert app.job(answer)["state"] == "succeeded"
        assert totals(app, name) == {1: "1.50", 2: "5.00", 3: "21.00"}
        shown = app.http.get(f"/api/v1/datasets/{name}").json()
        assert (shown["version"], shown["contract"]["pipeline"]) == (2, NEW)

    def test_a_computed_field_and_another_input_come_with_their_step(self, app: InProcess) -> None:
        name = app.dataset(SHOP)
        app.job(app.post(name, SENT[:1]))
        field = {"name": "tax", "type": "decimal", "computed": True}
        steps = [*NEW, {"op": "cast", "column": "tax_text", "as": "tax", "type": "decimal"}]
        sent = [*SHOP["input"], {"name": "tax_text", "type": "text"}]
        job = change(app, name, add_fields=[field], pipeline=steps, input=sent)
        assert job["state"] == "succeeded", job["error"]
        app.job(app.post(name, [{**SENT[1], "tax_text": "19"}]))
        assert {row["n"]: row["tax"] for row in app.rows(name)} == {1: None, 2: "19"}

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({"pipeline": [{"op": "mop"}]}, "/pipeline/0/op", "unknown_step"),
            ({"pipeline": SHOP["pipeline"][:1]}, "/fields/3/computed", "not_filled"),
            ({"input": ["n", "title", "count"]}, "/pipeline/1/column", "unknown_column"),
            ({"input": ["n", "n"]}, "/input/1", "duplicate"),
            ({"pipeline": {}}, "/pipeline", "wrong_type"),
            ({"pipeline": [{"value": 1}]}, "/pipeline/0/op", "missing"),
        ],
    )
    def test_a_change_that_does_not_fit_is_refused_at_its_place(
        self, app: InProcess, body: Job, pointer: str, code: str
    ) -> None:
        name = app.dataset(SHOP)
        answer = app.http.patch(f"/api/v1/datasets/{name}", json=body)
        assert answer.status_code == 422
        assert (pointer, code) in [(one["pointer"], one["code"]) for one in answer.json()["errors"]]


class TestRecompute:
    def test_fields_are_made_anew_of_what_is_stored_and_nothing_else_changes(self, app: InProcess) -> None:
        name = app.dataset(SHOP)
        app.job(app.post(name, SENT))
        before = app.rows(name)
        change(app, name, pipeline=NEW)
        assert app.rows(name) == before
        job = recompute(app, name, fields=["total"])
        assert (job["state"], job["result"]) == ("succeeded", {"records": 4, "changed": 4})
        assert totals(app, name) == {1: "3.00", 2: "10.00", 3: "21.00", 4: "36.00"}
        assert [{**row, "total": None} for row in app.rows(name)] == [{**row, "total": None} for row in before]
        assert recompute(app, name, fields=["total"])["result"] == {"records": 4, "changed": 0}

    def test_it_ends_as_if_the_records_had_been_sent_anew(self, app: InProcess) -> None:
        fields = [one for one in SHOP["fields"] if one["name"] not in ("price",)]
        body = {
            **SHOP,
            "input": ["n", "title", "count"],
            "fields": fields,
            "pipeline": [
                {"op": "filter", "where": {"count": {"ge": 1}}},
                {"op": "derive", "as": "half", "value": "div(count, 2, 1)"},
                {"op": "derive", "as": "total", "value": "half * 3"},
                {"op": "derive", "as": "label", "value": "upper(title)"},
                {"op": "drop", "columns": ["half"]},
            ],
        }
        sent = [{name: row[name] for name in ("n", "title", "count")} for row in SENT]
        other = [*body["pipeline"][:2], {"op": "clip", "column": "half", "maximum": "1.5"}, *body["pipeline"][2:]]
        old, new = app.dataset(body), app.dataset({**body, "pipeline": other})
        app.job(app.post(old, sent))
        app.job(app.post(new, sent))
        change(app, old, pipeline=other)
        assert recompute(app, old)["state"] == "succeeded"
        assert app.rows(old) == app.rows(new)

    def test_vectors_follow_their_texts(self, app: InProcess) -> None:
        name, fresh = app.dataset(SHOP), app.dataset({**SHOP, "pipeline": LOUD})
        app.job(app.post(name, SENT))
        app.job(app.post(fresh, SENT))
        change(app, name, pipeline=LOUD)
        # The title is cleaned in place, and read after that: what is stored is what the step would see.
        assert recompute(app, name, fields=["label"])["result"] == {"records": 4, "changed": 4}
        found = [
            app.http.get(f"/api/v1/datasets/{one}/records", params={"include": "embedding"}).json()["records"]
            for one in (name, fresh)
        ]
        assert [row["label"] for row in found[0]] == [f"TITLE {n}!" for n in range(1, 5)]
        assert [row["_embedding"] for row in found[0]] == [row["_embedding"] for row in found[1]]

    def test_what_is_made_of_something_that_is_not_stored_is_named(self, app: InProcess) -> None:
        name = app.dataset(SHOP)
        for body in ({}, {"fields": ["price"]}, {"fields": ["total", "price"]}):
            answer = app.post(name, body, path="recompute")
            assert (answer.status_code, answer.json()["code"]) == (409, "input_not_stored")
            assert "price_text" in answer.json()["detail"]

    def test_a_filter_says_which_records(self, app: InProcess) -> None:
        name = app.dataset(SHOP)
        app.job(app.post(name, SENT))
        change(app, name, pipeline=NEW)
        job = recompute(app, name, fields=["total"], where={"n": {"ge": 3}})
        assert job["result"] == {"records": 2, "changed": 2}
        assert totals(app, name) == {1: "1.50", 2: "5.00", 3: "21.00", 4: "36.00"}

    def test_a_record_that_does_not_fit_is_named_and_nothing_is_changed(self, app: InProcess) -> None:
        name = app.dataset(SHOP)
        app.job(app.post(name, SENT))
        steps = [*NEW[:2], {"op": "derive", "as": "total", "value": "price * count * 100"}, *NEW[3:]]
        change(app, name, pipeline=steps)
        job = recompute(app, name, fields=["total"])
        assert (job["state"], job["error"]["code"]) == ("failed", "record_unfit")
        assert "The record 3" in job["error"]["detail"]
        assert totals(app, name) == {1: "1.50", 2: "5.00", 3: "10.50", 4: "18.00"}
        steps[2] = {"op": "derive", "as": "total", "value": "div(price, count - 2, 2)"}
        change(app, name, pipeline=steps)
        job = recompute(app, name, fields=["total"])
        assert "The record 2: step 2 (derive)" in job["error"]["detail"]

    @pytest.mark.promise(3)
    def test_it_comes_in_its_order(self, app: InProcess) -> None:
        name = app.dataset(SHOP)
        app.job(app.post(name, SENT[:2]))
        change(app, name, pipeline=NEW)
        first = app.post(name, {"fields": ["total"], "where": {"n": 1}}, path="recompute")
        later = app.post(name, [{**SENT[0], "count": 100}])
        app.work(queue="long")
        app.work()
        app.work(queue="long")
        for answer in (first, later):
            assert app.job(answer)["state"] == "succeeded"
        assert totals(app, name) == {1: "300.00", 2: "5.00"}

    def test_a_record_that_stays_as_it_is_keeps_its_etag(self, app: InProcess) -> None:
        name = app.dataset({**SHOP, "fields": SHOP["fields"]})
        app.job(app.post(name, [{**SENT[0], "count": 0}, SENT[1]]))
        change(app, name, pipeline=NEW)
        before = [app.http.get(app.key(name, n)).headers["etag"] for n in (1, 2)]
        assert recompute(app, name, fields=["total"])["result"] == {"records": 2, "changed": 1}
        after = [app.http.get(app.key(name, n)).headers["etag"] for n in (1, 2)]
        assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]

    def test_without_a_key_the_order_of_submission_stays(self, app: InProcess) -> None:
        body = {**SHOP, "key": [], "pipeline": SHOP["pipeline"]}
        name = app.dataset(body)
        app.job(app.post(name, SENT))
        change(app, name, pipeline=NEW)
        recompute(app, name, fields=["total"], where={"n": 2})
        assert [row["n"] for row in app.rows(name)] == [1, 2, 3, 4]
        assert totals(app, name)[2] == "10.00"

    def test_many_records_in_several_slices(self, app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gristmill.records.recompute.repository.SLICE_ROWS", 7)
        monkeypatch.setattr("gristmill.records.recompute.repository.SLICE_BYTES", 300)
        name = app.dataset(
            {**SHOP, "fields": [{**one, "maximum": None} if one["name"] == "total" else one for one in SHOP["fields"]]}
        )
        app.job(
            app.post(name, [{"n": n, "title": "t" * (n % 50), "count": n, "price_text": "1,5"} for n in range(200)])
        )
        change(app, name, pipeline=NEW)
        assert recompute(app, name, fields=["total"])["result"] == {"records": 200, "changed": 199}
        assert all(row["total"] == f"{row['n'] * 3}.0" for row in app.rows(name))

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"fields": []}, "/fields"),
            ({"fields": ["title"]}, "/fields/0"),
            ({"fields": ["total", "no"]}, "/fields/1"),
            ({"where": {"no": 1}, "fields": ["total"]}, "/where/no"),
            ({"where": []}, "/where"),
            ({"field": ["total"]}, "/field"),
        ],
    )
    def test_a_request_that_cannot_be_meant_is_refused_at_its_place(
        self, app: InProcess, body: Job, pointer: str
    ) -> None:
        answer = app.post(app.dataset(SHOP), body, path="recompute")
        assert answer.status_code == 422
        assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]

    def test_a_dataset_without_computed_fields_has_nothing_to_recompute(self, app: InProcess) -> None:
        name = app.dataset({"name": "x", "fields": [{"name": "n", "type": "integer"}]})
        assert app.post(name, {}, path="recompute").json()["errors"][0]["code"] == "not_computed"
