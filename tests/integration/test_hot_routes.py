"""The calls that come most often are plain routes: they take every header and option, and refuse as the others do."""

import json
from collections import Counter
from typing import Any

import pytest
from tests.integration.test_write_rest import THINGS
from tests.support.in_process import InProcess

from gristmill.api.openapi.operations import OPERATIONS
from gristmill.core.http.routes import HotRoute

GOOD = [{"k": "a", "n": 1}]
# What proxies, browsers and clients add to a request. None of it changes what is done.
ADDED = {
    "x-forwarded-for": "192.0.2.7",
    "via": "1.1 proxy",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "x-anything": "1",
}
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


def send(app: InProcess, name: str, body: Any, query: str = "", **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **headers}
    return app.http.post(f"/api/v1/datasets/{name}/records{query}", content=content, headers=headers)


def shown(answer: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    """What two requests for the same must be answered: everything but what names the request, the job and the time."""
    own = ("id", "request_id", "links", "created_at", "run_at")
    body = {name: value for name, value in answer.json().items() if name not in own}
    headers = {name: value for name, value in answer.headers.items() if name in ("content-type", "www-authenticate")}
    return answer.status_code, body, headers


def close_threads(app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a submission fail that is not made in the event loop."""
    # Limits whose figures are old would be counted in a thread: these get no older, however long the machine takes.
    monkeypatch.setattr(app.gristmill.admission, "_max_age", 3600.0)
    app.gristmill.admission.check()
    monkeypatch.setattr(app.services.submitter, "submit_blocking", None)


class TestSubmit:
    @pytest.mark.parametrize("body", [GOOD, {"records": GOOD}, {"records": [*GOOD, {"k": "b", "n": 2, "t": "é"}]}])
    @pytest.mark.parametrize("headers", [{}, ADDED, {"idempotency-key": "one"}], ids=["plain", "added", "key"])
    def test_every_request_is_answered_alike_without_a_thread(
        self, app: InProcess, body: Any, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = app.dataset({**THINGS, "key": ["k"]})
        app.work()
        # The first request makes the name known; it is looked up in a thread.
        first = send(app, name, body)
        app.work()
        rows = app.rows(name)
        close_threads(app, monkeypatch)
        headers = {key: value + name if key == "idempotency-key" else value for key, value in headers.items()}
        answer = send(app, name, body, **headers)
        assert shown(answer) == shown(first)
        assert answer.headers["location"] == answer.json()["links"]["self"]
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        assert int(answer.headers["content-length"]) == len(answer.content)
        job = app.job(answer)
        assert job["state"] == "succeeded"
        assert app.http.get(answer.headers["location"]).json() == job
        assert app.rows(name) == rows

    def test_options_take_the_same_way(self, app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        name = app.dataset({**THINGS, "key": ["k"]})
        app.work()
        send(app, name, GOOD)
        close_threads(app, monkeypatch)
        query = (
            "?priority=9&label=a=1&label=b=x%20y&run_at=2100-01-01T00:00:00Z&on_conflict=fail&on_error=reject&wait=0"
        )
        job = send(app, name, [{"k": "z", "n": 1}], query).json()
        assert (job["priority"], job["labels"], job["state"]) == (9, {"a": "1", "b": "x y"}, "scheduled")
        assert job["run_at"] == "2100-01-01T00:00:00Z"
        assert app.http.get(job["links"]["self"]).json() == job

    @pytest.mark.parametrize("body", BAD)
    def test_bad_bodies_are_refused_alike(self, app: InProcess, body: Any) -> None:
        name = app.dataset({**THINGS, "key": ["k"]})
        app.work()
        send(app, name, GOOD)
        app.work()
        answers = [send(app, name, body), send(app, name, body, **ADDED), send(app, name, body, "?priority=5")]
        assert answers[0].status_code in (400, 422)
        assert shown(answers[0]) == shown(answers[1]) == shown(answers[2])

    def test_a_dataset_that_nobody_knows_is_refused(self, app: InProcess) -> None:
        answers = [send(app, "nobody", GOOD), send(app, "nobody", GOOD, **{"idempotency-key": "nobody"})]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert shown(answers[0]) == shown(answers[1])

    def test_a_key_is_answered_with_the_first_job_and_refused_for_another_body(self, app: InProcess) -> None:
        name = app.dataset({**THINGS, "key": ["k"]})
        app.work()
        send(app, name, GOOD)
        key = {"idempotency-key": f"again {name}".replace(" ", "-")}
        first = send(app, name, GOOD, **key)
        assert send(app, name, GOOD, **key, **ADDED).json() == first.json()
        other = send(app, name, [{"k": "b", "n": 1}], **key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        elsewhere = app.http.patch(app.key(name, "a"), json={"n": 2}, headers=key)
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (422, "idempotency_key_reused")

    def test_metrics_name_the_call(self, app: InProcess) -> None:
        name = app.dataset({**THINGS, "key": ["k"]})
        app.work()

        def counted() -> dict[str, float]:
            lines = app.http.get("/metrics").text.splitlines()
            calls = [line for line in lines if "request_seconds_count" in line and 'status="202"' in line]
            found: Counter[str] = Counter()
            for line in calls:
                # A route may have been called by other methods as well.
                found[line.split('route="')[1].split('"')[0]] += float(line.rsplit(" ", 1)[1])  # type: ignore[assignment]
            return dict(found)

        # The registry is the process's: earlier tests have counted too.
        before = counted()
        for headers in (ADDED, {}, {"idempotency-key": f"metrics-{name}"}):
            assert send(app, name, GOOD, **headers).status_code == 202
        assert app.http.delete(app.key(name, "a")).status_code == 202
        after = counted()
        grown = {route: after[route] - before.get(route, 0) for route in after if after[route] != before.get(route)}
        records = "/api/v1/datasets/{dataset}/records"
        assert grown == {records: 3, records + "/{key}": 1}

    def test_a_defect_is_a_problem(self, app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        name = app.dataset({**THINGS, "key": ["k"]})
        app.work()
        send(app, name, GOOD)

        async def broken(*_: Any) -> None:
            raise RuntimeError("a defect")

        monkeypatch.setattr(app.services.submitter, "submit", broken)
        app.http._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
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


class TestSearch:
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
    def test_every_request_is_answered_alike(self, app: InProcess, name: str, body: Any) -> None:
        def timeless(answer: Any) -> Any:
            status, found, headers = shown(answer)
            return status, {member: value for member, value in found.items() if member != "took_ms"}, headers

        plain, added = self.ask(app, name, body), self.ask(app, name, body, **ADDED)
        assert timeless(plain) == timeless(added)
        good = SEARCHES.index(body) < SEARCHES.index(b"")
        assert (plain.status_code == 200) == good
        assert int(plain.headers["content-length"]) == len(plain.content)

    def test_a_dataset_that_nobody_knows_is_refused(self, app: InProcess) -> None:
        assert self.ask(app, "nobody", {"vector": [1, 0]}).status_code == 404

    def test_a_query_is_refused(self, app: InProcess, name: str) -> None:
        answer = app.http.post(f"/api/v1/datasets/{name}/search?kk=3", json={"vector": [1, 0]})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unknown_parameter")


CALLS = [
    ("POST", "/api/v1/datasets/d/records"),
    ("PATCH", "/api/v1/datasets/d/records/a"),
    ("DELETE", "/api/v1/datasets/d/records/a"),
    ("POST", "/api/v1/datasets/d/records/delete"),
    ("POST", "/api/v1/datasets/d/search"),
    ("GET", "/api/v1/jobs/0"),
    ("POST", "/api/v1/jobs"),
    ("GET", "/api/v1/job-types"),
    ("GET", "/api/v1/jobs/labels"),
    ("PATCH", "/api/v1/datasets/d/records"),
    ("POST", "/api/v1/datasets/d/records/query"),
    ("POST", "/api/v1/datasets/d/records/get"),
    ("POST", "/api/v1/datasets/d/records/count"),
    ("POST", "/api/v1/datasets/d/records/distinct"),
    ("POST", "/api/v1/datasets/d/aggregate"),
]
# They are POSTs for the sake of their bodies, and change nothing.
READS = ("/query", "/get", "/count", "/distinct")


class TestParameters:
    """The parameters of a hot route are those that the OpenAPI document says, each with its refusals."""

    @pytest.mark.parametrize(("method", "path"), CALLS)
    def test_an_unknown_one_is_refused_with_those_that_there_are(self, app: InProcess, method: str, path: str) -> None:
        answer = app.http.request(method, path + "?zz=1")
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["code"], error["pointer"]) == ("unknown_parameter", "/query/zz")
        declared = {one["name"] for one in declared_parameters(app, method, path) if one["in"] == "query"}
        listed = error["reason"].rpartition("the valid ones are: ")[2] if declared else ""
        assert set(filter(None, listed.split(", "))) == declared

    @pytest.mark.parametrize(("method", "path"), CALLS)
    def test_every_declared_one_is_taken_once_or_as_often_as_it_says(
        self, app: InProcess, method: str, path: str
    ) -> None:
        for one in declared_parameters(app, method, path):
            if one["in"] != "query":
                continue
            name = one["name"]
            codes = [error["code"] for error in app.http.request(method, f"{path}?{name}=1").json().get("errors", [])]
            assert "unknown_parameter" not in codes
            twice = app.http.request(method, f"{path}?{name}=1&{name}=1").json().get("errors", [])
            is_list = one["schema"].get("type") == "array"
            assert ("duplicate" in [error["code"] for error in twice]) == (not is_list), name

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("on_conflict=zz", "literal_error"),
            ("on_conflict=", "literal_error"),
            ("on_error=zz", "literal_error"),
            ("retry_of=" + "x" * 101, "string_too_long"),
            ("priority=11", "bad_parameter"),
            ("label=a", "bad_parameter"),
            ("wait=-1", "bad_parameter"),
            ("run_at=now", "bad_parameter"),
        ],
    )
    def test_a_bad_value_is_refused_with_its_place(self, app: InProcess, query: str, code: str) -> None:
        answer = send(app, "d", GOOD, "?" + query)
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["code"]) == (422, code)
        assert error["pointer"] == f"/query/{query.partition('=')[0]}"

    def test_what_a_call_reads_of_the_headers_is_declared(self, app: InProcess) -> None:
        for method, path in CALLS:
            declared = {one["name"] for one in declared_parameters(app, method, path) if one["in"] == "header"}
            writes = ("records" in path and not path.endswith(READS)) or path.endswith("/jobs")
            expected = {"idempotency-key", "prefer"} if writes else set()
            expected |= {"prefer", "if-none-match"} if path.endswith("/jobs/0") else set()
            expected |= {"if-match"} if path.endswith("records/a") else set()
            expected |= {"x-request-id"} if path.endswith("/search") else set()
            assert declared == expected, path

    def test_the_document_has_every_hot_route_with_its_body_and_answers(self, app: InProcess) -> None:
        document = app.http.get("/openapi.json").json()
        routes = hot_routes(app)
        assert len(routes) == len(CALLS)
        ids = [call["operationId"] for calls in document["paths"].values() for call in calls.values()]
        assert len(ids) == len(set(ids))
        for route in routes:
            call = document["paths"][route.path_format][route.call.method.lower()]
            assert call["description"]
            assert {"422", "500", "503"} < set(call["responses"])
            assert ("requestBody" in call) == bool(OPERATIONS[call["operationId"]].body)
            named = {one["name"] for one in call["parameters"] if one["in"] == "path"}
            assert named == set(route.param_convertors)

    @pytest.mark.parametrize(("method", "path"), CALLS)
    def test_other_methods_are_refused_with_those_that_there_are(self, app: InProcess, method: str, path: str) -> None:
        answer = app.http.request("PUT", path)
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert method in answer.headers["allow"].split(", ")


def hot_routes(app: InProcess) -> list[HotRoute]:
    found: Any = app.http.app
    while not hasattr(found, "router"):
        found = found._app
    return [route for route in found.router.routes if isinstance(route, HotRoute)]


def declared_parameters(app: InProcess, method: str, path: str) -> list[dict[str, Any]]:
    # The first that fits is the one that answers.
    route = next(one for one in hot_routes(app) if one.call.method == method and one.path_regex.fullmatch(path))
    document = app.http.get("/openapi.json").json()
    found: list[dict[str, Any]] = document["paths"][route.path_format][method.lower()]["parameters"]
    # Members of an object are parameters of the URL each.
    members = [
        {**one, "name": name, "schema": schema}
        for one in found
        for name, schema in one["schema"].get("properties", {}).items()
    ]
    return [*(one for one in found if "properties" not in one["schema"]), *members]
