"""The registry of continents, countries and cities, by its own URLs: started by make, on real services."""

import json
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.support.example import ROOT, running
from tests.support.registry import PLENTY, Json, Registry, own, segment
from tests.support.stacks import SharedStack
from tests.support.system import eventually


@pytest.fixture(scope="module")
def registry(whole: SharedStack) -> Iterator[Registry]:
    with running("geography", whole) as found:
        yield Registry(found)


@pytest.fixture
def continent(registry: Registry) -> str:
    """A continent of 1,000 by 1,000,000 people."""
    name = own("Continent")
    registry.made(registry.create("continent", None, name, 1000, 1_000_000))
    return name


@pytest.fixture
def country(registry: Registry, continent: str) -> str:
    """A country of 500 by 500,000 people."""
    name = own("Country")
    registry.made(registry.create("country", continent, name, 500, 500_000))
    return name


class TestCalls:
    def test_every_call_once(self, registry: Registry) -> None:
        top, land, town = own("Top"), own("Land"), own("Town")
        registry.made(registry.create("continent", None, top, 100, 1000))
        registry.made(registry.create("country", top, land, 50, 500, hospitals=3, parks=None))
        registry.made(registry.create("city", land, town, 5, 50, roads=7))
        registry.made(registry.change("continent", top, area=120))
        registry.made(registry.change("country", land, hospitals=None, parks=9))
        registry.made(registry.change("city", town, trees=10**15))
        city = {"name": town, "country": land, "area": 5, "population": 50, "roads": 7, "trees": 10**15}
        nation = {"name": land, "continent": top, "area": 50, "population": 500, "hospitals": None, "parks": 9}
        assert registry.find("city", town) == city
        assert registry.find("country", land) == {**nation, "cities": [city]}
        whole = {"name": top, "area": 120, "population": 1000, "countries": [{**nation, "cities": [city]}]}
        assert registry.find("continent", top) == whole
        registry.made(registry.delete("city", town))
        registry.made(registry.delete("country", land))
        assert registry.find("continent", top) == {"name": top, "area": 120, "population": 1000, "countries": []}
        registry.made(registry.delete("continent", top))
        assert registry.find("continent", top) is None

    def test_it_says_how_it_is(self, registry: Registry) -> None:
        assert registry.http.get("healthcheck").json() == {"status": "ok"}
        with registry.frozen("api"):
            answer = registry.http.get("healthcheck")
        assert (answer.status_code, answer.json()["status"]) == (503, 503)

    def test_a_new_name_moves_the_children_and_a_new_parent_the_record(
        self, registry: Registry, continent: str, country: str
    ) -> None:
        town, other, renamed = own("Town"), own("Other"), own("Renamed/" + unicodedata.normalize("NFD", "é"))
        registry.made(registry.create("city", country, town))
        registry.made(registry.change("country", country, name=renamed))
        renamed = unicodedata.normalize("NFC", renamed)
        found = registry.find("continent", continent)
        assert found is not None
        assert [one["name"] for one in found["countries"]] == [renamed]
        assert [one["country"] for one in found["countries"][0]["cities"]] == [renamed]
        registry.made(registry.create("country", continent, other, 10, 10))
        registry.made(registry.change("city", town, country=other))
        assert registry.find("city", town)["country"] == other  # type: ignore[index]

    def test_deleting_a_parent_deletes_everything_in_it(self, registry: Registry, continent: str, country: str) -> None:
        towns = [own("Town") for _ in range(3)]
        for town in towns:
            registry.made(registry.create("city", country, town))
        registry.made(registry.delete("continent", continent))
        assert registry.find("country", country) is None
        assert not {one["name"] for one in registry.every("city")} & set(towns)
        # Its names are free again.
        registry.made(registry.create("continent", None, continent))

    def test_the_same_idempotency_key_is_the_same_message(self, registry: Registry) -> None:
        name = own("Once")
        sent = {
            "json": {"name": name, "area": 1, "population": 1},
            "headers": {"Idempotency-Key": name.replace(" ", "-")},
        }
        first, second = (registry.http.post("continent/create", **sent) for _ in range(2))  # type: ignore[arg-type]
        assert first.json() == second.json()
        registry.made(first)

    def test_the_page_of_the_calls_shows_bodies_with_types(self, registry: Registry) -> None:
        assert "swagger-ui" in httpx.get(f"{registry.example.url}/docs").text
        found = httpx.get(f"{registry.example.url}/openapi.json").json()
        calls = {path: set(calls) for path, calls in found["paths"].items()}
        assert calls == {
            "/api/v1/continent": {"get"},
            "/api/v1/continent/create": {"post"},
            "/api/v1/continent/{name}": {"patch", "delete"},
            "/api/v1/country": {"get"},
            "/api/v1/country/{continent}": {"post"},
            "/api/v1/country/{name}": {"patch", "delete"},
            "/api/v1/city": {"get"},
            "/api/v1/city/{country}": {"post"},
            "/api/v1/city/{name}": {"patch", "delete"},
            "/api/v1/message/{message_id}": {"get"},
            "/api/v1/healthcheck": {"get"},
        }
        body = found["components"]["schemas"]["Newcountry"]
        assert body["required"] == ["name", "area", "population"]
        assert set(body["properties"]) == {"name", "area", "population", "hospitals", "parks"}
        assert body["properties"]["area"]["type"] == "integer"


class TestReading:
    def test_skip_and_limit_walk_through_all_of_them(self, registry: Registry, continent: str) -> None:
        for _ in range(7):
            registry.made(registry.create("country", continent, own("Walked")))
        whole = [one["name"] for one in registry.every("country")]
        assert whole == sorted(whole)
        assert [one["name"] for one in registry.every("country", size=3)] == whole
        assert [one["name"] for one in registry.page("country", skip=2, limit=4)] == whole[2:6]
        assert registry.page("continent", skip=0, limit=1)[0]["name"] == min(
            one["name"] for one in registry.every("continent")
        )

    @pytest.mark.parametrize("kind", ["continent", "country", "city"])
    def test_beyond_the_end_there_is_nothing(self, registry: Registry, kind: str) -> None:
        for skip in (10_000, 2**63 - 1):
            assert registry.page(kind, skip=skip) == []
        assert registry.page(kind, limit=0) == []

    @pytest.mark.parametrize("query", ["skip=-1", "limit=-1", "skip=9223372036854775808", "limit=1001", "skip=x"])
    def test_what_makes_no_sense_is_refused_by_name(self, registry: Registry, query: str) -> None:
        answer = registry.http.get(f"continent?{query}")
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"][0]["pointer"] == f"/query/{query.split('=')[0]}"


class TestNames:
    def test_they_are_unique_in_every_form_of_unicode(self, registry: Registry, continent: str) -> None:
        name = own("Côte d’Ivoire/Å")
        composed, taken_apart = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
        assert composed != taken_apart
        registry.made(registry.create("country", continent, taken_apart))
        problem = registry.refused(registry.create("country", continent, composed))
        assert (problem["code"], problem["status"]) == ("key_exists", 409)
        registry.made(registry.change("country", taken_apart, parks=1))
        registry.made(registry.change("country", composed, hospitals=2))
        found = registry.find("country", composed)
        assert found is not None
        assert (found["parks"], found["hospitals"]) == (1, 2)
        registry.made(registry.create("city", taken_apart, own("Yamoussoukro")))
        registry.made(registry.delete("country", taken_apart))
        assert registry.find("country", composed) is None

    @pytest.mark.parametrize(
        "name",
        [
            "a/b",
            "/",
            "//",
            "..",
            ".",
            "a\nb",
            "create",
            "new?x=1#y",
            "100%",
            "%2F",
            " ",
            "東京都",
            "🏴\U000e0067",
            "null",
        ],
    )
    def test_any_text_is_a_name(self, registry: Registry, name: str) -> None:
        registry.made(registry.create("continent", None, name, 10, 10))
        registry.made(registry.create("country", name, own("in it"), 5, 5))
        registry.made(registry.change("continent", name, area=9))
        found = registry.find("continent", name)
        assert found is not None
        assert (found["area"], len(found["countries"])) == (9, 1)
        registry.made(registry.delete("continent", name))
        assert registry.find("continent", name) is None

    def test_a_line_end_after_a_name_is_part_of_it(self, registry: Registry, continent: str) -> None:
        answer = registry.delete("continent", f"{continent}\n")
        assert answer.status_code == 404
        assert registry.find("continent", continent) is not None


FIFTY = 50
# What a refusal has, whoever says it.
SAME = ("code", "status", "title", "detail", "errors", "limit", "parent", "value", "used", "asked")


def placed(outcomes: list[Json]) -> Counter[str]:
    return Counter(one["state"] for one in outcomes)


class TestLimits:
    """Each of fifty is valid alone; together they exceed their parent: of 1,000, fourteen times 70 fit."""

    @pytest.mark.promise(3)
    def test_of_fifty_that_were_accepted_together_as_many_succeed_as_fit(
        self, registry: Registry, continent: str
    ) -> None:
        creates = [("country", continent, own(f"Fifty {number}"), 70, 1) for number in range(FIFTY)]
        with registry.held():
            answers = registry.at_once(creates)
            assert {answer.status_code for answer in answers} == {202}
        messages = [registry.message(answer) for answer in answers]
        assert placed(messages) == {"succeeded": 14, "failed": FIFTY - 14}
        for message in messages:
            if message["state"] == "failed":
                problem = message["error"]
                assert problem["code"] == "limit_exceeded"
                assert problem["limit"] == {"sum": "area", "at_most": "area"}
                assert problem["parent"] == {"dataset": "continent", "key": continent}
                assert (problem["value"], problem["used"], problem["asked"]) == (1000, 980, 70)
        found = registry.find("continent", continent)
        assert found is not None
        assert sum(one["area"] for one in found["countries"]) == 980

    def test_of_fifty_at_once_as_many_succeed_as_fit(self, registry: Registry, country: str) -> None:
        creates = [("city", country, own(f"At once {number}"), 1, 35_000) for number in range(FIFTY)]
        answers = registry.at_once(creates)
        fits = [answer for answer in answers if answer.status_code == 202]
        ends = placed([registry.message(answer) for answer in fits])
        assert ends["succeeded"] == 14
        # Once the jobs before are done, others are refused before they are queued.
        early = [registry.refused(answer) for answer in answers if answer.status_code != 202]
        assert ends["failed"] + len(early) == FIFTY - 14
        assert {problem["code"] for problem in early} <= {"limit_exceeded"}
        assert sum(one["population"] for one in registry.every("city") if one["country"] == country) == 490_000

    def test_what_is_refused_at_once_says_what_the_task_would_have_said(
        self, registry: Registry, continent: str
    ) -> None:
        registry.made(registry.create("country", continent, own("First"), 900, 1))
        with registry.held():
            registry.change("continent", continent, population=1_000_001)
            queued = registry.create("country", continent, own("Second"), 200, 1)
            assert queued.status_code == 202
            orphan = registry.create("country", own("Nowhere"), own("Third"), 200, 1)
        by_task = registry.refused(queued)
        at_once = registry.create("country", continent, own("Fourth"), 200, 1)
        assert at_once.status_code == 409
        assert {name: at_once.json()[name] for name in SAME} == {name: by_task[name] for name in SAME}
        missing = registry.create("country", own("Nowhere"), own("Fifth"), 200, 1)
        assert missing.status_code == 409
        assert registry.refused(missing)["code"] == registry.refused(orphan)["code"] == "parent_missing"
        taken = registry.create("continent", None, continent)
        assert (taken.status_code, taken.json()["code"]) == (409, "key_exists")

    def test_changes_are_refused_in_the_same_words_too(self, registry: Registry, continent: str, country: str) -> None:
        changes: list[Json] = [{"population": 499_999}, {"area": 1001}]
        with registry.held():
            # Something unfinished, so that the tasks decide.
            registry.change("continent", continent, area=999)
            queued = (
                registry.change("continent", continent, **changes[0]),
                registry.change("country", country, **changes[1]),
            )
        by_task = [registry.refused(answer) for answer in queued]
        at_once = [
            registry.change("continent", continent, **changes[0]),
            registry.change("country", country, **changes[1]),
        ]
        assert [answer.status_code for answer in (*queued, *at_once)] == [202, 202, 409, 409]
        for answer, problem in zip(at_once, by_task, strict=True):
            assert {name: answer.json()[name] for name in SAME} == {name: problem[name] for name in SAME}

    def test_a_name_that_is_taken_is_no_new_name(self, registry: Registry, continent: str, country: str) -> None:
        other = own("Other")
        registry.made(registry.create("country", continent, other, 1, 1))
        problem = registry.refused(registry.change("country", other, name=country))
        assert (problem["status"], problem["code"]) == (409, "key_exists")

    def test_a_child_is_not_counted_against_itself(self, registry: Registry, continent: str, country: str) -> None:
        registry.made(registry.change("country", country, area=1000))
        problem = registry.refused(registry.change("country", country, area=1001))
        assert (problem["code"], problem["value"], problem["used"], problem["asked"]) == (
            "limit_exceeded",
            1000,
            0,
            1001,
        )
        found = registry.find("country", country)
        assert found is not None
        assert found["area"] == 1000

    def test_a_parent_is_not_lowered_below_its_children(self, registry: Registry, continent: str, country: str) -> None:
        problem = registry.refused(registry.change("continent", continent, population=499_999))
        assert (problem["code"], problem["used"]) == ("limit_exceeded", 500_000)
        registry.made(registry.change("continent", continent, population=500_000))

    def test_what_another_country_has_room_for_may_move_there(
        self, registry: Registry, continent: str, country: str
    ) -> None:
        small, town = own("Small"), own("Town")
        registry.made(registry.create("country", continent, small, 10, 10))
        registry.made(registry.create("city", country, town, 11, 1))
        problem = registry.refused(registry.change("city", town, country=small))
        assert (problem["code"], problem["value"], problem["asked"]) == ("limit_exceeded", 10, 11)
        registry.made(registry.change("city", town, country=small, area=10))

    def test_a_parent_that_is_queued_will_do(self, registry: Registry) -> None:
        top, land, town = own("Top"), own("Land"), own("Town")
        with registry.held():
            answers = [
                registry.create("continent", None, top, 10, 10),
                registry.create("country", top, land, 10, 10),
                registry.create("city", land, town, 10, 10),
                registry.create("city", land, own("Too much"), 1, 0),
            ]
        for answer in answers[:3]:
            registry.made(answer)
        assert registry.refused(answers[3])["code"] == "limit_exceeded"


class TestBadBodies:
    @pytest.mark.parametrize(
        "content",
        [
            '{"name":"x","area":-1,"population":1}',
            '{"name":"x","area":1000000000000001,"population":1}',
            '{"name":"x","area":1e400,"population":1}',
            '{"name":"x","area":NaN,"population":1}',
            '{"name":"x","area":1.5,"population":1}',
            '{"name":"x","area":true,"population":1}',
            '{"name":"x","area":"1","population":1}',
            '{"name":"x","area":[[[]]],"population":1}',
            '{"name":"x","area":' + "9" * 5000 + ',"population":1}',
            '{"name":"x","area":1}',
            '{"name":null,"area":1,"population":1}',
            '{"name":5,"area":1,"population":1}',
            '{"name":"\\ud800","area":1,"population":1}',
            '{"name":"\\u0000","area":1,"population":1}',
            json.dumps({"name": "x" * 201, "area": 1, "population": 1}),
            '{"name":"x","area":1,"population":1,"continent":"y"}',
            '{"name":"x","area":1,"population":1,"mayor":"y"}',
            "[]",
            "null",
            "{",
            "",
            "[" * 100_000,
        ],
    )
    def test_they_are_refused_and_nothing_is_queued(self, registry: Registry, country: str, content: str) -> None:
        headers = {"content-type": "application/json"}
        answer = registry.http.post(f"city/{segment(country)}", content=content, headers=headers)
        assert answer.status_code in (400, 422), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]

    @pytest.mark.parametrize("content", ["{}", '{"area":null}', '{"name":null}', '{"mayor":1}', '{"area":-1}', "[]"])
    def test_changes_that_are_none(self, registry: Registry, country: str, content: str) -> None:
        headers = {"content-type": "application/json"}
        answer = registry.http.patch(f"country/{segment(country)}", content=content, headers=headers)
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"

    def test_the_same_again_changes_nothing(self, registry: Registry, country: str) -> None:
        registry.made(registry.change("country", country, name=country, area=500))

    @pytest.mark.parametrize("kind", ["continent", "country", "city"])
    def test_what_is_not_there(self, registry: Registry, kind: str) -> None:
        for answer in (registry.change(kind, own("None"), area=1), registry.delete(kind, own("None"))):
            assert registry.refused(answer)["code"] == "unknown_record"
        assert registry.http.get("message/01a219c7-e0cc-73a3-a1f6-085089f50edd").status_code == 404
        assert registry.http.put(kind).status_code == 405
        assert registry.http.get("planet").headers["content-type"] == "application/problem+json"


class TestKeys:
    def test_the_callers_key_decides(self, registry: Registry) -> None:
        made = registry.example.gristmill("keys", "create", "reader", "--permission", "read", "--json")
        assert made.returncode == 0, made.stderr
        key = json.loads(made.stdout)["key"]
        reader, nobody = ({"Authorization": f"Bearer {one}"} for one in (key, "gm_wrong"))
        body = {"name": own("Read only"), "area": 1, "population": 1}
        assert registry.http.get("continent", headers=reader).status_code == 200
        answer = registry.http.post("continent/create", json=body, headers=reader)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert registry.http.get("continent", headers=nobody).status_code == 401


class TestRealGeography:
    def load(self, registry: Registry, *codes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "examples/geography/load.py"), registry.example.url, *codes]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    def test_it_fits(self, registry: Registry) -> None:
        done = self.load(registry, "CH", "SG", "MC")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0].startswith("continents: 7 created")
        assert done.stdout.splitlines()[1].startswith("countries: 252 created")
        europe = registry.find("continent", "Europe")
        assert europe is not None
        lands = {one["name"]: one for one in europe["countries"]}
        assert {"Switzerland", "Monaco", "Vatican"} <= lands.keys()
        towns = {one["name"] for one in lands["Switzerland"]["cities"]}
        assert {"Zürich", "Basel", "Biel/Bienne"} <= towns
        for figure in ("area", "population"):
            assert sum(one[figure] for one in lands.values()) <= europe[figure]
            for land in lands.values():
                assert sum(one[figure] for one in land["cities"]) <= land[figure]

    def test_again_it_finds_everything_there(self, registry: Registry) -> None:
        done = self.load(registry, "CH", "SG", "MC")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[1].startswith("countries: 252 there already")

    def test_a_country_that_is_none_is_named(self, registry: Registry) -> None:
        done = self.load(registry, "XX")
        assert done.returncode == 2
        assert "Unknown: XX" in done.stderr


class TestFaults:
    @pytest.mark.promise(1)
    def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(self, registry: Registry) -> None:
        top = own("Killed")
        registry.made(registry.create("continent", None, top, 1000, PLENTY))
        creates = [("country", top, own(f"Killed {number}"), 30, 1) for number in range(FIFTY)]
        with registry.held():
            answers = registry.at_once(creates)
            registry.kill("worker")
        registry.message(answers[0])
        registry.kill("worker")
        ends = [registry.message(answer) for answer in answers]
        assert placed(ends) == {"succeeded": 33, "failed": FIFTY - 33}
        assert {one["error"]["code"] for one in ends if one["state"] == "failed"} == {"limit_exceeded"}
        found = registry.find("continent", top)
        assert found is not None
        assert len(found["countries"]) == 33

    def test_down_and_up_keep_everything(self, registry: Registry) -> None:
        with registry.held():
            waiting = registry.create("continent", None, own("Waiting"), 5, 5)
        before = list(registry.every("continent"))
        assert registry.example.make("down").returncode == 0
        assert registry.example.make("up").returncode == 0

        def back() -> Any:
            try:
                return registry.http.get("healthcheck").status_code == 200
            except httpx.HTTPError:
                return None

        eventually(back, "the registry is back", 60)
        registry.made(waiting)
        after = {one["name"]: one for one in registry.every("continent")}
        assert all(after[one["name"]] == one for one in before)
