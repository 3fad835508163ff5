"""The limit of requests a second over HTTP: by key, and by address without one."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.support.in_process import InProcess

from gristmill.access.keys import create_key
from gristmill.api.app import make_app

# A link whose signature is wrong: the call says so, after the request has been counted.
LINK = "/api/v1/exports/none/files/1.csv?signature=x"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> float:
    """A rate that lets four requests through at once, and the next one after 20 seconds."""
    monkeypatch.setattr("gristmill.api.rate_limit._BURST_SECONDS", 80)
    return 0.05


@pytest.fixture
def app(database_url: str, slow: float) -> Iterator[InProcess]:
    found = InProcess(database_url, api_requests_per_second=slow)
    yield found
    found.gristmill.database.close()


class TwoAddresses:
    """Callers of one API from two addresses."""

    def __init__(self, app: InProcess) -> None:
        api = make_app(app.services)
        self.one = TestClient(api, base_url="http://localhost", client=("192.0.2.1", 1))
        self.other = TestClient(api, base_url="http://localhost", client=("192.0.2.2", 1))


def statuses(client: TestClient, number: int, path: str = "/api/v1/datasets", **options: Any) -> list[int]:
    return [client.get(path, **options).status_code for _ in range(number)]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_signed_links_are_counted_by_address(app: InProcess) -> None:
    callers = TwoAddresses(app)
    with callers.one, callers.other:
        assert statuses(callers.one, 6, LINK)[-1] == 429
        assert 429 not in statuses(callers.other, 4, LINK)


def test_wrong_keys_are_counted_by_address_whatever_they_are(app: InProcess) -> None:
    callers = TwoAddresses(app)
    key = bearer(create_key(app.gristmill.database, "used", "read"))
    new = bearer(create_key(app.gristmill.database, "new", "read"))
    with callers.one, callers.other:
        assert statuses(callers.one, 1, headers=key) == [200]
        wrong = [callers.one.get("/api/v1/datasets", headers=bearer(f"wrong-{n}")) for n in range(6)]
        assert [answer.status_code for answer in wrong] == [401] * 4 + [429] * 2
        assert int(wrong[-1].headers["retry-after"]) >= 1
        assert statuses(callers.one, 1, headers=bearer("wrong-0")) == [429], "one that is remembered as wrong"
        # Nobody can guess faster than that; a key that is in use, and other addresses, go on.
        assert statuses(callers.one, 1, headers=new) == [429]
        assert statuses(callers.one, 1, headers=key) == [200]
        assert statuses(callers.one, 1) == [200]
        assert statuses(callers.other, 1, headers=new) == [200]
        assert statuses(callers.other, 1, headers=bearer("wrong-0")) == [401]


def test_so_are_requests_without_a_key_where_one_is_needed(database_url: str, slow: float) -> None:
    app = InProcess(database_url, api_requests_per_second=slow, api_require_key=True)
    with app.http:
        assert statuses(app.http, 6) == [401] * 4 + [429] * 2
    app.gristmill.database.close()


def test_more_requests_than_the_limit_get_429_and_probes_are_not_counted(app: InProcess) -> None:
    with app.http:
        answers = [app.http.get("/api/v1/datasets") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429]
        assert answers[-1].json()["code"] == "rate_limited"
        assert int(answers[-1].headers["retry-after"]) >= 1
        key = {"authorization": f"Bearer {create_key(app.gristmill.database, 'other', 'read')}"}
        assert app.http.get("/api/v1/datasets", headers=key).status_code == 200
        assert {app.http.get("/healthz").status_code for _ in range(10)} == {200}
