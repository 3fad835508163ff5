"""A small POST and a search without options go past the framework; nobody can tell by the answer."""

import json
from typing import Any

import pytest
from tests.integration.test_write_rest import THINGS
from tests.support.in_process import InProcess

GOOD = [{"k": "a", "n": 1}]
# Any header that the short way does not know sends a request the long way.
LONG = {"x-long": "1"}
BAD: list[Any] = [
    b"",
    b"{",
    b"[]",
    b'{"records": [',
    b'{"records": [{"k": "a", "n": 1}], "more": 1}',
    [{"k": "a"}],
    [{"k": "a", "n": "one"}],
    {"k": "a", "n": 1},
    [{"k": "a", "n": 1, "unknown": 2}, {"k": 3, "n": 1}],
]


def send(app: InProcess, name: str, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **headers}
    return app.http.post(f"/api/v1/datasets/{name}/records", content=content, headers=headers)


def shown(answer: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    """What both ways must answer alike: everything but what names the request, the job and the time."""
    own = ("id", "request_id", "links", "created_at", "run_at")
    body = {name: value for name, value in answer.json().items() if name not in own}
    headers = {name: value for name, value in answer.headers.items() if name in ("content-type", "www-authenticate")}
    return answer.status_code, body, headers


class TestShortcut:
    @pytest.mark.parametrize("body", [GOOD, {"records": GOOD}, {"records": [*GOOD, {"k": "b", "n": 2, "t": "é"}]}])
    def test_both_ways_give_the_same_answer_and_the_same_rows(
        self, app: InProcess, body: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = app.dataset({**THINGS, "key": ["k"]})
        app.work()
        # The first request makes the name known.
        long = send(app, name, body, **LONG)
        app.work()
        rows = app.rows(name)
        # Limits whose figures are old would be looked at the long way, which is closed here.
        app.gristmill.admission.check()
        monkeypatch.setattr(app.services.record_ingest, "ingest", None)
        short = send(app, name, body)
        assert shown(short) == shown(long)
        assert short.headers["location"] == short.json()["links"]["self"]
        assert short.headers["x-request-id"] == short.json()["request_id"]
        assert int(short.headers["content-length"]) == len(short.content)
        job = app.job(short)
        assert job["state"] == "succeeded"
        assert app.http.get(short.headers["location"]).json() == job
        assert app.rows(name) == rows

    @pytest.mark.parametrize("body", BAD)
    def test_both_ways_refuse_alike(self, app: InProcess, body: Any) -> None:
        name = app.dataset({**THINGS, "key": ["k"]})
        app.work()
        send(app, name, GOOD)
        app.work()
        short, long = send(app, name, body), send(app, name, body, **LONG)
        assert short.status_code in (400, 422)
        assert shown(short) == shown(long)

    def test_a_dataset_that_nobody_knows_is_refused_alike(self, app: InProcess) -> None:
        short, long = send(app, "nobody", GOOD), send(app, "nobody", GOOD, **LONG)
        assert short.status_code == 404
        assert shown(short) == shown(long)

    def test_metrics_name_the_call_alike(self, app: InProcess) -> None:
        name = app.dataset({**THINGS, "key": ["k"]})
        app.work()

        def counted() -> dict[str, float]:
            lines = app.http.get("/metrics").text.splitlines()
            calls = [line for line in lines if "request_seconds_count" in line and 'status="202"' in line]
            return {line.split('route="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1]) for line in calls}

        # The registry is the process's: earlier tests have counted too.
        before = counted()
        for headers in (LONG, {}, {}):
            assert send(app, name, GOOD, **headers).status_code == 202
        after = counted()
        grown = {route: after[route] - before.get(route, 0) for route in after if after[route] != before.get(route)}
        assert grown == {"/api/v1/datasets/{dataset}/records": 3}

    def test_a_defect_on_the_short_way_is_a_problem_too(self, app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        name = app.dataset({**THINGS, "key": ["k"]})
        app.work()
        send(app, name, GOOD)
        app.gristmill.admission.check()

        async def broken(*_: Any) -> None:
            raise RuntimeError("a defect")

        monkeypatch.setattr(app.services.small_ingest, "submit", broken)
        answer = send(app, name, GOOD)
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "internal"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert "a defect" not in answer.text


SEARCHED = {**THINGS, "key": ["k"], "embedding": {"dimensions": 2}}
SEARCHES: list[Any] = [
    {"vector": [1, 0]},
    {"vector": [1, 0], "k": 1, "include": ["embedding"], "explain": True},
    {"like": "b", "where": {"n": {"lt": 9}}},
    {"queries": [{"vector": [1, 0]}, {"vector": [0, 1]}], "k": 2},
    {"vector": [1, 0], "page_size": 1},
    {"vector": [1, 0], "where": {"t": {"in": ["x" * 100] * 150}}},
    b"",
    b"{",
    {"vector": [1]},
    {"vector": [1, 0], "k": 0},
    {"vector": [1, 0], "where": {"unknown": 1}},
    {"like": "nobody"},
]


class TestSearchShortcut:
    @pytest.fixture
    def name(self, app: InProcess) -> str:
        name = app.dataset(SEARCHED)
        rows = [{"k": k, "n": n, "_embedding": [n, 1]} for n, k in enumerate("abc")]
        assert app.job(app.post(name, rows))["state"] == "succeeded"
        return name

    def ask(self, app: InProcess, name: str, body: Any, **headers: str) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json", **headers}
        return app.http.post(f"/api/v1/datasets/{name}/search", content=content, headers=headers)

    @pytest.mark.parametrize("body", SEARCHES)
    def test_both_ways_answer_alike(self, app: InProcess, name: str, body: Any) -> None:
        def timeless(answer: Any) -> Any:
            status, found, headers = shown(answer)
            return status, {member: value for member, value in found.items() if member != "took_ms"}, headers

        short, long = self.ask(app, name, body), self.ask(app, name, body, **LONG)
        assert timeless(short) == timeless(long)
        assert short.status_code == (200 if SEARCHES.index(body) < SEARCHES.index(b"") else long.status_code)
        assert int(short.headers["content-length"]) == len(short.content)

    def test_the_short_way_is_taken(self, app: InProcess, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither a route nor its dependencies see a plain search; one with a query is refused by them."""
        monkeypatch.setattr("gristmill.core.http.endpoints.principal_of", None)
        assert len(self.ask(app, name, {"vector": [1, 0]}).json()["hits"]) == 3
        with pytest.raises(TypeError):
            self.ask(app, name, {"vector": [1, 0]}, **LONG)

    def test_a_dataset_that_nobody_knows_is_refused_alike(self, app: InProcess) -> None:
        short, long = (self.ask(app, "nobody", {"vector": [1, 0]}, **more) for more in ({}, LONG))
        assert short.status_code == 404
        assert shown(short) == shown(long)

    def test_a_query_goes_the_long_way(self, app: InProcess, name: str) -> None:
        answer = app.http.post(f"/api/v1/datasets/{name}/search?kk=3", json={"vector": [1, 0]})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unknown_parameter")
