"""The REST interface of sources: what is refused and where, pages, keys, metrics, idempotency."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.in_process import InProcess
from tests.support.sources import CONTRACT, NUMBERS, SourcesInProcess

from gristmill.access.keys import create_key

URL = "/api/v1/sources"


@pytest.fixture
def app(fresh_app: InProcess) -> InProcess:
    """Their sources have one name."""
    return fresh_app


@pytest.fixture
def sources(app: InProcess) -> SourcesInProcess:
    return SourcesInProcess(app)


@pytest.fixture
def dataset(app: InProcess) -> str:
    return app.dataset(CONTRACT)


def body(dataset: str, **more: Any) -> dict[str, Any]:
    return {"name": "demo", "kind": "simulator", "dataset": dataset, **more}


def refused(answer: Any, status: int = 422) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    return found


class TestCreate:
    def test_it_is_answered_with_the_source_and_its_path(self, app: InProcess, dataset: str) -> None:
        answer = app.http.post(URL, json=body(dataset, labels={"a": "b"}, priority=3, state="paused"))
        assert (answer.status_code, answer.headers["location"]) == (201, f"{URL}/demo")
        made = answer.json()
        assert made == app.http.get(f"{URL}/demo").json()
        assert (made["state"], made["dataset"], made["priority"]) == ("paused", dataset, 3)
        assert made["settings"]["batch_size"] == 10
        assert (made["position"], made["lag"], made["waits_for"], made["created_by"]) == (None, None, None, "local")
        for link in ("self", "dataset", "jobs"):
            assert app.http.get(made["links"][link]).status_code == 200, link

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"name": "Demo"}, "/name"),
            ({"name": ""}, "/name"),
            ({"name": "a" * 64}, "/name"),
            ({"name": "../jobs"}, "/name"),
            ({"name": 5}, "/name"),
            ({"kind": "kafak"}, "/kind"),
            ({"kind": None}, "/kind"),
            ({"settings": {"interval": 0}}, "/settings/interval"),
            ({"settings": {"fields": {"id": 3}}}, "/settings/fields/id"),
            ({"settings": {"nothing": 1}}, "/settings/nothing"),
            ({"settings": {"fields": {"id": "a\0b"}}}, "/settings/fields/id"),
            ({"settings": {"fields": {"id": "\ud800"}}}, ""),
            ({"settings": []}, "/settings"),
            ({"settings": {"batch_size": 1e400}}, ""),
            ({"labels": {"source": "x"}}, "/labels/source"),
            ({"labels": {"a b": "x"}}, "/labels/a b"),
            ({"labels": {"a": "x" * 300}}, "/labels/a"),
            ({"labels": {str(n): "" for n in range(20)}}, "/labels"),
            ({"priority": 10}, "/priority"),
            ({"state": "finished"}, "/state"),
            ({"more": 1}, "/more"),
        ],
    )
    def test_what_does_not_fit_is_named(self, app: InProcess, dataset: str, change: Any, pointer: str) -> None:
        given = json.dumps(body(dataset, **change)).replace("Infinity", "1e400")
        answer = app.http.post(URL, content=given, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
        places = [one["pointer"] for one in answer.json()["errors"]]
        assert any(place.startswith(pointer) for place in places), places
        assert app.http.get(f"{URL}/demo").status_code == 404

    @pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b'{"name": "demo"}', b"\xff", b"[" * 10_000])
    def test_a_body_that_is_no_source(self, app: InProcess, text: bytes) -> None:
        answer = app.http.post(URL, content=text, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
        assert app.http.post(URL, content=text, headers={"content-type": "text/csv"}).status_code == 415

    def test_a_body_that_is_too_large(self, app: InProcess, dataset: str) -> None:
        found = body(dataset, settings={"x": "y" * 300_000})
        assert refused(app.http.post(URL, json=found), 413)["limit"] == 256 * 1024

    def test_a_dataset_that_is_not_there(self, app: InProcess) -> None:
        assert refused(app.http.post(URL, json=body("nothing")), 404)["code"] == "unknown_dataset"
        assert refused(app.http.post(URL, json=body("No \0 name")), 404)["code"] == "unknown_dataset"

    def test_a_contract_that_does_not_take_its_records_is_refused_with_the_fields(self, app: InProcess) -> None:
        found = refused(app.http.post(URL, json=body(app.dataset(NUMBERS))))
        fields = {one["field"] for one in found["errors"]}
        assert {"n", "timestamp", "id", "value"} <= fields
        assert {one["pointer"] for one in found["errors"]} == {"/dataset"}
        assert "does not fit the contract of" in found["detail"]

    def test_names_of_fields_make_it_fit(self, app: InProcess) -> None:
        contract = {
            "fields": [
                {"name": "at", "type": "timestamp", "required": True},
                {"name": "sensor", "type": "text", "required": True},
                {"name": "celsius", "type": "float"},
            ]
        }
        fields = {"timestamp": "at", "id": "sensor", "value": "celsius"}
        answer = app.http.post(URL, json=body(app.dataset(contract), settings={"fields": fields}))
        assert answer.status_code == 201, answer.text

    def test_a_name_that_is_taken(self, app: InProcess, dataset: str) -> None:
        assert app.http.post(URL, json=body(dataset)).status_code == 201
        assert refused(app.http.post(URL, json=body(dataset)), 409)["code"] == "source_exists"

    def test_the_same_key_gives_the_same_source(self, app: InProcess, dataset: str) -> None:
        headers = {"idempotency-key": "k1"}
        first = app.http.post(URL, json=body(dataset), headers=headers)
        again = app.http.post(URL, json=body(dataset), headers=headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json()["created_at"] == again.json()["created_at"]
        changed = app.http.post(URL, json=body(dataset, priority=1), headers=headers)
        assert refused(changed, 409)["code"] == "source_exists", "the same key, and another request"
        other = app.http.post(URL, json=body(dataset), headers={"idempotency-key": "k2"})
        assert refused(other, 409)["code"] == "source_exists"
        assert app.http.post(URL, json=body(dataset), headers={"idempotency-key": " "}).status_code == 422


class TestLookAndChange:
    def test_there_is_none_of_that_name(self, app: InProcess) -> None:
        for name in ("nothing", "No%20name", "a%00b", "x" * 200):
            assert refused(app.http.get(f"{URL}/{name}"), 404)["code"] == "unknown_source"
            assert app.http.patch(f"{URL}/{name}", json={"state": "paused"}).status_code == 404
            assert app.http.delete(f"{URL}/{name}").status_code == 404

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"state": "stopped"}, "/state"),
            ({"state": 1}, "/state"),
            ({"settings": {"interval": -1}}, "/settings/interval"),
            ({"settings": {"fields": {"value": "wrong"}}}, "/dataset"),
            ({"labels": {"source": "x"}}, "/labels/source"),
            ({"priority": -1}, "/priority"),
            ({"name": "other"}, "/name"),
            ({"dataset": "other"}, "/dataset"),
        ],
    )
    def test_a_change_that_does_not_fit_changes_nothing(
        self, app: InProcess, dataset: str, change: Any, pointer: str
    ) -> None:
        before = app.http.post(URL, json=body(dataset)).json()
        found = refused(app.http.patch(f"{URL}/demo", json=change))
        assert found["errors"][0]["pointer"] == pointer
        assert app.http.get(f"{URL}/demo").json() == before

    def test_a_change_of_nothing_keeps_the_lease(self, app: InProcess, sources: SourcesInProcess, dataset: str) -> None:
        def epoch() -> Any:
            with app.gristmill.database.autocommit() as connection:
                return connection.exec_driver_sql("SELECT epoch FROM gristmill.sources").scalar_one()

        name = sources.create(dataset, "simulator")
        before = epoch()
        for change in ({}, {"state": "running"}, {"settings": {}}, {"settings": {"interval": 1}}, {"labels": {}}):
            sources.patch(name, **change)
        assert epoch() == before
        sources.patch(name, priority=1)
        assert epoch() == before + 1

    def test_pages_in_the_order_of_names(self, app: InProcess, sources: SourcesInProcess, dataset: str) -> None:
        other = app.dataset(CONTRACT)
        names = ["a", "a-b", "a_c", "ab", "b"]
        for name in reversed(names):
            sources.create(other if name == "b" else dataset, "simulator", name=name, state="paused")
        sources.patch("ab", state="running")
        found: list[str] = []
        token = None
        while True:
            page = app.http.get(URL, params={"page_size": 2, **({"page_token": token} if token else {})}).json()
            found += [one["name"] for one in page["sources"]]
            token = page["next_page_token"]
            if token is None:
                break
        assert found == names
        chosen = app.http.get(URL, params={"dataset": other}).json()["sources"]
        assert [(one["name"], one["dataset"]) for one in chosen] == [("b", other)]
        assert [one["name"] for one in app.http.get(URL, params={"state": "running"}).json()["sources"]] == ["ab"]
        assert app.http.get(URL, params={"state": "gone"}).status_code == 422
        assert app.http.get(URL, params={"dataset": "nothing"}).status_code == 404
        assert app.http.get(URL, params={"page_token": "x"}).status_code == 400
        assert app.http.get(URL, params={"pagesize": 2}).status_code == 422

    def test_kinds_come_with_the_schema_of_their_settings(self, app: InProcess) -> None:
        (kind,) = app.http.get("/api/v1/source-kinds").json()["source_kinds"]
        assert kind["kind"] == "simulator"
        assert kind["settings"]["properties"]["interval"]["minimum"] == 0.001


class TestMetrics:
    def test_each_source_shows(self, app: InProcess, sources: SourcesInProcess, dataset: str) -> None:
        app.work()
        name = sources.create(dataset, "simulator", {"interval": 0.005, "batch_size": 5})
        sources.start_runner()
        found = sources.until(name, lambda one: one["batches"] >= 3, "it runs")
        sources.stop_runners()
        text = app.http.get("/metrics").text
        labels = f'{{kind="simulator",source="{name}"}}'
        shown = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[:1] != "#"}
        assert shown[f"gristmill_source_batches_total{labels}"] >= found["batches"]
        assert shown[f"gristmill_source_records_total{labels}"] >= 15
        assert shown[f"gristmill_source_rejected_total{labels}"] == 0
        assert shown[f"gristmill_source_failures{labels}"] == 0
        assert shown[f"gristmill_source_lag_seconds{labels}"] >= 0, "no runner has it, so it falls behind"
        states = {state: shown[f'gristmill_source_state{{kind="simulator",source="{name}",state="{state}"}}']
                  for state in ("running", "paused", "failed", "finished")}  # fmt: skip
        assert states == {"running": 1, "paused": 0, "failed": 0, "finished": 0}


class TestPermissions:
    @pytest.fixture
    def app(self, database_url: str) -> Iterator[InProcess]:
        found = InProcess(database_url, api_require_key=True)
        with found.http:
            yield found
        found.gristmill.database.close()

    def test_reading_needs_read_and_changing_needs_admin(self, app: InProcess) -> None:
        tokens = {one: create_key(app.gristmill.database, f"k{one}", one) for one in ("read", "write", "admin")}
        keys = {one: {"authorization": f"Bearer {token}"} for one, token in tokens.items()}
        app.http.post("/api/v1/datasets", json={**CONTRACT, "name": "d"}, headers=keys["admin"])
        for permission, status in (("read", 403), ("write", 403), ("admin", 201)):
            assert app.http.post(URL, json=body("d"), headers=keys[permission]).status_code == status
        for permission in ("read", "write"):
            for method, sent in (("PATCH", {"state": "paused"}), ("DELETE", None)):
                answer = app.http.request(method, f"{URL}/demo", json=sent, headers=keys[permission])
                assert answer.status_code == 403, (method, permission)
        for path in (URL, f"{URL}/demo", "/api/v1/source-kinds"):
            assert app.http.get(path, headers=keys["read"]).status_code == 200
            assert app.http.get(path).status_code == 401
        assert app.http.get(f"{URL}/demo", headers=keys["read"]).json()["created_by"] == "key:kadmin"
