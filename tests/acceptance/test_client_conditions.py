"""The shipped client over real HTTP: answers that were lost on their way, and changes at the same time."""

import threading
from typing import Any

import httpx
import pytest
from tests.support.rest import Rest

from gristmill.client import Client, JobFailed, PreconditionFailed, Retry

FIELDS = [{"name": "k", "type": "text", "required": True}, {"name": "v", "type": "integer"}]
CONTRACT = {"fields": FIELDS, "key": ["k"]}


class LosesAnswers(httpx.BaseTransport):
    """Sends each request for real; the answers to the first ones, and nothing else, never arrive."""

    def __init__(self, answers: int) -> None:
        self._real = httpx.HTTPTransport()
        self._left = answers
        self.sent: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        response = self._real.handle_request(request)
        if self._left:
            self._left -= 1
            response.read()
            raise httpx.ReadError("the connection broke", request=request)
        return response

    def close(self) -> None:
        self._real.close()


@pytest.fixture
def name(rest: Rest) -> str:
    name = rest.create(CONTRACT)
    rest.store(name, [{"k": "a", "v": 0}])
    return name


def forgetful(rest: Rest, answers: int = 2) -> tuple[Client, LosesAnswers]:
    transport = LosesAnswers(answers)
    retry = Retry(first_delay=0, longest_delay=0)
    return Client(rest.system.url, retry=retry, transport=transport), transport


@pytest.mark.promise(2)
class TestLostAnswers:
    def test_a_cancel_whose_answer_was_lost_gives_the_cancelled_job(self, rest: Rest, name: str) -> None:
        job = rest.post(name, [{"k": "b"}], params={"run_at": "2100-01-01T00:00:00Z"}).json()
        client, transport = forgetful(rest)
        with client:
            assert client.cancel(job["id"])["state"] == "cancelled"
        assert len(transport.sent) == 3
        assert len({request.headers["idempotency-key"] for request in transport.sent}) == 1

    def test_a_retry_whose_answer_was_lost_runs_the_job_once(self, rest: Rest, name: str) -> None:
        """A second retry of the same job, which is being run by then, would be refused."""
        # While a job is unfinished nobody can know at once that the record is not there.
        waiting = rest.post(name, [{"k": "b"}], params={"run_at": "2100-01-01T00:00:00Z"}).json()
        job = rest.finished(rest.http.patch(rest.record(name, "none"), json={"v": 1}))
        assert job["error"]["code"] == "unknown_record"
        rest.http.post(waiting["links"]["cancel"])
        client, transport = forgetful(rest)
        with client:
            assert client.retry(job["id"])["id"] == job["id"]
            with pytest.raises(JobFailed):
                client.wait(job["id"])
        assert len(transport.sent) >= 3
        assert len({request.headers["idempotency-key"] for request in transport.sent[:3]}) == 1

    def test_a_patch_whose_answer_was_lost_is_not_refused_by_its_own_effect(self, rest: Rest, name: str) -> None:
        client, transport = forgetful(rest)
        with client:
            tag = rest.http.get(rest.record(name, "a")).headers["etag"]
            job = client.patch(name, "a", {"v": 5}, if_match=tag, wait=True)
        assert (job["state"], len(transport.sent)) == ("succeeded", 3)
        answer = rest.http.get(rest.record(name, "a"))
        assert (answer.json()["v"], answer.headers["etag"]) == (5, job["result"]["etag"])


@pytest.mark.promise(9)
def test_increments_of_many_clients_at_the_same_time_are_all_there(rest: Rest, name: str) -> None:
    """Each reads, adds one and writes under the ETag that it read, again and again until that was still so."""
    clients, each, failures = 4, 5, []

    def count() -> None:
        try:
            with Client(rest.system.url) as client:
                for _ in range(each):
                    while not increment(client):
                        pass
        except Exception as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    def increment(client: Client) -> bool:
        record, tag = client.record_with_etag(name, "a")
        try:
            job: Any = client.patch(name, "a", {"v": record["v"] + 1}, if_match=tag, wait=True)
        except PreconditionFailed:
            return False
        assert job["result"]["etag"] != tag
        return True

    threads = [threading.Thread(target=count) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rest.http.get(rest.record(name, "a")).json()["v"] == clients * each
