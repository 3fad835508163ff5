"""Schedules over REST, and their jobs: what is refused and where, runs, misses, keys, overlap, two dispatchers."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import own_jobs
from tests.support.in_process import InProcess

from gristmill.access.keys import create_key, revoke_key
from gristmill.api.openapi.schedules import Schedule, SchedulePage
from gristmill.jobs.job_types.catalogue import Catalogue
from gristmill.schedules.run import ScheduleRunner

URL = "/api/v1/schedules"
Json = dict[str, Any]


@pytest.fixture
def app(database_url: str) -> Iterator[InProcess]:
    found = InProcess(database_url, jobs_plugins="tests.support.own_jobs")
    with found.http:
        with found.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(own_jobs.TABLE)
        yield found
    found.gristmill.database.close()


@pytest.fixture
def runner(app: InProcess) -> ScheduleRunner:
    return make_runner(app)


def make_runner(app: InProcess, catalogue: Catalogue | None = None, most: int = 200) -> ScheduleRunner:
    gristmill, types = app.gristmill, catalogue or app.services.job_types
    return ScheduleRunner(gristmill.database, types, gristmill.dataset_lookup, gristmill.admission, most)


def body(name: str = "one", **more: Any) -> Json:
    timing = {} if "every" in more or "cron" in more else {"every": "1h"}
    return {"name": name, "type": "own.report", "args": {"name": "May"}, **timing, **more}


def create(app: InProcess, name: str = "one", **more: Any) -> Json:
    answer = app.http.post(URL, json=body(name, **more))
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


def get(app: InProcess, name: str = "one") -> Json:
    found: Json = app.http.get(f"{URL}/{name}").json()
    return found


def jobs_of(app: InProcess, name: str = "one") -> list[Json]:
    found: list[Json] = app.http.get(f"/api/v1/jobs?label=schedule%3D{name}").json()["jobs"]
    return found


def make_due(app: InProcess, name: str = "one", ago: str = "1 second") -> datetime:
    """Move the next run of a schedule into the past; return when it was to be."""
    with app.gristmill.database.transaction() as connection:
        found: datetime = connection.exec_driver_sql(
            "UPDATE gristmill.schedules SET next_run_at = clock_timestamp() - %(ago)s::interval WHERE name = %(name)s"
            " RETURNING next_run_at",
            {"ago": ago, "name": name},
        ).scalar_one()
        return found


class TestRequests:
    def test_it_is_answered_with_its_next_runs_and_its_links_are_there(self, app: InProcess) -> None:
        answer = app.http.post(URL, json=body(cron="30 6 * * *", zone="Europe/Berlin", every=None, labels={"a": "b"}))
        assert (answer.status_code, answer.headers["location"]) == (201, f"{URL}/one")
        made = answer.json()
        assert Schedule.model_validate(made)
        assert made == get(app)
        assert (made["state"], made["created_by"], made["runs"], made["error"]) == ("running", "local", 0, None)
        runs = [datetime.fromisoformat(one) for one in made["next_runs"]]
        assert len(runs) == 5
        assert runs == sorted(runs)
        assert all(one > datetime.now(UTC) and one.minute == 30 for one in runs)
        for link in ("self", "jobs"):
            assert app.http.get(made["links"][link]).status_code == 200

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"name": "One"}, "/name"),
            ({"name": "a" * 64}, "/name"),
            ({"type": "own.nothing"}, "/type"),
            ({"type": "records.ingest"}, "/type"),
            ({"args": {}}, "/args/name"),
            ({"args": {"name": "May", "what": 1}}, "/args/what"),
            ({"args": [1]}, "/args"),
            ({"cron": "61 * * * *", "every": None}, "/cron"),
            ({"cron": "0 0 31 2 *", "every": None}, "/cron"),
            ({"every": None}, "/cron"),
            ({"cron": "* * * * *"}, "/cron"),
            ({"every": "10ms"}, "/every"),
            ({"every": 15}, "/every"),
            ({"zone": "Mars/Olympus"}, "/zone"),
            ({"start": "yesterday"}, "/start"),
            ({"start": "1970-01-01T00:00:00Z"}, "/start"),
            ({"start": "9999-12-31T23:59:59Z"}, "/start"),
            ({"overlap": "queue"}, "/overlap"),
            ({"priority": 10}, "/priority"),
            ({"max_attempts": 0}, "/max_attempts"),
            ({"labels": {"schedule": "x"}}, "/labels/schedule"),
            ({"labels": {"a b": "x"}}, "/labels/a b"),
            ({"labels": {"a": "\0"}}, "/labels/a"),
            ({"state": "failed"}, "/state"),
            ({"when": "now"}, "/when"),
        ],
    )
    def test_what_does_not_fit_is_named_and_nothing_is_made(self, app: InProcess, change: Json, pointer: str) -> None:
        answer = app.http.post(URL, json=body(**{"every": "1h", **change}))
        assert answer.status_code == 422, answer.text
        assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]
        assert app.http.get(URL).json() == {"schedules": [], "next_page_token": None}

    @pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b'"x"', b"\xff", b'{"name": "\\ud800"}'])
    def test_what_is_no_object_is_refused(self, app: InProcess, content: bytes) -> None:
        create(app)
        headers = {"content-type": "application/json"}
        assert app.http.post(URL, content=content, headers=headers).status_code in (400, 422)
        assert app.http.patch(f"{URL}/one", content=content, headers=headers).status_code in (400, 422)

    def test_a_name_is_taken_once_and_the_same_request_is_answered_alike(self, app: InProcess) -> None:
        first = app.http.post(URL, json=body(), headers={"idempotency-key": "k"})
        again = app.http.post(URL, json=body(), headers={"idempotency-key": "k"})
        assert (again.status_code, again.json()["created_at"]) == (201, first.json()["created_at"])
        for headers in ({}, {"idempotency-key": "other"}):
            answer = app.http.post(URL, json=body(), headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (409, "schedule_exists")

    def test_pages_in_the_order_of_names(self, app: InProcess) -> None:
        for name in ("c", "a", "b"):
            create(app, name, state="paused" if name == "b" else "running")
        first = app.http.get(f"{URL}?page_size=2").json()
        assert SchedulePage.model_validate(first)
        rest = app.http.get(f"{URL}?page_size=2&page_token={first['next_page_token']}").json()
        assert [one["name"] for one in first["schedules"] + rest["schedules"]] == ["a", "b", "c"]
        assert [one["name"] for one in app.http.get(f"{URL}?state=paused").json()["schedules"]] == ["b"]
        assert app.http.get(f"{URL}?type=own.plain").json()["schedules"] == []
        assert app.http.get(f"{URL}?type=%00").json()["schedules"] == []
        assert app.http.get(f"{URL}?page_token=x").status_code == 400

    def test_unknown_ones(self, app: InProcess) -> None:
        for name in ("nothing", "%00", "A", "a" * 100):
            calls = [
                app.http.get(f"{URL}/{name}"),
                app.http.patch(f"{URL}/{name}", json={}),
                app.http.delete(f"{URL}/{name}"),
                app.http.post(f"{URL}/{name}/run-now"),
            ]
            assert {(one.status_code, one.json()["code"]) for one in calls} == {(404, "unknown_schedule")}


class TestChange:
    def test_paused_it_has_no_next_run_and_resumed_it_has(self, app: InProcess) -> None:
        create(app)
        paused = app.http.patch(f"{URL}/one", json={"state": "paused"}).json()
        assert (paused["state"], paused["next_runs"]) == ("paused", [])
        assert len(app.http.patch(f"{URL}/one", json={"state": "running"}).json()["next_runs"]) == 5

    def test_other_times_count_at_once_and_what_is_not_given_stays(
        self, app: InProcess, runner: ScheduleRunner
    ) -> None:
        create(app, labels={"a": "b"}, priority=7)
        make_due(app)
        changed = app.http.patch(f"{URL}/one", json={"cron": "0 0 1 1 *", "zone": "Asia/Tokyo"}).json()
        assert (changed["cron"], changed["every"], changed["zone"]) == ("0 0 1 1 *", None, "Asia/Tokyo")
        assert (changed["labels"], changed["priority"], changed["args"]) == ({"a": "b"}, 7, {"name": "May"})
        assert changed["next_runs"][0].endswith("-12-31T15:00:00Z")
        assert runner.run() == 0, "what was due by the times of before is not submitted"

    def test_a_change_that_does_not_fit_changes_nothing(self, app: InProcess) -> None:
        before = create(app)
        for change in ({"cron": "61 * * * *"}, {"args": {}}, {"zone": "x"}, {"labels": {"scheduled_for": "x"}}):
            assert app.http.patch(f"{URL}/one", json=change).status_code == 422
        assert get(app) == before

    def test_a_change_of_nothing_keeps_the_next_run(self, app: InProcess) -> None:
        before = create(app)
        assert app.http.patch(f"{URL}/one", json={"priority": 9}).json()["next_runs"] == before["next_runs"]

    def test_deleted_it_is_gone_and_its_jobs_stay(self, app: InProcess, runner: ScheduleRunner) -> None:
        create(app)
        make_due(app)
        assert runner.run() == 1
        assert app.http.delete(f"{URL}/one").status_code == 204
        assert app.http.get(f"{URL}/one").status_code == 404
        assert len(jobs_of(app)) == 1

    def test_a_start_to_come_is_the_first_run(self, app: InProcess) -> None:
        start = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
        made = create(app, start=start.isoformat())
        assert datetime.fromisoformat(made["next_runs"][0]) == start


class TestRuns:
    def test_a_job_of_its_own_for_the_time_that_was_due(self, app: InProcess, runner: ScheduleRunner) -> None:
        create(app, labels={"a": "b"}, priority=7, max_attempts=2)
        assert runner.run() == 0
        due = make_due(app)
        assert runner.run() == 1
        assert runner.run() == 0
        (job,) = jobs_of(app)
        labels = {"a": "b", "schedule": "one", "scheduled_for": due.isoformat().replace("+00:00", "Z")}
        assert (job["type"], job["labels"], job["priority"], job["max_attempts"]) == ("own.report", labels, 7, 2)
        assert job["submitted_by"] == "local"
        app.work()
        found = get(app)
        assert (found["runs"], found["last_job"], found["late"]) == (1, job["id"], False)
        assert datetime.fromisoformat(found["last_run_at"]) == due
        assert app.http.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "succeeded"

    def test_missed_for_a_day_it_runs_once_and_then_on_time(self, app: InProcess, runner: ScheduleRunner) -> None:
        create(app, every="15m")
        due = make_due(app, ago="1 day")
        assert get(app)["late"] is True
        assert runner.run() == 1
        (job,) = jobs_of(app)
        assert job["labels"]["scheduled_for"] == due.isoformat().replace("+00:00", "Z")
        following = datetime.fromisoformat(get(app)["next_runs"][0])
        assert timedelta(0) < following - datetime.now(UTC) <= timedelta(minutes=15)

    def test_two_dispatchers_never_run_it_twice(self, app: InProcess) -> None:
        for number in range(60):
            create(app, f"s{number}")
            make_due(app, f"s{number}")
        counts: list[int] = []
        # Small passes, so that both have some.
        runners = [make_runner(app, most=5) for _ in range(4)]
        threads = [threading.Thread(target=lambda one=one: counts.append(one.run())) for one in runners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Who found all others locked may have left while some were still due.
        counts.append(runners[0].run())
        assert sum(counts) == 60
        assert [len(jobs_of(app, f"s{number}")) for number in range(60)] == [1] * 60

    def test_while_the_job_before_has_not_ended_a_run_is_left_out_if_that_was_asked_for(
        self, app: InProcess, runner: ScheduleRunner
    ) -> None:
        create(app, "skips", overlap="skip")
        create(app, "allows")
        for _ in range(2):
            make_due(app, "skips")
            make_due(app, "allows")
            runner.run()
        assert (get(app, "skips")["runs"], get(app, "skips")["skipped"]) == (1, 1)
        assert (get(app, "allows")["runs"], get(app, "allows")["skipped"]) == (2, 0)
        app.work()
        make_due(app, "skips")
        assert runner.run() == 1

    def test_run_now_leaves_the_next_run_when_it_is(self, app: InProcess) -> None:
        before = create(app, labels={"a": "b"})
        answer = app.http.post(f"{URL}/one/run-now", headers={"idempotency-key": "k"})
        assert answer.status_code == 202
        assert app.http.post(f"{URL}/one/run-now", headers={"idempotency-key": "k"}).json()["id"] == answer.json()["id"]
        job = app.job(answer)
        assert (job["state"], job["labels"]) == ("succeeded", {"a": "b", "schedule": "one"})
        assert get(app)["next_runs"] == before["next_runs"]

    def test_a_full_queue_is_waited_for(self, database_url: str) -> None:
        app = InProcess(database_url, jobs_plugins="tests.support.own_jobs", jobs_max_queued=1)
        with app.http:
            create(app, "a")
            create(app, "b")
            make_due(app, "a", "2 seconds")
            make_due(app, "b")
            with pytest.raises(Exception, match="jobs are unfinished"):
                make_runner(app).run()
            assert [get(app, name)["runs"] for name in "ab"] == [1, 0]
            assert get(app, "b")["state"] == "running"
            app.work()
            app.gristmill.admission._counted_at = 0.0
            assert make_runner(app).run() == 1
        app.gristmill.database.close()


class TestReasons:
    def test_a_revoked_key_pauses_it_and_whoever_resumes_it_is_its_creator_then(
        self, app: InProcess, runner: ScheduleRunner
    ) -> None:
        database = app.gristmill.database
        keys = {name: create_key(database, name, "write") for name in ("first", "second")}
        heads = {name: {"authorization": f"Bearer {key}"} for name, key in keys.items()}
        answer = app.http.post(URL, json=body(), headers=heads["first"])
        assert answer.json()["created_by"] == "key:first"
        revoke_key(database, "first")
        # A key of the same name is another key.
        create_key(database, "first", "write")
        make_due(app)
        assert runner.run() == 0
        found = app.http.get(f"{URL}/one", headers=heads["second"]).json()
        assert (found["state"], found["error"]["code"], found["next_runs"]) == ("paused", "creator_revoked", [])
        assert "key:first" in found["error"]["detail"]
        refused = app.http.patch(f"{URL}/one", json={"priority": 1}, headers=heads["second"])
        assert (refused.status_code, refused.json()["code"]) == (403, "creator_revoked")
        resumed = app.http.patch(f"{URL}/one", json={"state": "running"}, headers=heads["second"]).json()
        assert (resumed["state"], resumed["created_by"], resumed["error"]) == ("running", "key:second", None)
        make_due(app)
        assert runner.run() == 1
        (job,) = app.http.get("/api/v1/jobs?label=schedule%3Done", headers=heads["second"]).json()["jobs"]
        assert job["submitted_by"] == "key:second"

    def test_a_key_that_may_not_submit_the_type_may_not_schedule_it(self, app: InProcess) -> None:
        create(app)
        reader = {"authorization": f"Bearer {create_key(app.gristmill.database, 'r', 'read')}"}
        calls = [
            app.http.post(URL, json=body("two"), headers=reader),
            app.http.patch(f"{URL}/one", json={"state": "paused"}, headers=reader),
            app.http.post(f"{URL}/one/run-now", headers=reader),
            app.http.delete(f"{URL}/one", headers=reader),
        ]
        assert [one.status_code for one in calls] == [403] * 4
        assert [one["state"] for one in app.http.get(URL, headers=reader).json()["schedules"]] == ["running"]

    def test_a_job_type_that_the_dispatcher_does_not_know_is_waited_for(self, app: InProcess) -> None:
        create(app)
        make_due(app)
        assert make_runner(app, Catalogue([], [], 5)).run() == 0
        found = get(app)
        assert (found["state"], found["error"]["errors"][0]["code"]) == ("running", "unknown_job_type")
        assert 0 < (datetime.fromisoformat(found["next_runs"][0]) - datetime.now(UTC)).total_seconds() <= 30
        make_due(app)
        assert make_runner(app).run() == 1
        assert get(app)["error"] is None

    def test_arguments_that_do_not_fit_any_more_pause_it_and_others_run(
        self, app: InProcess, runner: ScheduleRunner
    ) -> None:
        create(app)
        create(app, "two")
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(
                "UPDATE gristmill.schedules SET args = %(args)s WHERE name = 'one'", {"args": json.dumps({"name": ""})}
            )
        make_due(app)
        make_due(app, "two")
        assert runner.run() == 1
        found = get(app)
        assert (found["state"], found["error"]["errors"][0]["pointer"]) == ("paused", "/args/name")
        assert get(app, "two")["runs"] == 1

    def test_metrics(self, app: InProcess, runner: ScheduleRunner) -> None:
        create(app)
        create(app, "two", state="paused")
        make_due(app, ago="1 minute")
        metrics = app.http.get("/metrics").text
        assert 'gristmill_schedules{state="running"} 1.0' in metrics
        assert 'gristmill_schedules{state="paused"} 1.0' in metrics
        late = next(line for line in metrics.splitlines() if line.startswith("gristmill_schedule_late_seconds "))
        assert 60 <= float(late.split()[1]) < 120
