"""Sources of the client and the command line: what is sent, and what is shown."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from tests.support.named_server import NamedServer
from typer.testing import CliRunner

from gristmill.cli import session
from gristmill.cli.main import app
from gristmill.client import AsyncClient, Conflict, InvalidRequest, NotFound

SOURCE = {
    "name": "demo", "kind": "simulator", "dataset": "readings", "state": "running", "records": 5, "rate": 1.0,
    "lag": {"seconds": 0.5, "records": 1}, "waits_for": None,
}  # fmt: skip
KIND = {"kind": "simulator", "summary": "Emits.", "settings": {"properties": {"interval": {"minimum": 0.001}}}}


class Server(NamedServer):
    def __init__(self, *statuses: int) -> None:
        super().__init__("sources", SOURCE, statuses, {"/source-kinds": (200, {"source_kinds": [KIND]})})


class TestClient:
    def test_it_creates_a_source_with_what_is_given_and_nothing_else(self) -> None:
        server = Server()
        with server.client() as client:
            assert client.create_source("demo", "simulator", "readings") == SOURCE
            client.create_source(
                "demo", "simulator", "readings", {"interval": 2}, labels={"a": "b"}, priority=0, paused=True
            )
        first = {"name": "demo", "kind": "simulator", "dataset": "readings"}
        full = {**first, "settings": {"interval": 2}, "labels": {"a": "b"}, "priority": 0, "state": "paused"}
        assert server.calls == [("POST", "/sources", first), ("POST", "/sources", full)]

    def test_a_create_is_repeated_under_its_key(self) -> None:
        server = Server(503)
        with server.client() as client:
            client.create_source("demo", "simulator", "readings")
        keys = [headers["idempotency-key"] for headers in server.headers]
        assert len(keys) == 2
        assert len(set(keys)) == 1

    def test_it_pauses_resumes_changes_and_deletes(self) -> None:
        server = Server()
        with server.client() as client:
            client.pause_source("demo")
            client.resume_source("demo")
            client.change_source("demo", settings={"seed": None}, labels={}, priority=9)
            assert client.source("a/b") == SOURCE
            assert client.delete_source("demo") is None  # type: ignore[func-returns-value]
        assert server.calls == [
            ("PATCH", "/sources/demo", {"state": "paused"}),
            ("PATCH", "/sources/demo", {"state": "running"}),
            ("PATCH", "/sources/demo", {"settings": {"seed": None}, "labels": {}, "priority": 9}),
            ("GET", "/sources/a/b", {}),
            ("DELETE", "/sources/demo", {}),
        ]

    def test_it_yields_all_pages_of_a_list(self) -> None:
        server = Server()
        with server.client() as client:
            assert [one["name"] for one in client.sources(dataset="d", state="paused")] == ["a", "b"]
            assert client.source_kinds() == [KIND]
        assert server.calls[0] == ("GET", "/sources", {"dataset": "d", "state": "paused"})
        assert server.calls[1][2]["page_token"] == "t"

    @pytest.mark.parametrize(("status", "error"), [(404, NotFound), (409, Conflict), (422, InvalidRequest)])
    def test_problems_are_exceptions(self, status: int, error: type[Exception]) -> None:
        with Server(status).client() as client, pytest.raises(error):
            client.pause_source("demo")

    def test_the_asynchronous_client_has_the_same_calls(self) -> None:
        server = Server()

        async def answer(request: httpx.Request) -> httpx.Response:
            return server(request)

        async def calls() -> list[str]:
            async with AsyncClient(transport=httpx.MockTransport(answer)) as client:
                await client.create_source("demo", "simulator", "readings")
                await client.delete_source("demo")
                return [one["name"] async for one in client.sources()]

        assert asyncio.run(calls()) == ["a", "b"]


class TestCommandLine:
    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Server:
        found = Server()
        monkeypatch.setattr(session, "Client", found.client)
        return found

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(app, ["sources", *arguments])

    def test_create(self, server: Server) -> None:
        given = ("--dataset", "readings", "--settings", '{"interval": 2}', "--label", "a=b", "--paused", "--json")
        result = self.run("create", "demo", *given)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout) == SOURCE
        expected = {
            "name": "demo", "kind": "simulator", "dataset": "readings", "settings": {"interval": 2},
            "labels": {"a": "b"}, "state": "paused",
        }  # fmt: skip
        assert server.calls == [("POST", "/sources", expected)]

    def test_list_is_a_table_for_people_and_a_document_per_line_for_programs(self, server: Server) -> None:
        shown = self.run("list").stdout
        assert "simulator" in shown
        assert "0.5" in shown
        assert [json.loads(line)["name"] for line in self.run("list", "--json").stdout.splitlines()] == ["a", "b"]
        assert len(self.run("list", "--json", "-n", "1").stdout.splitlines()) == 1

    def test_show_pause_resume_change_delete(self, server: Server) -> None:
        for arguments in (
            ("show",),
            ("pause",),
            ("resume",),
            ("change", "--settings", '{"batch_size": 7}'),
            ("delete",),
        ):
            result = self.run(arguments[0], "demo", *arguments[1:])
            assert result.exit_code == 0, result.output
        assert [call[0] for call in server.calls] == ["GET", "PATCH", "PATCH", "PATCH", "DELETE"]
        assert server.calls[3][2] == {"settings": {"batch_size": 7}}

    def test_kinds_and_the_settings_of_one(self, server: Server) -> None:
        assert "Emits." in self.run("kinds").stdout
        assert "interval" in self.run("kinds", "simulator").stdout
        wrong = self.run("kinds", "kafak")
        assert wrong.exit_code == 2
        assert "the kinds are: simulator" in wrong.output

    def test_bad_arguments_and_refusals_have_their_exit_codes(self, server: Server) -> None:
        assert self.run("create", "demo", "--dataset", "d", "--settings", "{").exit_code == 2
        assert self.run("create", "demo", "--dataset", "d", "--label", "a").exit_code == 2
        assert server.calls == []
        server.statuses = [409]
        assert self.run("pause", "demo").exit_code == 3

    def test_the_singular_is_understood_too(self, server: Server) -> None:
        assert CliRunner().invoke(app, ["source", "show", "demo"]).exit_code == 0
