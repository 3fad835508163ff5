"""The Idempotency-Key over REST: how it is written, and that cancel and retry honour it as every write does."""

import threading
from typing import Any

import pytest
from tests.integration.test_write_rest import ONE
from tests.support.in_process import InProcess, Job

from gristmill.core.errors import Contended


@pytest.fixture
def thing(app: InProcess) -> str:
    name = app.dataset(ONE)
    app.work()
    return name


def queued(app: InProcess, name: str) -> Job:
    job: Job = app.post(name, [{"k": "a", "v": 1}]).json()
    return job


def failed(app: InProcess, name: str) -> Job:
    """A job that failed: its record was there when it ran."""
    first, job = app.post(name, [{"k": "a", "v": 1}]), app.post(name, [{"k": "a", "v": 2}], "records?on_conflict=fail")
    app.job(first)
    found = app.job(job)
    assert found["state"] == "failed"
    return found


def call(app: InProcess, path: str, key: str | None = None, **more: Any) -> Any:
    return app.http.post(path, headers={} if key is None else {"idempotency-key": key}, **more)


class TestForm:
    @pytest.mark.parametrize(
        ("one", "other"),
        [("{}", '"{}"'), ("{}", "{}"), ('"{}"', '"{}"'), ('a\\"{}', '"a\\\\\\"{}"'), ('"{},b"', "{},b")],
    )
    def test_a_quoted_key_is_the_same_as_a_bare_one(self, app: InProcess, thing: str, one: str, other: str) -> None:
        answers = [app.post(thing, [{"k": "a"}], headers={"idempotency-key": k.format(thing)}) for k in (one, other)]
        assert answers[0].json() == answers[1].json()
        assert answers[0].status_code == 202

    @pytest.mark.parametrize("key", ['"', '""', '"a', '"a"b', '"a\\b"', "a b", '"a b"', "", "x" * 256, "ü"])
    def test_what_is_no_key_is_refused(self, app: InProcess, thing: str, key: str) -> None:
        headers = {"idempotency-key": key.encode("latin-1")}
        for answer in (
            app.post(thing, [{"k": "a"}], headers=headers),
            app.http.post(f"/api/v1/jobs/{queued(app, thing)['id']}/cancel", headers=headers),
        ):
            (error,) = answer.json()["errors"]
            assert (answer.status_code, error["code"]) == (422, "bad_header")
            assert error["pointer"] == "/header/Idempotency-Key"

    @pytest.mark.parametrize("second", ["two", "one"])
    def test_two_headers_are_refused_on_both_kinds_of_routes(self, app: InProcess, thing: str, second: str) -> None:
        headers = [("idempotency-key", "one"), ("idempotency-key", second)]
        for answer in (
            app.post(thing, [{"k": "a"}], headers=headers),
            app.http.post("/api/v1/datasets", json={**ONE, "name": "never"}, headers=headers),
            app.http.post(f"/api/v1/jobs/{queued(app, thing)['id']}/retry", headers=headers),
        ):
            (error,) = answer.json()["errors"]
            assert (answer.status_code, error["code"]) == (422, "duplicate")


class TestCancel:
    def test_sent_again_it_is_answered_with_the_job_that_it_cancelled(self, app: InProcess, thing: str) -> None:
        """The first answer was lost: without the key the second is a conflict, as the job has finished."""
        path, key = f"/api/v1/jobs/{queued(app, thing)['id']}/cancel", f"cancel-{thing}"
        first = call(app, path, key)
        assert (first.status_code, first.json()["state"]) == (200, "cancelled")
        for written in (key, f'"{key}"'):
            again = call(app, path, written)
            assert (again.status_code, again.json()) == (200, first.json())
            assert again.headers["location"] == first.headers["location"] == first.json()["links"]["self"]
        assert call(app, path).status_code == 409
        assert call(app, path, "another").status_code == 409

    def test_a_refused_one_keeps_no_key(self, app: InProcess, thing: str) -> None:
        """Sent again it is judged anew."""
        job = failed(app, thing)
        key = f"early-{thing}"
        assert call(app, job["links"]["cancel"], key).json()["code"] == "not_cancellable"
        app.job(app.http.delete(app.key(thing, "a")))
        assert call(app, job["links"]["retry"]).status_code == 409, "the deletion came later"
        assert call(app, job["links"]["cancel"], key).json()["code"] == "not_cancellable"

    def test_the_key_of_another_request_is_refused_both_ways(self, app: InProcess, thing: str) -> None:
        keys = {"idempotency-key": f"shared-{thing}"}
        job = app.post(thing, [{"k": "a", "v": 1}], headers=keys).json()
        other = queued(app, thing)
        for path in (job["links"]["cancel"], other["links"]["cancel"]):
            answer = call(app, path, keys["idempotency-key"])
            assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
        assert call(app, job["links"]["cancel"], f"own-{thing}").status_code == 200
        for answer in (
            call(app, other["links"]["cancel"], f"own-{thing}"),
            app.post(thing, [{"k": "b"}], headers={"idempotency-key": f"own-{thing}"}),
        ):
            assert (answer.status_code, answer.json()["job"]) == (422, job["id"])
        assert app.job(app.http.get(other["links"]["self"]))["state"] == "succeeded"

    def test_an_unknown_job_is_unknown_with_a_key_too(self, app: InProcess) -> None:
        path = "/api/v1/jobs/01a2007d-c15e-7000-8000-000000000000/cancel"
        assert [call(app, path, "unknown").status_code for _ in range(2)] == [404, 404]

    def test_of_requests_at_the_same_time_one_cancels_and_all_are_answered(self, app: InProcess, thing: str) -> None:
        path, key = queued(app, thing)["links"]["cancel"], f"race-{thing}"
        gate, answers = threading.Barrier(4), []

        def send() -> None:
            gate.wait()
            answers.append(call(app, path, key))

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(one.status_code, one.json()["state"]) for one in answers] == [(200, "cancelled")] * 4

    def test_what_was_rolled_back_was_not_done(
        self, app: InProcess, thing: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The key is noted in the transaction that cancels: neither stands without the other."""
        path, key = queued(app, thing)["links"]["cancel"], f"broken-{thing}"

        def broken(*_: Any) -> None:
            raise Contended("it came to nothing")

        with monkeypatch.context() as patched:
            patched.setattr("gristmill.jobs.repository.submit.keep_key", broken)
            assert call(app, path, key).status_code == 503
        assert app.http.get(path.removesuffix("/cancel")).json()["state"] == "queued"
        assert call(app, path, key).json()["state"] == "cancelled"


class TestRetry:
    def test_sent_again_it_runs_nothing_a_second_time(self, app: InProcess, thing: str) -> None:
        job, key = failed(app, thing), f"retry-{thing}"
        first = call(app, job["links"]["retry"], key)
        assert (first.status_code, first.json()["state"]) == (202, "queued")
        assert app.work() == 1
        assert app.http.get(job["links"]["self"]).json()["state"] == "failed"
        again = call(app, job["links"]["retry"], key)
        assert (again.status_code, again.json()["state"]) == (202, "failed")
        assert app.work() == 0
        other = call(app, job["links"]["retry"], f"other-{thing}")
        assert (other.status_code, app.work()) == (202, 1), "another request is another retry"

    def test_waiting_longer_is_the_same_request(self, app: InProcess, thing: str) -> None:
        job, key = failed(app, thing), f"wait-{thing}"
        assert call(app, job["links"]["retry"], key).status_code == 202
        assert call(app, job["links"]["retry"] + "?wait=0", key).status_code == 202
        assert app.work() == 1
