"""Declared job types over REST: listed, checked, submitted, carried out; bad requests named to the argument."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import own_jobs
from tests.support.ends import counted
from tests.support.in_process import InProcess

from gristmill import plugin
from gristmill.access.keys import create_key
from gristmill.api.openapi.jobs import JobTypeList
from gristmill.jobs.repository.dispatch import mark_sent

Job = dict[str, Any]
CONTRACT = {"fields": [{"name": "k", "type": "text", "required": True}], "key": ["k"]}


@pytest.fixture
def app(database_url: str) -> Iterator[InProcess]:
    found = InProcess(database_url, jobs_plugins="tests.support.own_jobs")
    with found.http:
        yield found
    found.gristmill.database.close()


def submit(app: InProcess, type_: str, args: Any = None, query: str = "", headers: Any = None, **body: Any) -> Any:
    return app.http.post(f"/api/v1/jobs{query}", json={"type": type_, "args": args or {}, **body}, headers=headers)


def effects(app: InProcess) -> list[tuple[str, str]]:
    with app.gristmill.database.autocommit() as connection:
        rows = connection.exec_driver_sql("SELECT type, note FROM data.own_effects ORDER BY at")
        return [(row[0], row[1]) for row in rows]


def refused(answer: Any) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [(error["pointer"], error["code"]) for error in answer.json()["errors"]]


class TestSubmit:
    def test_arguments_come_typed_and_the_result_is_json(self, app: InProcess) -> None:
        args = {"name": "May", "since": "2026-05-01T00:00:00+02:00", "parts": [{"weight": "1.10"}, {"weight": 2}]}
        answer = submit(app, "own.report", args, labels={"run": "1"}, priority=7)
        assert answer.status_code == 202
        assert answer.headers["location"] == answer.json()["links"]["self"]
        job = app.job(answer)
        assert (job["state"], job["type"], job["priority"], job["max_attempts"]) == ("succeeded", "own.report", 7, 3)
        assert job["result"] == {
            "name": "May", "weight": "3.10", "since": "2026-05-01T00:00:00+02:00", "job": job["id"], "who": "local",
            "labels": {"run": "1"},
        }  # fmt: skip
        assert effects(app) == [("own.report", "May")]
        assert job["record_counts"]["total"] == 0

    def test_a_function_without_arguments_needs_none_and_may_return_nothing(self, app: InProcess) -> None:
        job = app.job(app.http.post("/api/v1/jobs", json={"type": "own.plain"}))
        assert (job["state"], job["result"], job["max_attempts"]) == ("succeeded", None, 5)

    def test_the_options_of_every_write_count_as_parameters_too(self, app: InProcess) -> None:
        answer = submit(app, "own.plain", query="?priority=2&label=a=1&run_at=2031-01-01T00:00:00Z", max_attempts=9)
        job = answer.json()
        assert (job["priority"], job["labels"], job["state"], job["max_attempts"]) == (2, {"a": "1"}, "scheduled", 9)
        assert job["run_at"] == "2031-01-01T00:00:00Z"

    def test_a_delay_counts_from_now_on(self, app: InProcess) -> None:
        job = submit(app, "own.plain", delay=3600).json()
        assert job["state"] == "scheduled"
        late = datetime.fromisoformat(job["run_at"]) - datetime.now(UTC)
        assert timedelta(minutes=59) < late <= timedelta(hours=1)

    def test_the_same_key_and_request_give_the_first_job_whatever_has_become_of_its_type(self, app: InProcess) -> None:
        headers = {"idempotency-key": "k-1"}
        first = submit(app, "own.plain", headers=headers).json()
        again = submit(app, "own.plain", headers=headers, query="?wait=0").json()
        assert again["id"] == first["id"]
        other = submit(app, "own.plain", headers=headers, priority=9)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        with_args = submit(app, "own.report", {"name": "a"}, headers={"idempotency-key": "k-2"}).json()
        declared = app.services.job_types.find("own.report")
        # Its model has changed since: what was accepted stays accepted.
        changed = plugin.job_type("own.report")(own_jobs.plain.function)
        app.services.job_types._types["own.report"] = changed  # type: ignore[index]
        try:
            replayed = submit(app, "own.report", {"name": "a"}, headers={"idempotency-key": "k-2"})
            assert (replayed.status_code, replayed.json()["id"]) == (202, with_args["id"])
            assert submit(app, "own.report", {"name": "b"}).status_code == 422
        finally:
            app.services.job_types._types["own.report"] = declared  # type: ignore[index]

    def test_jobs_that_share_a_message_are_one_transaction_and_a_bad_one_harms_nobody(self, app: InProcess) -> None:
        names = ["a", "b", "bad", "c"]
        ids = [submit(app, "own.small", {"name": name}).json()["id"] for name in names]
        with app.gristmill.database.transaction() as connection:
            messages = mark_sent(connection, "default", 10)
        assert counted(app.executor.run_all([(m.job_id, m.number, m.dispatch) for m in messages])) == "3 done, 1 failed"
        jobs = [app.http.get(f"/api/v1/jobs/{job_id}").json() for job_id in ids]
        assert [job["state"] for job in jobs] == ["succeeded", "succeeded", "failed", "succeeded"]
        assert jobs[2]["error"]["detail"] == "a bad one"
        assert sorted(effects(app)) == [("own.small", name) for name in ("a", "b", "c")]

        ids = [submit(app, "own.small", {"name": name}).json()["id"] for name in ("d", "e", "f")]
        with app.gristmill.database.transaction() as connection:
            messages = mark_sent(connection, "default", 10)
        assert counted(app.executor.run_all([(m.job_id, m.number, m.dispatch) for m in messages])) == "3 done"
        with app.gristmill.database.autocommit() as connection:
            query = "SELECT count(DISTINCT xmin::text) FROM data.own_effects WHERE note IN ('d', 'e', 'f')"
            assert connection.exec_driver_sql(query).scalar() == 1


class TestOrder:
    def test_exclusive_jobs_that_share_are_carried_out_in_their_order_and_a_bad_one_harms_nobody(
        self, app: InProcess
    ) -> None:
        names = ["a", "bad", "b", "open", "c"]
        ids = [submit(app, "own.line", {"name": name}).json()["id"] for name in names]
        with app.gristmill.database.transaction() as connection:
            messages = mark_sent(connection, "default", 10, 10)
        assert len(messages) == 5
        ends = app.executor.run_all([(m.job_id, m.number, m.dispatch) for m in messages])
        assert counted(ends) == "3 done, 2 failed"
        jobs = [app.http.get(f"/api/v1/jobs/{job_id}").json() for job_id in ids]
        assert [(job["error"] or {}).get("code") for job in jobs] == [None, "conflict", None, "transaction_ended", None]
        assert effects(app) == [("own.line", name) for name in ("a", "b", "c")]

    def test_an_exclusive_job_sees_what_was_submitted_before_it_and_later_ones_wait_for_it(
        self, app: InProcess
    ) -> None:
        name = app.dataset(CONTRACT)
        app.post(name, [{"k": "a"}, {"k": "b"}])
        counting = submit(app, "own.count", {"dataset": name})
        app.post(name, [{"k": "c"}])
        job = app.job(counting)
        assert (job["result"], job["dataset"]) == ({"rows": 2}, name)
        assert app.job(submit(app, "own.count", {"dataset": name}))["result"] == {"rows": 3}
        listed = app.http.get("/api/v1/jobs", params={"dataset": name, "type": "own.count"}).json()["jobs"]
        assert len(listed) == 2

    def test_scopes_are_named_by_the_arguments(self, app: InProcess) -> None:
        one, other = app.dataset(CONTRACT), app.dataset(CONTRACT)
        job_id = submit(app, "own.copy", {"dataset": one, "other": other}).json()["id"]
        with app.gristmill.database.autocommit() as connection:
            query = "SELECT scope, exclusive FROM gristmill.scopes WHERE job_id = %s ORDER BY scope"
            found = [tuple(row) for row in connection.exec_driver_sql(query, (job_id,))]
        assert found == sorted([(f"dataset:{one}", False), (f"dataset:{other}", True), ("press", False)])

    def test_a_dataset_that_is_not_there_is_named_with_its_argument(self, app: InProcess) -> None:
        answer = submit(app, "own.count", {"dataset": "nothing"})
        assert refused(answer) == [("/args/dataset", "unknown_dataset")]
        answer = submit(app, "own.copy", {"dataset": app.dataset(CONTRACT)})
        assert refused(answer) == [("/args/other", "bad_scope")]
        assert "None" in answer.json()["detail"]


class TestChains:
    def test_each_job_submits_the_next_in_its_own_transaction(self, app: InProcess) -> None:
        first = app.job(submit(app, "own.chain", {"left": 2}))
        second = app.http.get(f"/api/v1/jobs/{first['result']['next']}").json()
        assert (second["state"], second["labels"], second["submitted_by"]) == ("succeeded", {"chain": "yes"}, "local")
        assert second["request_id"] == first["request_id"]
        assert [note for _, note in effects(app)] == ["2", "1", "0"]

    def test_a_job_that_fails_has_submitted_nothing(self, app: InProcess) -> None:
        job = app.job(submit(app, "own.chain", {"left": 1, "fail": True}))
        assert (job["state"], job["error"]["code"]) == ("failed", "conflict")
        assert len(app.http.get("/api/v1/jobs?type=own.chain").json()["jobs"]) == 1
        assert effects(app) == []

    def test_a_program_submits_in_its_own_transaction(self, app: InProcess) -> None:
        with app.gristmill.database.transaction() as connection:
            with pytest.raises(plugin.Invalid, match="name"):
                plugin.submit_job(connection, own_jobs.report, {"name": ""})
            made = own_jobs.Report(name="x", parts=[own_jobs.Part(weight="0.1234567890123456789012345678")])
            job_id = plugin.submit_job(connection, own_jobs.report, made, principal="me", priority=1)
        app.work()
        job = app.http.get(f"/api/v1/jobs/{job_id}").json()
        assert (job["state"], job["submitted_by"], job["priority"]) == ("succeeded", "me", 1)
        assert job["result"]["weight"] == "0.1234567890123456789012345678"


class TestRefused:
    @pytest.mark.parametrize(
        ("args", "expected"),
        [
            ({}, [("/args/name", "missing")]),
            ({"name": ""}, [("/args/name", "string_too_short")]),
            ({"name": "a", "nmae": 1}, [("/args/nmae", "extra_forbidden")]),
            ({"name": "a", "since": "2026-01-01T00:00:00"}, [("/args/since", "timezone_aware")]),
            (
                {"name": "a", "parts": [{"weight": 1}, {"weight": 0, "colour": "green"}]},
                [("/args/parts/1/weight", "greater_than"), ("/args/parts/1/colour", "enum")],
            ),
            ({"name": "a", "value": []}, [("/args/value", "int_type"), ("/args/value", "string_type")]),
            ({"name": "a", "value": {"value": 1}}, [("/args/value", "int_type"), ("/args/value", "string_type")]),
            ({"name": "a\0b"}, [("/args/name", "bad_unicode")]),
        ],
    )
    def test_arguments_are_named_with_their_pointers(self, app: InProcess, args: Job, expected: Any) -> None:
        assert refused(submit(app, "own.report", args)) == expected
        assert app.http.get("/api/v1/jobs?type=own.report").json()["jobs"] == []

    def test_an_unknown_type_names_those_there_are(self, app: InProcess) -> None:
        for name in ("own.reprot", "records.ingest", "", "a\0b", "x" * 200):
            answer = submit(app, name)
            assert refused(answer) == [("/type", "unknown_job_type")], name
            assert "own.report" in answer.json()["detail"]

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ([], [("", "not_an_object")]),
            ({}, [("/type", "missing")]),
            ({"type": 1}, [("/type", "string_type")]),
            ({"type": "own.plain", "args": []}, [("/args", "dict_type")]),
            ({"type": "own.plain", "arguments": {}}, [("/arguments", "extra_forbidden")]),
            ({"type": "own.plain", "args": {"a": 1}}, [("/args/a", "extra_forbidden")]),
            ({"type": "own.plain", "priority": 10}, [("/priority", "less_than_equal")]),
            ({"type": "own.plain", "priority": "5"}, [("/priority", "int_type")]),
            ({"type": "own.plain", "max_attempts": 0}, [("/max_attempts", "greater_than_equal")]),
            ({"type": "own.plain", "delay": -1}, [("/delay", "greater_than_equal")]),
            ({"type": "own.plain", "delay": 1e12}, [("/delay", "less_than_equal")]),
            ({"type": "own.plain", "run_at": "tomorrow"}, [("/run_at", "bad_time")]),
            ({"type": "own.plain", "run_at": "2031-01-01T00:00:00Z", "delay": 1}, [("/delay", "duplicate")]),
            ({"type": "own.plain", "labels": {"a b": "c"}}, [("/labels/a b", "bad_label")]),
            ({"type": "own.plain", "labels": {str(n): "c" for n in range(21)}}, [("/labels", "bad_label")]),
            ({"type": "own.plain", "labels": {"a": 1}}, [("/labels/a", "string_type")]),
        ],
    )
    def test_members_of_the_body_are_named(self, app: InProcess, body: Any, expected: Any) -> None:
        assert refused(app.http.post("/api/v1/jobs", json=body)) == expected

    def test_an_option_in_body_and_parameters_is_refused(self, app: InProcess) -> None:
        assert refused(submit(app, "own.plain", query="?priority=1", priority=2)) == [("/priority", "duplicate")]
        query = "?run_at=2031-01-01T00:00:00Z"
        assert refused(submit(app, "own.plain", query=query, delay=2)) == [("/delay", "duplicate")]
        assert refused(submit(app, "own.plain", query="?retry_of=1")) == [("/query/retry_of", "unknown_parameter")]

    def test_bodies_that_cannot_be_read(self, app: InProcess) -> None:
        send = app.http.post
        json_type = {"content-type": "application/json"}
        assert send("/api/v1/jobs", content=b'{"type": ', headers=json_type).json()["code"] == "malformed"
        assert (
            send("/api/v1/jobs", content=b'{"type": "own.plain", "args": {"a": NaN}}', headers=json_type).status_code
            == 400
        )
        assert send("/api/v1/jobs", content=b"x").status_code == 415
        large = b'{"type": "' + b"x" * 300_000 + b'"}'
        assert send("/api/v1/jobs", content=large, headers=json_type).status_code == 413

    def test_a_check_of_the_plugin_that_fails_itself_is_no_500(self, app: InProcess) -> None:
        answer = submit(app, "own.checked", {"name": "boom"})
        assert refused(answer) == [("/args", "check_failed")]
        assert "KeyError" in answer.json()["detail"]
        assert refused(submit(app, "own.checked", {"name": "odd"})) == [("/args/name", "value_error")]


class TestList:
    def test_each_type_says_what_it_takes_and_needs(self, app: InProcess) -> None:
        found = app.http.get("/api/v1/job-types").json()
        assert JobTypeList.model_validate(found).model_dump() == found, "as the OpenAPI document says"
        types = {one["name"]: one for one in found["job_types"]}
        assert sorted(types) == [one["name"] for one in found["job_types"]]
        report = types["own.report"]
        assert (report["title"], report["description"]) == ("Write a report", "It says what it was asked for.")
        assert (report["queue"], report["permission"], report["max_attempts"]) == ("default", "write", 3)
        assert report["args"]["required"] == ["name"]
        assert report["args"]["additionalProperties"] is False
        assert report["args"]["properties"]["since"]["anyOf"][0] == {"type": "string", "format": "date-time"}
        assert types["own.plain"]["args"]["properties"] == {}
        assert types["own.admin"]["permission"] == "admin"
        assert (types["own.copy"]["dataset"], types["own.copy"]["scopes"]["press"]) == ("{dataset}", "shared")
        (loaded,) = found["plugins"]
        assert (loaded["name"], loaded["state"], loaded["error"]) == ("tests.support.own_jobs", "loaded", None)
        assert loaded["job_types"] == sorted(types)

    def test_without_plugins_the_list_is_empty(self, database_url: str) -> None:
        alone = InProcess(database_url)
        with alone.http:
            assert alone.http.get("/api/v1/job-types").json() == {"job_types": [], "plugins": []}
            assert "no plugin declares one" in submit(alone, "own.plain").json()["detail"]
        alone.gristmill.database.close()


class TestPermissions:
    def test_a_type_says_which_key_may_submit_it(self, app: InProcess) -> None:
        keys = {one: create_key(app.gristmill.database, f"k-{one}", one) for one in ("read", "write", "admin")}
        allowed = {
            one: [
                submit(app, name, headers={"x-api-key": key}).status_code
                for name in ("own.reader", "own.plain", "own.admin")
            ]
            for one, key in keys.items()
        }
        assert allowed == {"read": [202, 403, 403], "write": [202, 202, 403], "admin": [202, 202, 202]}
        answer = submit(app, "own.admin", headers={"x-api-key": keys["write"]})
        assert answer.json()["code"] == "forbidden"
        assert "own.admin" in answer.json()["detail"]
        assert app.http.get("/api/v1/job-types", headers={"x-api-key": keys["read"]}).status_code == 200

    def test_a_job_is_cancelled_and_retried_by_who_may_submit_it(self, app: InProcess) -> None:
        keys = {one: create_key(app.gristmill.database, f"c-{one}", one) for one in ("read", "write", "admin")}
        name = app.dataset({"fields": [{"name": "n", "type": "integer"}]})
        (create,) = app.http.get("/api/v1/jobs", params={"dataset": name}).json()["jobs"]
        jobs = [submit(app, "own.plain").json()["id"], submit(app, "own.admin").json()["id"], create["id"]]
        for what, done in (("retry", 409), ("cancel", 200)):
            answers = {
                one: [app.http.post(f"/api/v1/jobs/{job}/{what}", headers={"x-api-key": key}) for job in jobs]
                for one, key in keys.items()
            }
            found = {one: [answer.status_code for answer in several] for one, several in answers.items()}
            again = 409 if what == "cancel" else done
            assert found == {"read": [403] * 3, "write": [done, 403, 403], "admin": [again, done, done]}
            assert "own.admin needs a key of scope admin" in answers["write"][1].json()["detail"]
