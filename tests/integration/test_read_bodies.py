"""Reads whose request is a body: pages, records by keys, counts, distinct values."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.in_process import InProcess

THINGS: dict[str, Any] = {
    "name": "things",
    "fields": [
        {"name": "site", "type": "text", "required": True, "max_length": 40},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "size", "type": "decimal", "precision": 6, "scale": 2},
        {"name": "ok", "type": "boolean"},
        {"name": "meta", "type": "json"},
        {"name": "place", "type": "vector", "dimensions": 2},
    ],
    "key": ["site", "at"],
    "time_field": "at",
    "embedding": {"metric": "l2", "dimensions": 2},
}
BASE = "datasets/things/records"
KINDS: list[Any] = ["a", "A", 1, 1.5, True, ["a"], {"b": 1}, None, 2**60 + 1]


def thing(number: int) -> dict[str, Any]:
    kind = KINDS[number % len(KINDS)]
    return {
        "site": f"s/{number % 3}",
        "at": f"2026-01-{number + 1:02d}T00:00:00Z",
        "size": None if number % 4 == 0 else f"{number % 5}.50",
        "ok": None if number % 7 == 0 else number % 2 == 0,
        "meta": None if number % 11 == 5 else ({} if number % 11 == 6 else {"kind": kind, "n": number}),
        "_embedding": [float(number), 0.0],
    }


ALL = [thing(number) for number in range(30)]
KEYS = [[record["site"], record["at"]] for record in ALL]


class Calls:
    """The REST interface: ``post`` and ``get`` return the body of the answer, whose status is the expected one."""

    def __init__(self, app: InProcess) -> None:
        self._app = app
        self.work = app.work

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        answer = self._app.http.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def get(self, path: str, **query: Any) -> Any:
        answer = self._app.http.get(f"/api/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def calls(app: InProcess) -> Calls:
    return Calls(app)


@pytest.fixture(scope="module")
def things(module_app: InProcess) -> Calls:
    calls = Calls(module_app)
    calls.post("datasets", THINGS, 202)
    calls.post(BASE, ALL, 202)
    calls.work()
    return calls


class TestQuery:
    def test_it_is_the_get_with_its_members_in_a_body(self, things: Calls) -> None:
        body = {"where": {"ok": True}, "start": "2026-01-05T00:00:00Z", "order": ["-size", "at"], "page_size": 4}
        query = {**body, "where": json.dumps(body["where"]), "order": "-size,at"}
        assert things.post(f"{BASE}/query", body) == things.get(BASE, **query)

    def test_pages_total_fields_and_vectors(self, things: Calls) -> None:
        body: dict[str, Any] = {"where": {"meta.n": {"ge": 3}}, "fields": ["at", "size"], "page_size": 7, "total": True}
        seen: list[Any] = []
        while True:
            page = things.post(f"{BASE}/query", body)
            seen += page["records"]
            if page["next_page_token"] is None:
                break
            body["page_token"] = page["next_page_token"]
        wanted = [record for record in ALL if record["meta"] and record["meta"]["n"] >= 3]
        assert page["total"] == len(wanted) == len(seen)
        assert Counter(record["at"] for record in seen) == Counter(record["at"] for record in wanted)
        assert all(set(record) == {"at", "size"} for record in seen)
        shown = things.post(f"{BASE}/query", {"fields": ["at"], "include": ["embedding"], "page_size": 1})
        assert shown["records"][0] == {"at": KEYS[0][1], "_embedding": [0.0, 0.0]}
        assert things.get(BASE, fields="size,ok", total=True, page_size=2)["total"] == len(ALL)

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ([], "", "wrong_type"),
            ({"page_size": 1001}, "/page_size", "wrong_type"),
            ({"size": 1}, "/size", "unknown_member"),
            ({"order": ["colour"]}, "/order", "bad_order"),
            ({"order": "at"}, "/order", "wrong_type"),
            ({"fields": ["at", "at"]}, "/fields", "duplicate"),
            ({"fields": ["colour"]}, "/fields", "unknown_field"),
            ({"fields": []}, "/fields", "wrong_type"),
            ({"start": "soon"}, "/start", "not_a_timestamp"),
            ({"where": {"colour": 1}}, "/where/colour", "unknown_field"),
            ({"include": ["all"]}, "/include/0", "unknown_value"),
        ],
    )
    def test_each_mistake_is_named_with_its_place(self, things: Calls, body: Any, pointer: str, code: str) -> None:
        problem = things.post(f"{BASE}/query", body, 422)
        assert [(one["pointer"], one["code"]) for one in problem["errors"]] == [(pointer, code)]

    def test_a_token_of_another_query_is_refused(self, things: Calls) -> None:
        token = things.post(f"{BASE}/query", {"page_size": 1})["next_page_token"]
        problem = things.post(f"{BASE}/query", {"page_token": token, "where": {"ok": True}}, 400)
        assert problem["errors"][0]["pointer"] == "/page_token"


class TestGet:
    def test_records_come_in_the_order_of_their_keys_and_absent_keys_are_named(self, things: Calls) -> None:
        absent = ["s/0", "2025-01-01T00:00:00Z"]
        keys = [KEYS[7], absent, KEYS[2], KEYS[7]]
        found = things.post(f"{BASE}/get", {"keys": keys, "fields": ["site", "at"]})
        assert [[record["site"], record["at"]] for record in found["records"]] == [KEYS[7], KEYS[2], KEYS[7]]
        assert found["missing"] == [absent]
        assert things.post(f"{BASE}/get", {"keys": []}) == {"records": [], "missing": []}
        whole = things.post(f"{BASE}/get", {"keys": KEYS, "include": ["embedding"]})["records"]
        assert [record["_embedding"] for record in whole] == [record["_embedding"] for record in ALL]

    def test_equal_keys_are_found_however_they_are_written(self, things: Calls) -> None:
        site, at = KEYS[4]
        same = at.replace("T00:00:00Z", "T01:00:00+01:00")
        assert len(things.post(f"{BASE}/get", {"keys": [[site, same]]})["records"]) == 1

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({}, "/keys", "missing"),
            ({"keys": "a"}, "/keys", "wrong_type"),
            ({"keys": [KEYS[0], ["s"]]}, "/keys/1", "bad_key"),
            ({"keys": [["s", "soon"]]}, "/keys/0", "not_a_timestamp"),
            ({"keys": [None]}, "/keys/0", "bad_key"),
            ({"keys": [["s\0", KEYS[0][1]]]}, "/keys/0", "nul"),
            ({"keys": [0] * 1001}, "/keys", "too_many"),
        ],
    )
    def test_each_mistake_is_named_with_its_place(self, things: Calls, body: Any, pointer: str, code: str) -> None:
        problem = things.post(f"{BASE}/get", body, 422)
        assert [(one["pointer"], one["code"]) for one in problem["errors"]] == [(pointer, code)]

    def test_a_dataset_without_a_key_says_so(self, calls: Calls) -> None:
        calls.post("datasets", {"name": "loose", "fields": [{"name": "n", "type": "integer"}]}, 202)
        assert calls.post("datasets/loose/records/get", {"keys": [1]}, 409)["code"] == "no_key"

    def test_before_the_dataset_is_made_every_key_is_missing(self, fresh_app: InProcess) -> None:
        calls = Calls(fresh_app)
        calls.post("datasets", THINGS, 202)
        assert calls.post(f"{BASE}/get", {"keys": KEYS[:2]}) == {"records": [], "missing": KEYS[:2]}
        assert calls.post(f"{BASE}/count", {}) == {"count": 0}
        assert calls.post(f"{BASE}/distinct", {"field": "ok"}) == {"values": [], "next_page_token": None}
        assert calls.post(f"{BASE}/query", {"total": True}) == {"records": [], "next_page_token": None, "total": 0}


def counted(things: Calls, body: dict[str, Any]) -> list[tuple[str, int]]:
    """All pages of distinct values; values as JSON text."""
    seen: list[tuple[str, int]] = []
    token = None
    while True:
        page = things.post(f"{BASE}/distinct", {**body, "page_token": token} if token else body)
        seen += [(json.dumps(one["value"], sort_keys=True), one["count"]) for one in page["values"]]
        token = page["next_page_token"]
        if token is None:
            return seen


class TestCountAndDistinct:
    @pytest.mark.parametrize("order", ["count", "value"])
    @pytest.mark.parametrize("size", [1, 3, 1000])
    @pytest.mark.parametrize("field", ["site", "at", "size", "ok", "meta.kind", "meta", "meta.n"])
    def test_every_value_comes_once_with_its_count(self, things: Calls, field: str, size: int, order: str) -> None:
        name, _, member = field.partition(".")
        values = [record[name] for record in ALL]
        if member:
            values = [None if value is None else value.get(member) for value in values]
        found = counted(things, {"field": field, "order": order, "page_size": size})
        assert dict(found) == Counter(json.dumps(value, sort_keys=True) for value in values)
        assert len(found) == len(dict(found))
        if order == "count":
            assert [count for _, count in found] == sorted((count for _, count in found), reverse=True)
        else:
            assert "null" not in [value for value, _ in found[:-1]], "null comes last"

    def test_they_are_those_of_the_filter_and_the_window(self, things: Calls) -> None:
        body = {"where": {"site": "s/1"}, "start": "2026-01-05T00:00:00Z", "end": "2026-01-20T00:00:00Z"}
        wanted = [one for one in ALL if one["site"] == "s/1" and body["start"] <= one["at"] <= body["end"]]
        assert things.post(f"{BASE}/count", body) == {"count": len(wanted)}
        assert dict(counted(things, {**body, "field": "at"})) == {json.dumps(one["at"]): 1 for one in wanted}

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({}, "/field", "missing"),
            ({"field": "colour"}, "/field", "unknown_field"),
            ({"field": "place"}, "/field", "not_comparable"),
            ({"field": "site.x"}, "/field", "unknown_field"),
            ({"field": "meta.\\"}, "/field", "bad_path"),
            ({"field": "ok", "order": "size"}, "/order", "unknown_value"),
        ],
    )
    def test_each_mistake_is_named_with_its_place(self, things: Calls, body: Any, pointer: str, code: str) -> None:
        problem = things.post(f"{BASE}/distinct", body, 422)
        assert [(one["pointer"], one["code"]) for one in problem["errors"]] == [(pointer, code)]

    @settings(max_examples=15)
    @given(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3), low=st.integers(0, 30))
    def test_the_count_agrees_with_the_list(self, things: Calls, kinds: list[Any], low: int) -> None:
        parts: list[Any] = [{"meta.kind": {"eq": kind}} for kind in kinds if kind is not None]
        where = {"or": [*parts, {"meta.kind": {"null": True}}], "not": {"meta.n": {"lt": low}}}
        listed = things.post(f"{BASE}/query", {"where": where, "page_size": 1000, "total": True})
        assert things.post(f"{BASE}/count", {"where": where})["count"] == len(listed["records"]) == listed["total"]


class TestZone:
    @pytest.fixture(scope="class")
    def times(self, module_app: InProcess) -> Calls:
        calls = Calls(module_app)
        fields = [
            {"name": "k", "type": "integer", "required": True},
            {"name": "at", "type": "timestamp", "zone": "Europe/Berlin"},
            {"name": "utc", "type": "timestamp"},
        ]
        calls.post("datasets", {"name": "times", "fields": fields, "key": ["k"], "time_field": "at"}, 202)
        moments = ["2026-01-31T12:00:00.5Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "1880-01-01T00:00:00Z"]
        moments += ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
        calls.post("datasets/times/records", [{"k": k, "at": at, "utc": at} for k, at in enumerate(moments)], 202)
        calls.work()
        return calls

    def test_timestamps_are_shown_in_it_with_their_offset(self, times: Calls) -> None:
        found = times.post("datasets/times/records/query", {"zone": "contract", "order": ["k"]})["records"]
        assert [record["at"] for record in found] == [
            "2026-01-31T13:00:00.500000+01:00",
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:30:00+01:00",
            # Before it had a zone, Berlin was 53 minutes and 28 seconds ahead, and the last moment has no later year.
            "1880-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ]
        assert [record["utc"] for record in found] == [
            record["utc"] for record in times.get("datasets/times/records", order="k")["records"]
        ]
        everywhere = times.get("datasets/times/records", zone="America/New_York", order="k")["records"]
        assert everywhere[0] == {
            "k": 0,
            "at": "2026-01-31T07:00:00.500000-05:00",
            "utc": "2026-01-31T07:00:00.500000-05:00",
        }
        for one in (
            times.get("datasets/times/records/0", zone="America/New_York"),
            times.get("datasets/times/latest", zone="America/New_York", n=6)["records"][3],
            times.post("datasets/times/records/get", {"keys": [0], "zone": "America/New_York"})["records"][0],
        ):
            assert one == everywhere[0]

    def test_what_is_shown_can_be_sent_back(self, times: Calls) -> None:
        before = times.get("datasets/times/records")
        shown = times.get("datasets/times/records", zone="Asia/Kathmandu")["records"]
        times.post("datasets/times/records", shown, 202)
        times.work()
        assert times.get("datasets/times/records") == before

    def test_one_that_there_is_not_is_named(self, times: Calls) -> None:
        for body in ({"zone": "Mars/Olympus"}, {"zone": "../etc/passwd"}):
            problem = times.post("datasets/times/records/query", body, 422)
            assert [(one["pointer"], one["code"]) for one in problem["errors"]] == [("/zone", "unknown_zone")]
