"""Calls that take no body refuse one: what it asks for would be passed over."""

import uuid
from collections.abc import Iterator

import pytest
from tests.integration.test_write_rest import ONE
from tests.support.in_process import InProcess

from gristmill.api.openapi.operations import OPERATIONS

WHERE = b'{"where": {"k": "a"}}'
# Without a permission, and for programs that look whether the process is there.
OPEN = {"root", "health", "ready", "metrics", "version"}
BODYLESS = sorted(name for name, one in OPERATIONS.items() if one.body is None and name not in OPEN)


def place(app: InProcess, operation: str) -> tuple[str, str]:
    """Return method and path of a call, with something in the place of each name."""
    for path, calls in app.http.get("/openapi.json").json()["paths"].items():
        for method, call in calls.items():
            if call.get("operationId") == operation:
                return method.upper(), path.replace("{job_id}", "0" * 8).replace("{", "").replace("}", "")
    raise AssertionError(f"no call has the id {operation}")


def in_pieces(*pieces: bytes) -> Iterator[bytes]:
    """A body whose length nobody says."""
    yield from pieces


def test_there_are_such_calls_of_each_method(app: InProcess) -> None:
    assert {place(app, one)[0] for one in BODYLESS} == {"GET", "POST", "DELETE"}
    assert len(BODYLESS) > 25


@pytest.mark.parametrize("operation", BODYLESS)
@pytest.mark.parametrize("body", [WHERE, b"0", b" " * 100, [b"{", b'"where": {}}']])
def test_every_one_refuses_it(app: InProcess, operation: str, body: bytes | list[bytes]) -> None:
    method, path = place(app, operation)
    content = body if isinstance(body, bytes) else in_pieces(*body)
    answer = app.http.request(method, path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["code"] == "unexpected_body"
    assert answer.json()["errors"][0]["pointer"] == ""


def test_a_filter_that_is_sent_to_truncate_deletes_nothing(app: InProcess) -> None:
    name = app.dataset(ONE)
    app.job(app.post(name, [{"k": "a", "v": 1}, {"k": "b", "v": 2}]))
    answer = app.post(name, {"where": {"k": "a"}}, "truncate")
    assert answer.status_code == 422
    assert '\'{"where":{"k":"a"}}\'' in answer.json()["detail"]
    app.work()
    assert len(app.rows(name)) == 2


@pytest.mark.parametrize("operation", BODYLESS)
@pytest.mark.parametrize("body", [b"{}", [], [b"{", b"}"]])
def test_every_one_answers_one_that_says_nothing_as_no_body(
    app: InProcess, operation: str, body: bytes | list[bytes]
) -> None:
    method, path = place(app, operation)
    headers = {"content-type": "application/json", "idempotency-key": f'"{uuid.uuid4()}"'}
    without = app.http.request(method, path, headers=headers)
    content = body if isinstance(body, bytes) else in_pieces(*body)
    answer = app.http.request(method, path, content=content, headers=headers)
    assert answer.status_code == without.status_code != 500
    changing = {"request_id", "took_ms"}
    assert {**answer.json(), **dict.fromkeys(changing)} == {**without.json(), **dict.fromkeys(changing)}


@pytest.mark.parametrize("body", [b"", b"{}", b" {}\n", [], [b""], [b"{", b"}"]])
def test_what_says_nothing_is_as_no_body(app: InProcess, body: bytes | list[bytes]) -> None:
    name = app.dataset(ONE)
    app.job(app.post(name, [{"k": "a", "v": 1}, {"k": "b", "v": 2}]))
    calls = [("GET", "", 200), ("GET", "/records", 200), ("DELETE", "/records/a", 202), ("POST", "/truncate", 202)]
    for method, path, status in calls:
        content = body if isinstance(body, bytes) else in_pieces(*body)
        answer = app.http.request(method, f"/api/v1/datasets/{name}{path}", content=content)
        assert answer.status_code == status, answer.text
