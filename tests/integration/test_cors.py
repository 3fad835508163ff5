"""Pages of other sites: none may call the API unless its origin is listed; and the format that an Accept asks for."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.integration.test_write_rest import ONE
from tests.support.in_process import InProcess

from gristmill.api.cors import read_origins
from gristmill.core.config import load_settings
from gristmill.core.errors import Invalid

PAGE = "https://page.example"
OTHER = "https://other.example"
Make = Callable[..., InProcess]


@pytest.fixture
def make(database_url: str) -> Iterator[Make]:
    made: list[InProcess] = []

    def app(origins: str, **options: Any) -> InProcess:
        found = InProcess(database_url, api_cors_origins=origins, **options)
        found.http.__enter__()
        made.append(found)
        return found

    yield app
    for one in made:
        one.http.__exit__(None, None, None)
        one.gristmill.database.close()


def preflight(app: InProcess, origin: str, method: str = "PATCH", path: str = "/api/v1/datasets/d/records/a") -> Any:
    asked = {"access-control-request-method": method, "access-control-request-headers": "if-match,authorization"}
    return app.http.options(path, headers={"origin": origin, **asked})


class TestListed:
    def test_its_pages_may_ask_first_and_then_do_what_they_asked_for(self, make: Make) -> None:
        app = make(f"{PAGE}  http://localhost:3000")
        asked = preflight(app, PAGE)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == PAGE
        assert "PATCH" in asked.headers["access-control-allow-methods"]
        assert asked.headers["access-control-allow-headers"] == "if-match,authorization"
        name = app.dataset(ONE)
        answer = app.post(name, [{"k": "a"}], headers={"origin": PAGE, "sec-fetch-site": "cross-site"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (202, PAGE)
        assert {"ETag", "Link", "Location", "Retry-After"} <= set(
            answer.headers["access-control-expose-headers"].split(", ")
        )
        assert "origin" in app.http.get("/api/v1/jobs", headers={"origin": PAGE}).headers["vary"].lower()

    def test_problems_can_be_read_by_them_too(self, make: Make) -> None:
        app = make(PAGE)
        for path in ("/api/v1/datasets/none", "/nothing", "/api/v1/jobs?zz=1"):
            answer = app.http.get(path, headers={"origin": PAGE})
            assert (answer.status_code >= 400, answer.headers["access-control-allow-origin"]) == (True, PAGE)

    def test_with_keys_the_question_needs_none_and_the_call_does(self, make: Make) -> None:
        app = make(PAGE, api_require_key=True)
        assert preflight(app, PAGE).status_code == 200
        answer = app.http.get("/api/v1/jobs", headers={"origin": PAGE})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, PAGE)


class TestOthers:
    def test_they_may_neither_ask_nor_write_nor_read(self, make: Make) -> None:
        app = make(PAGE)
        asked = preflight(app, OTHER)
        assert (asked.status_code, asked.json()["code"]) == (403, "forbidden")
        assert "access-control-allow-origin" not in asked.headers
        name = app.dataset(ONE)
        assert app.post(name, [{"k": "a"}], headers={"origin": OTHER}).status_code == 403
        assert "access-control-allow-origin" not in app.http.get("/api/v1/jobs", headers={"origin": OTHER}).headers
        assert preflight(app, PAGE, "PUT").status_code == 403

    def test_without_the_setting_nothing_is_said_of_origins(self, app: InProcess) -> None:
        assert preflight(app, PAGE).status_code == 405
        answer = app.http.get("/api/v1/jobs", headers={"origin": PAGE})
        assert not [name for name in answer.headers if name.startswith("access-control")]


class TestAny:
    def test_any_page_may_read_and_without_keys_none_may_write(self, make: Make) -> None:
        app = make("*")
        assert preflight(app, OTHER).headers["access-control-allow-origin"] == "*"
        assert app.http.get("/api/v1/jobs", headers={"origin": OTHER}).headers["access-control-allow-origin"] == "*"
        answer = app.http.post("/api/v1/datasets", json={**ONE, "name": "never"}, headers={"origin": OTHER})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    def test_one_that_is_named_beside_it_may_write(self, make: Make) -> None:
        app = make(f"* {PAGE}")
        name = app.dataset(ONE)
        assert app.post(name, [{"k": "a"}], headers={"origin": PAGE}).status_code == 202
        assert app.post(name, [{"k": "a"}], headers={"origin": OTHER}).status_code == 403


class TestSetting:
    @pytest.mark.parametrize("text", ["", "*", " a://b  * ", f"{PAGE} http://localhost:3000"])
    def test_it_is_a_list_of_origins(self, text: str) -> None:
        assert read_origins(load_settings(api_cors_origins=text).api_cors_origins) == set(text.split())

    @pytest.mark.parametrize(
        "text", ["example.org", "https://example.org/", "https://example.org/a", "https://", f"{PAGE},{OTHER}/", "**"]
    )
    def test_what_is_no_origin_is_refused_at_the_start(self, text: str) -> None:
        """A browser sends no path and no slash: such an origin would never match."""
        with pytest.raises(Invalid, match="api_cors_origins"):
            load_settings(api_cors_origins=text)


class TestAccept:
    @pytest.mark.parametrize(
        ("accept", "query", "kind"),
        [
            ("text/csv", "", "text/csv; charset=utf-8; header=present"),
            ("*/*", "", "application/x-ndjson"),
            ("application/vnd.apache.parquet", "", "application/vnd.apache.parquet"),
            ("text/csv", "?format=ndjson", "application/x-ndjson"),
            ("application/json", "?format=ndjson", "application/x-ndjson"),
        ],
    )
    def test_an_export_comes_in_the_format_that_is_asked_for(
        self, app: InProcess, accept: str, query: str, kind: str
    ) -> None:
        name = app.dataset(ONE)
        app.job(app.post(name, [{"k": "a"}]))
        url = f"/api/v1/datasets/{name}/export{query}"
        for answer in (app.http.get(url, headers={"accept": accept}), app.http.head(url, headers={"accept": accept})):
            assert (answer.status_code, answer.headers["content-type"]) == (200, kind)

    def test_one_that_there_is_not_is_refused(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        answer = app.http.get(f"/api/v1/datasets/{name}/export", headers={"accept": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
