"""Quarantine from the side of those who use it: what the client and the command line send and print."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.test_cli import JOB_ID, Run, job, run, server
from tests.unit.test_cli import Server as CliServer

from gristmill.client import Client, Retry

__all__ = ["run", "server"]  # fixtures

REJECT = {
    "record": 1,
    "line": 2,
    "errors": [{"pointer": "/1/n", "code": "out_of_range", "reason": "99 is too many", "record": 1, "field": "n"}],
    "errors_total": 1,
    "raw": '{"k":"b","n":99}',
    "raw_encoding": "utf-8",
    "values": {"k": "b", "n": 99},
}
PATH = f"/api/v1/jobs/{JOB_ID}/rejects"


class TestClient:
    def answering(self, *answers: Any) -> tuple[Client, list[httpx.Request]]:
        left, requests = list(answers), []

        def answer(request: httpx.Request) -> httpx.Response:
            request.read()
            requests.append(request)
            found = left.pop(0)
            return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

        transport = httpx.MockTransport(answer)
        return Client("http://mill.test", retry=Retry(attempts=1), transport=transport), requests

    def test_quarantine_and_the_job_that_is_mended_are_parameters(self) -> None:
        client, requests = self.answering(job())
        client.submit("things", [{"k": "a"}], on_error="quarantine", retry_of=JOB_ID)
        assert dict(requests[0].url.params) == {"on_error": "quarantine", "retry_of": JOB_ID}

    def test_rejects_come_page_by_page(self) -> None:
        pages = [
            {"rejects": [REJECT], "next_page_token": "more"},
            {"rejects": [{**REJECT, "record": 5}], "next_page_token": None},
        ]
        client, requests = self.answering(*pages)
        assert [reject["record"] for reject in client.rejects(JOB_ID, page_size=1)] == [1, 5]
        assert [dict(request.url.params) for request in requests] == [
            {"page_size": "1"},
            {"page_size": "1", "page_token": "more"},
        ]

    def test_a_download_is_a_file_when_it_is_complete(self, tmp_path: Path) -> None:
        client, requests = self.answering(httpx.Response(200, content=b"k,_record\r\n"), httpx.Response(404, json={}))
        assert client.download_rejects(JOB_ID, tmp_path / "bad.csv") == 11
        assert (tmp_path / "bad.csv").read_bytes() == b"k,_record\r\n"
        assert requests[0].url.raw_path.decode() == f"{PATH}?format=csv"
        with pytest.raises(Exception, match="404"):
            client.download_rejects(JOB_ID, tmp_path / "none.ndjson")
        assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]

    @pytest.mark.parametrize(("file", "format"), [("bad.txt", None), ("bad.csv", "xml")])
    def test_an_unknown_format_is_refused_before_anything_is_asked(self, file: str, format: str | None) -> None:
        client, requests = self.answering()
        with pytest.raises(ValueError, match="csv, ndjson"):
            client.download_rejects(JOB_ID, file, format=format)
        assert requests == []


class TestCommands:
    def test_submit_quarantines_and_says_how_to_see_what(self, server: CliServer, run: Run) -> None:
        found = job("succeeded")
        found["record_counts"]["rejected"] = 2
        server.answer("POST /api/v1/datasets/things/records", found)
        result = run("submit", "things", "--quarantine", "--retry-of", JOB_ID, "--wait", stdin=b"{}\n")
        assert result.exit_code == 0, result.output
        query = dict(server.requests[0].url.params)
        assert (query["on_error"], query["retry_of"]) == ("quarantine", JOB_ID)
        assert f"2 records did not fit; see them with: gristmill rejects {JOB_ID}" in result.output

    def test_a_dry_run_takes_neither(self, server: CliServer, run: Run) -> None:
        assert run("submit", "things", "--dry-run", "--quarantine", stdin=b"{}\n").exit_code == 2

    def test_rejects_are_listed_with_their_reasons(self, server: CliServer, run: Run) -> None:
        server.answer(f"GET {PATH}", {"rejects": [REJECT], "next_page_token": None})
        result = run("rejects", JOB_ID)
        assert result.exit_code == 0
        assert "99 is too many" in result.output
        assert '{"k":"b","n":99}' in result.output
        assert json.loads(run("rejects", JOB_ID, "--json").output) == REJECT

    def test_they_are_downloaded_to_a_file_or_printed(self, server: CliServer, run: Run, tmp_path: Path) -> None:
        server.answer(f"GET {PATH}", httpx.Response(200, content=b"k,_record\r\n"))
        result = run("rejects", JOB_ID, "--out", "bad.csv")
        assert result.exit_code == 0, result.output
        assert (tmp_path / "bad.csv").read_bytes() == b"k,_record\r\n"
        assert run("rejects", JOB_ID, "--format", "csv").stdout_bytes == b"k,_record\r\n"
        assert server.requests[-1].url.params["format"] == "csv"

    @pytest.mark.parametrize(
        "arguments", [["--out", "bad.txt"], ["--format", "csv", "--json"], ["--format", "csv", "--limit", "3"]]
    )
    def test_what_makes_no_sense_is_refused(self, server: CliServer, run: Run, arguments: list[str]) -> None:
        assert run("rejects", JOB_ID, *arguments).exit_code == 2
        assert server.requests == []
