"""Schedules of the client and the command line: what is sent, and what is shown."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from tests.support.named_server import NamedServer
from typer.testing import CliRunner

from gristmill.cli import session
from gristmill.cli.main import app
from gristmill.client import AsyncClient, Conflict, Forbidden, InvalidRequest, NotFound

SCHEDULE = {
    "name": "nightly", "type": "reports.daily", "words": "At 06:30 every day", "zone": "UTC", "state": "running",
    "next_runs": ["2026-01-01T06:30:00Z"], "runs": 3, "last_job": None,
}  # fmt: skip
JOB = {"id": "j", "state": "queued", "links": {"self": "/api/v1/jobs/j"}}


class Server(NamedServer):
    def __init__(self, *statuses: int) -> None:
        super().__init__("schedules", SCHEDULE, statuses, {"/run-now": (202, JOB)})


class TestClient:
    def test_it_creates_a_schedule_with_what_is_given_and_nothing_else(self) -> None:
        server = Server()
        with server.client() as client:
            assert client.create_schedule("nightly", "reports.daily", cron="30 6 * * *") == SCHEDULE
            client.create_schedule(
                "nightly", "reports.daily", {"dataset": "d"}, every="1d", zone="Asia/Tokyo",
                start=datetime(2026, 1, 1, tzinfo=UTC), overlap="skip", max_attempts=1, labels={"a": "b"}, priority=0,
                paused=True,
            )  # fmt: skip
        first = {"name": "nightly", "type": "reports.daily"}
        full = {
            **first, "args": {"dataset": "d"}, "every": "1d", "zone": "Asia/Tokyo",
            "start": "2026-01-01T00:00:00+00:00", "overlap": "skip", "max_attempts": 1, "labels": {"a": "b"},
            "priority": 0, "state": "paused",
        }  # fmt: skip
        assert server.calls == [("POST", "/schedules", {**first, "cron": "30 6 * * *"}), ("POST", "/schedules", full)]

    def test_a_create_and_a_run_are_repeated_under_their_keys(self) -> None:
        server = Server(503, 200, 503)
        with server.client() as client:
            client.create_schedule("nightly", "reports.daily", every="1d")
            assert client.run_schedule("nightly") == JOB
        keys = [headers["idempotency-key"] for headers in server.headers]
        assert keys[0] == keys[1] != keys[2] == keys[3]

    def test_it_pauses_resumes_changes_and_deletes(self) -> None:
        server = Server()
        with server.client() as client:
            client.pause_schedule("nightly")
            client.resume_schedule("nightly")
            client.change_schedule("nightly", args={}, cron="0 0 1 * *", labels={}, priority=0)
            assert client.schedule("a/b") == SCHEDULE
            assert client.delete_schedule("nightly") is None  # type: ignore[func-returns-value]
        assert server.calls == [
            ("PATCH", "/schedules/nightly", {"state": "paused"}),
            ("PATCH", "/schedules/nightly", {"state": "running"}),
            ("PATCH", "/schedules/nightly", {"args": {}, "cron": "0 0 1 * *", "labels": {}, "priority": 0}),
            ("GET", "/schedules/a/b", {}),
            ("DELETE", "/schedules/nightly", {}),
        ]

    def test_it_yields_all_pages_of_a_list(self) -> None:
        server = Server()
        with server.client() as client:
            assert [one["name"] for one in client.schedules(type="reports.daily", state="paused")] == ["a", "b"]
        assert server.calls[0] == ("GET", "/schedules", {"type": "reports.daily", "state": "paused"})
        assert server.calls[1][2]["page_token"] == "t"

    @pytest.mark.parametrize(
        ("status", "error"), [(403, Forbidden), (404, NotFound), (409, Conflict), (422, InvalidRequest)]
    )
    def test_problems_are_exceptions(self, status: int, error: type[Exception]) -> None:
        with Server(status).client() as client, pytest.raises(error):
            client.resume_schedule("nightly")

    def test_the_asynchronous_client_has_the_same_calls(self) -> None:
        server = Server()

        async def answer(request: httpx.Request) -> httpx.Response:
            return server(request)

        async def calls() -> list[str]:
            async with AsyncClient(transport=httpx.MockTransport(answer)) as client:
                await client.create_schedule("nightly", "reports.daily", every="1d")
                assert (await client.run_schedule("nightly"))["id"] == "j"
                await client.delete_schedule("nightly")
                return [one["name"] async for one in client.schedules()]

        assert asyncio.run(calls()) == ["a", "b"]


class TestCommandLine:
    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Server:
        found = Server()
        monkeypatch.setattr(session, "Client", found.client)
        return found

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(app, ["schedules", *arguments])

    def test_create(self, server: Server) -> None:
        given = ("--args", '{"dataset": "d"}', "--cron", "30 6 * * *", "--zone", "UTC", "--label", "a=b", "--json")
        result = self.run("create", "nightly", "--type", "reports.daily", *given)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout) == SCHEDULE
        expected = {
            "name": "nightly", "type": "reports.daily", "args": {"dataset": "d"}, "cron": "30 6 * * *", "zone": "UTC",
            "labels": {"a": "b"},
        }  # fmt: skip
        assert server.calls == [("POST", "/schedules", expected)]

    def test_list_is_a_table_for_people_and_a_document_per_line_for_programs(self, server: Server) -> None:
        shown = self.run("list").stdout
        assert "reports.daily" in shown
        assert "2026-01-01" in shown
        assert [json.loads(line)["name"] for line in self.run("list", "--json").stdout.splitlines()] == ["a", "b"]
        assert len(self.run("list", "--json", "-n", "1").stdout.splitlines()) == 1

    def test_show_pause_resume_change_run_delete(self, server: Server) -> None:
        for arguments in (("show",), ("pause",), ("resume",), ("change", "--every", "1h"), ("run",), ("delete",)):
            result = self.run(arguments[0], "nightly", *arguments[1:])
            assert result.exit_code == 0, result.output
        assert [call[:2] for call in server.calls] == [
            ("GET", "/schedules/nightly"),
            ("PATCH", "/schedules/nightly"),
            ("PATCH", "/schedules/nightly"),
            ("PATCH", "/schedules/nightly"),
            ("POST", "/schedules/nightly/run-now"),
            ("DELETE", "/schedules/nightly"),
        ]
        assert server.calls[3][2] == {"every": "1h"}

    def test_bad_arguments_and_refusals_have_their_exit_codes(self, server: Server) -> None:
        assert self.run("create", "nightly", "--type", "t", "--args", "{").exit_code == 2
        assert self.run("create", "nightly", "--type", "t", "--label", "a").exit_code == 2
        assert server.calls == []
        server.statuses = [409]
        assert self.run("create", "nightly", "--type", "t", "--every", "1h").exit_code == 3
