"""ETags of datasets, which name their contracts, and of jobs, which name what their bodies say."""

import asyncio
import threading
from typing import Any

import pytest
from tests.integration.test_write_rest import ONE
from tests.support.in_process import InProcess


@pytest.fixture
def thing(app: InProcess) -> str:
    name = app.dataset(ONE)
    app.work()
    return name


def path(name: str) -> str:
    return f"/api/v1/datasets/{name}"


def tag_of(app: InProcess, name: str) -> str:
    tag: str = app.http.get(path(name)).headers["etag"]
    return tag


def add(app: InProcess, name: str, field: str, tag: str, **headers: str) -> Any:
    change = {"add_fields": [{"name": field, "type": "text"}]}
    return app.http.patch(path(name), json=change, headers={"if-match": tag, **headers})


class TestDatasets:
    def test_the_tag_changes_with_the_contract_and_not_with_the_rows(self, app: InProcess, thing: str) -> None:
        first = tag_of(app, thing)
        app.job(app.post(thing, [{"k": "a"}]))
        assert tag_of(app, thing) == first
        job = app.job(add(app, thing, "x", first))
        assert tag_of(app, thing) == job["result"]["etag"] != first

    def test_a_change_of_another_contract_is_refused_at_once(self, app: InProcess, thing: str) -> None:
        """A new contract counts from its 202 on, before its job has run."""
        old = tag_of(app, thing)
        assert add(app, thing, "x", old).status_code == 202
        refused = add(app, thing, "y", old)
        assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
        assert refused.json()["etag"] == tag_of(app, thing)
        app.work()
        assert [field["name"] for field in app.http.get(path(thing)).json()["contract"]["fields"]] == ["k", "v", "x"]

    def test_a_drop_too(self, app: InProcess, thing: str) -> None:
        old = tag_of(app, thing)
        app.job(add(app, thing, "x", old))
        url = f"{path(thing)}?confirm={thing}"
        assert app.http.delete(url, headers={"if-match": old}).status_code == 412
        assert app.http.delete(url, headers={"if-match": f'"x", {tag_of(app, thing)}'}).status_code == 202

    def test_a_dataset_made_anew_under_the_name_is_another(self, app: InProcess, thing: str) -> None:
        old = tag_of(app, thing)
        app.job(app.http.delete(f"{path(thing)}?confirm={thing}"))
        app.job(app.http.post("/api/v1/datasets", json={**ONE, "name": thing}))
        assert app.http.get(path(thing)).json()["version"] == 1
        assert add(app, thing, "x", old).status_code == 412

    def test_of_changes_at_the_same_time_under_one_tag_one_is_made(self, app: InProcess, thing: str) -> None:
        tag, gate, answers = tag_of(app, thing), threading.Barrier(4), []

        def change(number: int) -> None:
            gate.wait()
            answers.append(add(app, thing, f"x{number}", tag).status_code)

        threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [202, 412, 412, 412]

    def test_a_repeated_request_is_answered_with_its_job(self, app: InProcess, thing: str) -> None:
        old, key = tag_of(app, thing), {"idempotency-key": f"alter-{thing}"}
        first = add(app, thing, "x", old, **key)
        assert add(app, thing, "x", old, **key).json()["id"] == first.json()["id"]
        assert add(app, thing, "x", tag_of(app, thing), **key).json()["code"] == "idempotency_key_reused"

    def test_it_is_read_in_full_whatever_a_cache_has(self, app: InProcess, thing: str) -> None:
        """Its tag says nothing about the rows and sizes that the answer has."""
        answer = app.http.get(path(thing), headers={"if-none-match": tag_of(app, thing)})
        assert (answer.status_code, answer.json()["name"]) == (200, thing)


class TestJobs:
    def test_the_tag_changes_with_whatever_the_body_says(self, app: InProcess, thing: str) -> None:
        url = app.post(thing, [{"k": "a"}]).json()["links"]["self"]
        queued = app.http.get(url)
        assert queued.headers["etag"].startswith('W/"')
        assert app.http.get(url).headers["etag"] == queued.headers["etag"]
        same = app.http.get(url, headers={"if-none-match": queued.headers["etag"]})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", queued.headers["etag"])
        app.work()
        ended = app.http.get(url, headers={"if-none-match": queued.headers["etag"]})
        assert (ended.status_code, ended.json()["state"]) == (200, "succeeded")
        assert ended.headers["etag"] != queued.headers["etag"]

    def test_a_wait_that_ends_without_a_change_says_so(self, app: InProcess, thing: str) -> None:
        url = app.post(thing, [{"k": "a"}]).json()["links"]["self"]
        known = {"if-none-match": app.http.get(url).headers["etag"], "prefer": "wait=0"}
        answer = app.http.get(f"{url}?wait=0.05", headers=known)
        assert (answer.status_code, answer.content) == (304, b"")
        preferred = app.http.get(url, headers=known)
        assert (preferred.status_code, preferred.headers["preference-applied"]) == (304, "wait=0")
        app.work()
        assert app.http.get(f"{url}?wait=20", headers=known).json()["done"]

    def test_it_can_wait_for_the_change(self, app: InProcess, thing: str) -> None:
        """The wait of a client that knows the job as queued ends with its end, and with a body."""
        url = app.post(thing, [{"k": "a"}]).json()["links"]["self"]
        known = {"if-none-match": app.http.get(url).headers["etag"]}

        async def both() -> Any:
            waiting = asyncio.to_thread(app.http.get, f"{url}?wait=25", headers=known)
            answer, _ = await asyncio.gather(waiting, asyncio.to_thread(app.work))
            return answer

        answer = asyncio.run(both())
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")

    def test_an_unknown_job_is_unknown(self, app: InProcess) -> None:
        answer = app.http.get("/api/v1/jobs/01a2007d-c15e-7000-8000-000000000000", headers={"if-none-match": "*"})
        assert answer.status_code == 404
