"""How the client turns answers into exceptions, and which calls it repeats."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gristmill import client as api
from gristmill.client import Client, ClientError, ConnectionFailed, InvalidArgument, Retry

Handler = Callable[[httpx.Request], httpx.Response]
NO_PAUSE = Retry(attempts=4, first_delay=0, longest_delay=0)


def client_of(handler: Handler, retry: Retry = NO_PAUSE) -> Client:
    return Client("http://mill.test", "secret", retry=retry, transport=httpx.MockTransport(handler))


def problem(status: int, code: str = "some_code", **extra: Any) -> httpx.Response:
    body = {"type": "about:blank", "title": "Title", "status": status, "code": code, "detail": "The detail", **extra}
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json"})


def answers(*responses: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """Return a handler that gives the responses in turn, and the list that the requests are put into."""
    seen: list[httpx.Request] = []
    waiting = list(responses)

    def handler(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        answer = waiting.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler, seen


def accepted() -> httpx.Response:
    return httpx.Response(202, json={"id": "j1", "state": "queued", "done": False})


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, api.InvalidRequest),
            (401, api.Unauthenticated),
            (403, api.Forbidden),
            (404, api.NotFound),
            (405, api.Refused),
            (409, api.Conflict),
            (412, api.RefusedPrecondition),
            (413, api.TooLarge),
            (415, api.InvalidRequest),
            (422, api.InvalidRequest),
            (429, api.Unavailable),
            (500, api.ServerError),
            (503, api.Unavailable),
        ],
    )
    def test_each_status_has_its_exception(self, status: int, kind: type[api.Problem]) -> None:
        client = client_of(lambda request: problem(status))
        with pytest.raises(api.Problem) as caught:
            client.dataset("weather")
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.code, caught.value.detail) == (status, "some_code", "The detail")

    def test_the_places_and_their_total_are_kept(self) -> None:
        place = {"pointer": "/0/at", "code": "bad_timestamp", "reason": "no offset", "record": 0, "field": "at"}
        client = client_of(lambda request: problem(422, errors=[place], errors_total=17))
        with pytest.raises(api.InvalidRequest) as caught:
            client.submit("weather", [{"at": "2026-01-01"}])
        assert caught.value.errors == [place]
        assert caught.value.errors_total == 17

    def test_an_answer_that_is_no_problem_object_is_quoted(self) -> None:
        client = client_of(lambda request: httpx.Response(500, text="<h1>Bad proxy</h1>"))
        with pytest.raises(api.ServerError, match="Bad proxy"):
            client.version()

    def test_no_answer_names_the_server_and_the_attempts(self) -> None:
        handler, seen = answers(*[httpx.ConnectError("refused")] * 4)
        with pytest.raises(api.ConnectionFailed, match=r"http://mill\.test after 4 attempts: refused"):
            client_of(handler).version()
        assert len(seen) == 4

    def test_a_write_without_an_answer_tells_its_idempotency_key(self) -> None:
        handler, seen = answers(*[httpx.ReadTimeout("silence")] * 4)
        with pytest.raises(api.ConnectionFailed) as caught:
            client_of(handler).submit("weather", [{"a": 1}])
        assert {request.headers["Idempotency-Key"] for request in seen} == {caught.value.idempotency_key}


class TestHandingOn:
    def test_a_problem_is_handed_on_as_the_server_said_it(self) -> None:
        error = api.Problem(429, {"code": "rate_limited", "status": 429}, retry_after=2.4)
        answer = ({"code": "rate_limited", "status": 429}, 429, {"Retry-After": "2"}, "application/problem+json")
        assert error.answer() == answer

    @pytest.mark.parametrize(("error", "status"), [(ConnectionFailed("no answer"), 503), (InvalidArgument("NaN"), 400)])
    def test_what_the_server_has_not_said_is_a_problem_too(self, error: ClientError, status: int) -> None:
        body, given, headers, media_type = error.answer()
        assert (body, given, headers) == ({"detail": str(error), "status": status}, status, {})
        assert media_type == "application/problem+json"


class TestRepeating:
    @pytest.mark.parametrize(
        "first", [httpx.ConnectError("refused"), httpx.ReadError("reset"), problem(503), problem(429)]
    )
    def test_a_write_is_repeated_with_the_same_key_and_body(self, first: httpx.Response | Exception) -> None:
        handler, seen = answers(first, accepted())
        assert client_of(handler).submit("weather", ({"n": n} for n in range(3)))["id"] == "j1"
        assert len(seen) == 2
        assert seen[0].headers["Idempotency-Key"] == seen[1].headers["Idempotency-Key"]
        assert seen[0].content == seen[1].content == b'{"n":0}\n{"n":1}\n{"n":2}\n'

    def test_each_write_has_a_key_of_its_own_unless_one_is_given(self) -> None:
        handler, seen = answers(accepted(), accepted(), accepted())
        client = client_of(handler)
        client.submit("weather", [{"a": 1}])
        client.submit("weather", [{"a": 1}])
        client.submit("weather", [{"a": 1}], idempotency_key="mine")
        keys = [request.headers["Idempotency-Key"] for request in seen]
        assert len(set(keys)) == 3
        assert keys[2] == "mine"

    @pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
    def test_a_refusal_is_not_repeated(self, status: int) -> None:
        handler, seen = answers(problem(status))
        with pytest.raises(api.Problem):
            client_of(handler).submit("weather", [{"a": 1}])
        assert len(seen) == 1

    def test_the_attempts_are_bounded(self) -> None:
        handler, seen = answers(*[problem(503) for _ in range(4)])
        with pytest.raises(api.Unavailable):
            client_of(handler).version()
        assert len(seen) == 4

    def test_retry_after_is_waited_for(self) -> None:
        pauses: list[float] = []
        busy = problem(429)
        busy.headers["Retry-After"] = "7"
        handler, _ = answers(busy, httpx.Response(200, json={}))
        client = client_of(handler)
        client._transport.sleep = pauses.append
        assert client.version() == {}
        assert pauses == [7]

    def test_a_retry_after_past_the_limit_is_given_up_at_once(self) -> None:
        busy = problem(503)
        busy.headers["Retry-After"] = "3600"
        handler, seen = answers(busy)
        with pytest.raises(api.Unavailable) as caught:
            client_of(handler).version()
        assert caught.value.retry_after == 3600
        assert len(seen) == 1


class TestRetry:
    def test_delays_double_up_to_the_longest_and_end(self) -> None:
        retry = Retry(attempts=6, first_delay=1, longest_delay=4)
        for attempt, full in ((1, 1), (2, 2), (3, 4), (4, 4), (5, 4)):
            delay = retry.delay(attempt)
            assert delay is not None
            assert full / 2 <= delay <= full
        assert retry.delay(6) is None


def test_the_key_is_sent_as_a_bearer_token() -> None:
    handler, seen = answers(httpx.Response(200, json={"version": "1"}))
    assert client_of(handler).version() == {"version": "1"}
    assert seen[0].headers["Authorization"] == "Bearer secret"
    assert json.loads(seen[0].content or b"null") is None


class TestPreconditions:
    """Whether the call or its job found the thing changed, the caller catches one exception."""

    def test_a_refusal_gives_the_new_tag(self) -> None:
        handler, seen = answers(problem(412, "precondition_failed", etag='"7.0.1"'))
        with pytest.raises(api.PreconditionFailed) as caught:
            client_of(handler).patch("d", "a", {"v": 2}, if_match='"1.0.1"')
        assert caught.value.etag == '"7.0.1"'
        assert seen[0].headers["If-Match"] == '"1.0.1"'
        assert isinstance(caught.value, api.Refused)

    def test_so_does_a_job_that_was_waited_for(self) -> None:
        error = {"status": 412, "code": "precondition_failed", "detail": "The detail", "etag": '"7.0.1"'}
        failed = {"id": "j1", "state": "failed", "done": True, "error": error}
        handler, _ = answers(httpx.Response(200, json=failed))
        with pytest.raises(api.PreconditionFailed) as caught:
            client_of(handler).delete("d", "a", if_match='"1.0.1"', wait=True)
        assert caught.value.etag == '"7.0.1"'
        assert isinstance(caught.value, api.JobFailed)

    def test_other_jobs_that_failed_are_no_such_thing(self) -> None:
        failed = {"id": "j1", "state": "failed", "done": True, "error": {"status": 404, "detail": "none"}}
        handler, _ = answers(httpx.Response(200, json=failed))
        with pytest.raises(api.JobFailed) as caught:
            client_of(handler).delete("d", "a", wait=True)
        assert not isinstance(caught.value, api.PreconditionFailed)

    def test_the_tag_comes_with_the_record(self) -> None:
        handler, _ = answers(httpx.Response(200, json={"k": "a"}, headers={"ETag": '"1.0.1"'}))
        assert client_of(handler).record_with_etag("d", "a") == ({"k": "a"}, '"1.0.1"')


class TestWhatCannotBeSent:
    @pytest.mark.parametrize("url", ["http://[", "http://x\0y", "ftp://x", "x", "http://" + "a" * 70000])
    def test_an_address_that_is_none(self, url: str) -> None:
        with pytest.raises(ClientError):
            Client(url, retry=Retry(attempts=1)).version()

    @pytest.mark.parametrize("key", ["é", "a\nb", "a\0"])
    def test_an_api_key_that_no_header_holds(self, key: str) -> None:
        with pytest.raises(ClientError):
            Client("http://127.0.0.1:1", key, retry=Retry(attempts=1)).version()

    @pytest.mark.parametrize("name", ["\ud800", "a\ud800b"])
    def test_half_of_a_surrogate_pair(self, name: str) -> None:
        with Client("http://127.0.0.1:1", retry=Retry(attempts=1)) as client:
            calls: list[Callable[[], Any]] = [
                lambda: client.record(name, 1),
                lambda: client.record("d", name),
                lambda: client.submit("d", [{name: 1}]),
                lambda: list(client.records("d", where={"t": name})),
                lambda: client.submit("d", [{}], idempotency_key=name),
                lambda: client.submit("d", [{}], labels={"a": name}),
                lambda: client.delete("d", 1, if_match=name),
                lambda: client.search("d", text=name),
            ]
            for call in calls:
                with pytest.raises(ClientError):
                    call()

    @pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}, 1j])
    def test_a_value_that_json_does_not_have(self, value: Any) -> None:
        with Client("http://127.0.0.1:1") as client, pytest.raises(InvalidArgument):
            client.submit("d", [{"n": value}])

    def test_an_answer_that_is_not_json_though_a_success(self) -> None:
        page = httpx.MockTransport(lambda request: httpx.Response(200, text="<html>sign in"))
        with Client("http://x", transport=page) as client, pytest.raises(ConnectionFailed, match="sign in"):
            client.version()
