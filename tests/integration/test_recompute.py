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


class TestWhatStepsSee:
    """Plans of steps that see a column otherwise than the table has it, in jobs and in PATCH."""

    N, K = {"name": "n", "type": "integer", "required": True}, {"name": "k", "type": "integer"}

    def dataset(self, app: InProcess, fields: list[Job], *pipeline: Job, **body: Any) -> str:
        return app.dataset({"name": "x", "fields": [self.N, *fields], "key": ["n"], "pipeline": list(pipeline), **body})

    def computed(self, name: str, type_: str) -> Job:
        return {"name": name, "type": type_, "computed": True}

    def test_a_change_takes_stored_computed_fields_as_they_are(self, app: InProcess) -> None:
        fields = [
            self.K,
            {"name": "m", "type": "integer"},
            self.computed("x", "integer"),
            self.computed("y", "integer"),
        ]
        steps = [{"op": "derive", "as": "x", "value": "k * 2"}, {"op": "derive", "as": "y", "value": "x + m"}]
        name = self.dataset(app, fields, *steps)
        app.job(app.post(name, [{"n": 1, "k": 1, "m": 1}]))
        app.job(app.http.patch(app.key(name, 1), json={"m": 3}))
        assert app.rows(name) == [{"n": 1, "k": 1, "m": 3, "x": 2, "y": 5}]

    @pytest.mark.parametrize(("type_", "last"), [("float", "x + 1"), ("decimal", "text(x)")])
    def test_a_field_of_another_type_than_its_step_made_is_made_again_for_the_next(
        self, app: InProcess, type_: str, last: str
    ) -> None:
        fields = [self.K, self.computed("x", type_), self.computed("y", "text" if "text" in last else "integer")]
        name = self.dataset(
            app, fields, {"op": "derive", "as": "x", "value": "k * 2"}, {"op": "derive", "as": "y", "value": last}
        )
        app.job(app.post(name, [{"n": 1, "k": 2**53 + 1 if type_ == "decimal" else 21}]))
        before = app.rows(name)
        assert recompute(app, name, fields=["y"])["result"] == {"records": 1, "changed": 0}
        app.job(app.http.patch(app.key(name, 1), json={"k": 4}))
        assert app.rows(name)[0]["y"] == ("8" if "text" in last else 9)
        assert before[0]["y"] == ("18014398509481986" if "text" in last else 43)

    def test_columns_that_change_their_type_between_two_steps_are_no_matter(self, app: InProcess) -> None:
        fields = [*(self.computed(name, "integer") for name in "abd"), self.computed("body", "text")]
        steps = [
            {"op": "derive", "as": "a", "value": "n + 1"},
            {"op": "cast", "column": "z", "type": "integer"},
            {"op": "derive", "as": "b", "value": "n + 2"},
            {"op": "derive", "as": "d", "value": "z + 1"},
            {"op": "derive", "as": "body", "value": "text(n)"},
        ]
        sent = ["n", {"name": "z", "type": "text"}]
        name = self.dataset(app, fields, *steps, input=sent, embedding={"from": ["body"], "embedder": "hashing"})
        app.job(app.post(name, [{"n": 1, "z": "7"}]))
        steps[0] = {"op": "derive", "as": "a", "value": "n + 10"}
        steps[4] = {"op": "derive", "as": "body", "value": "text(n + 1)"}
        change(app, name, pipeline=steps)
        job = recompute(app, name, fields=["a", "b", "body"])
        assert job["state"] == "succeeded", job["error"]
        assert app.rows(name) == [{"n": 1, "a": 11, "b": 3, "d": 8, "body": "2"}]

    def test_fields_that_one_step_makes_are_made_together(self, app: InProcess) -> None:
        fields = [{"name": "t", "type": "text"}, *(self.computed(name, "text") for name in "abc")]
        split = {"op": "split", "column": "t", "separator": " ", "into": ["a", "b"]}
        name = self.dataset(app, fields, split, {"op": "derive", "as": "c", "value": "b + '!'"})
        app.job(app.post(name, [{"n": 1, "t": "x;y z"}]))
        change(app, name, pipeline=[{**split, "separator": ";"}, {"op": "derive", "as": "c", "value": "b + '?'"}])
        assert recompute(app, name, fields=["a", "c"])["result"]["changed"] == 1
        assert app.rows(name) == [{"n": 1, "t": "x;y z", "a": "x", "b": "y z", "c": "y z?"}]

    def test_values_that_are_equal_are_not_written(self, app: InProcess) -> None:
        fields = [{"name": "v", "type": "json"}, self.computed("made", "json"), self.computed("zero", "float")]
        steps = [
            {"op": "json_extract", "column": "v", "path": "a", "as": "made", "type": "json"},
            {"op": "derive", "as": "zero", "value": "0.0 * n"},
        ]
        name = self.dataset(app, fields, *steps)
        app.job(app.post(name, [{"n": n, "v": {"a": {"bb": 1, "a": 2.5}}} for n in (-1, 1)]))
        assert recompute(app, name)["result"] == {"records": 2, "changed": 0}
        change(app, name, pipeline=[steps[0], {"op": "derive", "as": "zero", "value": "-0.0 * n"}])
        assert recompute(app, name, fields=["zero"])["result"] == {"records": 2, "changed": 2}

    @pytest.mark.parametrize("how", ["patch", "recompute"])
    def test_what_a_chosen_step_overwrites_is_not_read_as_stored_after_it(self, app: InProcess, how: str) -> None:
        fields = [*({"name": name, "type": "integer"} for name in "ab"), *(self.computed(n, "integer") for n in "xyz")]
        steps = [
            {"op": "derive", "as": "x", "value": "a"},
            {"op": "derive", "as": "y", "value": "x + b"},
            {"op": "derive", "as": "x", "value": "x * 10"},
            {"op": "derive", "as": "z", "value": "x + b"},
        ]
        name = self.dataset(app, fields, *steps)
        app.job(app.post(name, [{"n": 1, "a": 2, "b": 1}]))
        if how == "patch":
            app.job(app.http.patch(app.key(name, 1), json={"b": 5}))
            assert app.rows(name) == [{"n": 1, "a": 2, "b": 5, "x": 20, "y": 7, "z": 25}]
        else:
            before = app.rows(name)
            assert recompute(app, name, fields=["y", "z"])["result"]["changed"] == 0
            assert app.rows(name) == before

    def test_a_text_that_was_brought_into_a_normal_form_is_made_again(self, app: InProcess) -> None:
        fields = [
            {"name": "raw", "type": "text"},
            {**self.computed("t", "text"), "normalize": "NFKC"},
            self.computed("size", "integer"),
        ]
        steps = [{"op": "derive", "as": "t", "value": "raw"}, {"op": "derive", "as": "size", "value": "length(t)"}]
        name = self.dataset(app, fields, *steps)
        app.job(app.post(name, [{"n": 1, "raw": "\ufb01"}]))
        before = app.rows(name)
        assert before == [{"n": 1, "raw": "\ufb01", "t": "fi", "size": 1}]
        assert recompute(app, name, fields=["size"])["result"]["changed"] == 0
        assert app.rows(name) == before
