"""The demo: its curl lines, and that a failed step is never passed over."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gristmill.cli import session
from gristmill.cli.demo import command, debian, texts
from gristmill.cli.demo.stage import Stage
from gristmill.cli.main import app
from gristmill.cli.output import Output
from gristmill.client import Client, ClientError, Retry


def stage(json: bool = False, with_key: bool = False) -> Stage:
    return Stage(Output(json), "http://mill.test", with_key)


class TestCurl:
    def test_a_body_and_a_header_are_quoted_for_the_shell(self, capsys: pytest.CaptureFixture[str]) -> None:
        body = {"text": "it's 20 °C"}
        stage().curl("POST", "/a?wait=1", body=body, header="Idempotency-Key: k")
        words = shlex.split(capsys.readouterr().out.removeprefix("$ "))
        assert words[:6] == ["curl", "-s", "-X", "POST", "-H", "Idempotency-Key: k"]
        assert words[6] == "http://mill.test/a?wait=1"
        assert json.loads(words[-1]) == body

    def test_parameters_are_encoded_by_curl(self, capsys: pytest.CaptureFixture[str]) -> None:
        stage().curl("GET", "/a", query={"where": '{"a": 1}', "order": "-a"})
        words = shlex.split(capsys.readouterr().out)[1:]
        assert words == [
            *["curl", "-s", "-G", "http://mill.test/a"],
            *["--data-urlencode", 'where={"a": 1}', "--data-urlencode", "order=-a"],
        ]

    def test_the_key_is_named_but_never_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        stage(with_key=True).curl("GET", "/a")
        assert '-H "Authorization: Bearer $GRISTMILL_API_KEY"' in capsys.readouterr().out


class TestSteps:
    def test_a_failed_step_is_kept_and_the_next_one_runs(self, capsys: pytest.CaptureFixture[str]) -> None:
        told = stage()

        def refused() -> None:
            raise ClientError("nobody answers")

        told.run("first", refused)
        told.run("second", lambda: told.expect(False, "two is two"))
        told.run("third", lambda: told.expect(True, "all is well"))
        assert [step.ok for step in told.steps] == [False, False, True]
        assert not told.ok
        errors = capsys.readouterr().err
        assert "nobody answers" in errors
        assert "not so: two is two" in errors

    def test_with_json_each_step_is_one_document(self, capsys: pytest.CaptureFixture[str]) -> None:
        told = stage(json=True)
        told.run("first", lambda: told.fact("rows", told.timed("took", lambda: 7)))
        document = json.loads(capsys.readouterr().out)
        assert (document["title"], document["ok"], document["facts"]["rows"]) == ("first", True, 7)


class TestCommand:
    def test_a_server_that_does_not_answer_fails_every_step_and_the_command(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused")

        def client(url: str, api_key: str | None, **_: Any) -> Client:
            return Client(url, api_key, retry=Retry(attempts=1), transport=httpx.MockTransport(refuse))

        monkeypatch.setattr(session, "Client", client)
        monkeypatch.setattr(debian, "available", lambda: "")
        operations = [{"service": "a", "operation": "b", "title": "c", "summary": "d"}]
        monkeypatch.setattr(texts.operations, "operations", lambda: iter(operations))
        result = CliRunner().invoke(app, ["demo", "--url", "http://mill.test", "--data", str(tmp_path)])
        assert result.exit_code == 1
        assert "0 of 12 steps done" in result.output
        assert "failed: Create a dataset" in result.output
        assert "gristmill down" not in result.output

    def test_the_stop_line_names_a_command_that_can_be_typed(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        program = tmp_path / "bin" / "gristmill"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "argv", [str(program), "demo"])
        monkeypatch.setenv("PATH", "/nowhere")
        assert command._program() == str(program)
        monkeypatch.setenv("PATH", str(program.parent))
        assert command._program() == "gristmill"
