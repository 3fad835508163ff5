"""What the headers of answers say: where the next page is, when to look again, which preference was heeded."""

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from tests.integration.test_write_rest import ONE
from tests.support.in_process import InProcess

from gristmill.core.http.links import MOST

FIELDS: Any = ONE["fields"]


@pytest.fixture
def thing(app: InProcess) -> str:
    name = app.dataset(ONE)
    app.work()
    return name


def walk(app: InProcess, url: str, member: str) -> tuple[list[Any], int]:
    """Follow the links of a list; return what is on its pages, and how many there are."""
    found, pages = [], 0
    while url:
        answer = app.http.get(url)
        assert answer.status_code == 200, answer.text
        found += answer.json()[member]
        pages += 1
        following = answer.links.get("next", {}).get("url")
        assert (following is None) == (answer.json()["next_page_token"] is None)
        url = following or ""
    return found, pages


class TestLinks:
    def test_they_lead_through_records_with_the_same_parameters(self, app: InProcess, thing: str) -> None:
        app.job(app.post(thing, [{"k": f"{n} ä&=+%", "v": n} for n in range(10)]))
        query = '?page_size=3&order=-v&where={"v":{"ge":2}}'
        found, pages = walk(app, f"/api/v1/datasets/{thing}/records{query}", "records")
        assert ([record["v"] for record in found], pages) == ([9, 8, 7, 6, 5, 4, 3, 2], 3)

    def test_they_lead_through_jobs_with_repeated_parameters(self, app: InProcess, thing: str) -> None:
        jobs = [app.post(thing, [{"k": "a"}], f"records?label=a=1&label=b={n % 2}").json()["id"] for n in range(4)]
        found, pages = walk(app, f"/api/v1/jobs?page_size=1&label=a=1&label=b=0&dataset={thing}", "jobs")
        assert ([job["id"] for job in found], pages) == ([jobs[2], jobs[0]], 2)

    def test_they_lead_through_datasets_and_rejects(self, fresh_app: InProcess) -> None:
        app = fresh_app
        thing, _ = app.dataset(ONE), app.dataset(ONE)
        found, pages = walk(app, "/api/v1/datasets?page_size=1", "datasets")
        assert (len(found), pages) == (2, 2)
        body = [{"k": "a", "v": "x"}, {"k": "b", "v": "x"}, {"k": "c", "v": "x"}]
        job = app.job(app.post(thing, body, "records?on_error=quarantine"))
        found, pages = walk(app, f"{job['links']['rejects']}?page_size=2", "rejects")
        assert ([reject["record"] for reject in found], pages) == ([0, 1, 2], 2)

    def test_one_that_would_be_too_long_is_left_out(self, app: InProcess) -> None:
        """Proxies refuse long headers, and with them the answer; the token in the body goes on."""
        name = app.dataset({**ONE, "fields": [*FIELDS, {"name": "t", "type": "text"}]})
        app.job(app.post(name, [{"k": letter, "t": letter * MOST} for letter in "ab"]))
        url, query = f"/api/v1/datasets/{name}/records", {"page_size": 1, "order": "t"}
        answer = app.http.get(url, params=query)
        assert "link" not in answer.headers
        rest = app.http.get(url, params={**query, "page_token": answer.json()["next_page_token"]}).json()
        assert (rest["records"][0]["k"], rest["next_page_token"]) == ("b", None)


class TestRetryAfter:
    def test_what_was_accepted_is_worth_a_look_in_a_second(self, app: InProcess, thing: str) -> None:
        answer = app.post(thing, [{"k": "a"}])
        assert (answer.status_code, answer.headers["retry-after"]) == (202, "1")
        path = app.http.post("/api/v1/datasets", json={**ONE, "name": f"{thing}x"})
        assert (path.status_code, path.headers["retry-after"]) == (202, "1")

    def test_a_scheduled_one_when_it_is_due(self, app: InProcess, thing: str) -> None:
        for seconds, least, most in ((90, 60, 90), (10**6, 3600, 3600)):
            due = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
            answer = app.http.post(f"/api/v1/datasets/{thing}/records", json=[{"k": "a"}], params={"run_at": due})
            assert least <= int(answer.headers["retry-after"]) <= math.ceil(most)

    def test_a_finished_one_never(self, app: InProcess, thing: str) -> None:
        job = app.post(thing, [{"k": "a"}]).json()
        answer = app.http.post(job["links"]["cancel"])
        assert (answer.status_code, "retry-after" in answer.headers) == (200, False)
        assert "retry-after" not in app.http.get(job["links"]["self"]).headers


class TestPreferences:
    """Every call that takes a wait heeds the preference for one and says so: writes of both kinds, GET, retry."""

    def calls(self, app: InProcess, name: str, headers: Any, query: str = "") -> list[Any]:
        job = app.job(app.post(name, [{"k": "a"}]))
        added = {"add_fields": [{"name": "w", "type": "text"}]}
        return [
            app.post(name, [{"k": "a"}], f"records{query}", headers=headers),
            app.http.patch(f"/api/v1/datasets/{name}{query}", json=added, headers=headers),
            app.http.get(f"{job['links']['self']}{query}", headers=headers),
        ]

    @pytest.mark.parametrize(
        ("given", "applied"),
        [
            ("wait=0", "wait=0"),
            ('wait="0"', "wait=0"),
            ("respond-async, Wait = 0", "wait=0"),
            ('x="a, wait=7";p=1, wait=0;q, wait=9', "wait=0"),
            ("respond-async", None),
            ('x="wait=9"', None),
            ("wait", None),
            ("wait=x", None),
            ("wait=-1", None),
            ("wait=1.5", None),
            ("await=9", None),
        ],
    )
    def test_it_is_read_as_rfc_7240_writes_it(
        self, app: InProcess, thing: str, given: str, applied: str | None
    ) -> None:
        for answer in self.calls(app, thing, {"prefer": given}):
            assert (answer.status_code in (200, 202), answer.headers.get("preference-applied")) == (True, applied)

    def test_several_lines_are_one_list(self, app: InProcess, thing: str) -> None:
        for answer in self.calls(app, thing, [("prefer", "respond-async"), ("prefer", "wait=0")]):
            assert answer.headers["preference-applied"] == "wait=0"

    def test_where_the_parameter_counts_the_preference_was_not_applied(self, app: InProcess, thing: str) -> None:
        for answer in self.calls(app, thing, {"prefer": "wait=9"}, "?wait=0"):
            assert "preference-applied" not in answer.headers

    def test_retry_takes_it(self, app: InProcess, thing: str) -> None:
        app.post(thing, [{"k": "a"}])
        job = app.job(app.http.patch(app.key(thing, "none"), json={"v": 1}))
        answer = app.http.post(job["links"]["retry"], headers={"prefer": "wait=0"})
        assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0")


class TestWait:
    @pytest.fixture
    def hasty(self, database_url: str) -> Any:
        found = InProcess(database_url, api_max_wait=0.2)
        with found.http:
            yield found
        found.gristmill.database.close()

    @pytest.mark.parametrize("given", ["31", "1e9", "0.3"])
    def test_more_than_the_limit_counts_as_the_limit(self, hasty: InProcess, given: str) -> None:
        name = hasty.dataset(ONE)
        begun = time.monotonic()
        answer = hasty.post(name, [{"k": "a"}], f"records?wait={given}")
        assert (answer.status_code, time.monotonic() - begun < 20) == (202, True)
        preferred = hasty.post(name, [{"k": "a"}], headers={"prefer": "wait=31"})
        assert preferred.headers["preference-applied"] == "wait=0.2"

    @pytest.mark.parametrize("given", ["-1", "inf", "nan", "x", ""])
    def test_what_is_no_number_of_seconds_is_refused(self, app: InProcess, thing: str, given: str) -> None:
        answer = app.post(thing, [{"k": "a"}], f"records?wait={given}")
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["pointer"]) == (422, "/query/wait")


class TestTimes:
    def test_the_plus_of_an_offset_may_stand_as_it_is(self, app: InProcess, thing: str) -> None:
        """In a URL it means a space, and people forget to encode it."""
        answer = app.post(thing, [{"k": "a"}], "records?run_at=2100-01-01T02:30:00+02:30")
        assert answer.json()["run_at"] == "2100-01-01T00:00:00Z"
        for path in ("jobs?created_after=2026-01-01T00:00:00.5+01:00", "jobs?created_after=2026-01-01 00:00+0100"):
            assert app.http.get(f"/api/v1/{path}").status_code == 200

    @pytest.mark.parametrize("given", ["2026-01-01 00:00", "2026-01-01T00:00:00 x", "2026-01-01T00:00:00 25:00", "1+1"])
    def test_what_is_no_time_is_refused(self, app: InProcess, given: str) -> None:
        answer = app.http.get(f"/api/v1/jobs?created_after={given}")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/created_after")

    def test_windows_take_it_and_filters_say_what_is_wrong(self, app: InProcess) -> None:
        fields = [{"name": "k", "type": "text", "required": True}, {"name": "at", "type": "timestamp"}]
        name = app.dataset({"fields": fields, "key": ["k"], "time_field": "at"})
        app.job(app.post(name, [{"k": "a", "at": "2026-01-31T12:00:00Z"}]))
        url = f"/api/v1/datasets/{name}/records"
        assert len(app.http.get(f"{url}?start=2026-01-31T13:00:00+01:00").json()["records"]) == 1
        answer = app.http.get(f'{url}?where={{"at":{{"ge":"2026-01-31T13:00:00+01:00"}}}}')
        assert answer.status_code == 422
        assert "%2B" in answer.json()["errors"][0]["reason"]


class TestRoot:
    def test_it_says_where_everything_is(self, app: InProcess) -> None:
        answer = app.http.get("/")
        assert answer.json()["name"] == "gristmill"
        for name, path in answer.json()["links"].items():
            assert app.http.get(path).status_code == 200, name

    def test_a_browser_is_led_to_the_documentation(self, app: InProcess) -> None:
        answer = app.http.get("/", headers={"accept": "text/html,*/*;q=0.8"})
        assert (answer.status_code, answer.url.path) == (200, "/docs")
        assert answer.history[0].headers["vary"] == app.http.get("/").headers["vary"]


class TestInstance:
    @pytest.mark.parametrize(
        "path", ["/api/v1/nothing/a%20b%2Fc", "/a%C3%A4", "/api/v1/datasets/d/records/%0A", "/a'(x)@:;,$!*~"]
    )
    def test_it_is_the_path_as_a_uri_has_it(self, app: InProcess, path: str) -> None:
        answer = app.http.get(path)
        instance = answer.json()["instance"]
        assert unquote(instance) == unquote(path)
        assert instance.isascii()
        assert " " not in instance


@pytest.mark.parametrize(("metric", "refused"), [("cosine", True), ("l2", True), ("inner_product", False)])
def test_a_largest_distance_below_0_is_refused_where_no_distance_is(app: InProcess, metric: str, refused: bool) -> None:
    name = app.dataset({**ONE, "embedding": {"dimensions": 2, "metric": metric}})
    app.job(app.post(name, [{"k": "a", "_embedding": [1, 1]}]))
    answer = app.http.post(f"/api/v1/datasets/{name}/search", json={"vector": [1, 0], "max_distance": -1})
    assert answer.status_code == (422 if refused else 200)
    if refused:
        (error,) = answer.json()["errors"]
        assert (error["pointer"], error["code"]) == ("/max_distance", "out_of_range")
    else:
        assert [hit["key"] for hit in answer.json()["hits"]] == ["a"]
    for limit in (0, -0.0):
        body = {"vector": [1, 0], "max_distance": limit}
        assert app.http.post(f"/api/v1/datasets/{name}/search", json=body).status_code == 200
