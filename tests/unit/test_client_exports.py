"""Exports of the client and the command line: parameters, files that are whole or not there, answers that break off."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gristmill.cli import session
from gristmill.cli.main import app
from gristmill.client import Client, ConnectionFailed, InvalidRequest, Retry

BODY = b'{"id":1}\n{"id":2}\n'


class Pieces(httpx.SyncByteStream):
    """A body in pieces that may break off."""

    def __init__(self, *pieces: bytes, broken: bool = False) -> None:
        self.pieces = pieces
        self.broken = broken

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.broken:
            raise httpx.RemoteProtocolError("peer closed connection (incomplete chunked read)")


class Server:
    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.urls: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.urls.append(request.url.raw_path.decode())
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, *_: Any, **__: Any) -> Client:
        retry = Retry(attempts=3, first_delay=0.001)
        return Client("http://mill.test", retry=retry, transport=httpx.MockTransport(self))


def whole() -> httpx.Response:
    return httpx.Response(200, stream=Pieces(BODY[:5], BODY[5:]))


class TestClient:
    def test_a_path_tells_the_format_and_has_the_whole_export(self, tmp_path: Path) -> None:
        server = Server(whole())
        target = tmp_path / "notes.parquet"
        size = server.client().export("notes", target, where={"id": 1}, fields=["id", "note"], embedding=True)
        assert (size, target.read_bytes()) == (len(BODY), BODY)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.parquet"]
        assert server.urls == [
            "/api/v1/datasets/notes/export?format=parquet&where=%7B%22id%22%3A1%7D&fields=id%2Cnote&include=embedding"
        ]

    def test_a_file_object_needs_a_format(self) -> None:
        server, target = Server(whole()), io.BytesIO()
        with pytest.raises(ValueError, match="needs a format: one of csv, ndjson, parquet"):
            server.client().export("notes", target)
        assert server.client().export("notes", target, format="csv", start="2026-01-01", end="2026-01-02") == len(BODY)
        assert server.urls == ["/api/v1/datasets/notes/export?format=csv&start=2026-01-01&end=2026-01-02"]

    def test_an_unknown_format_or_suffix_is_refused_before_anything_is_sent(self, tmp_path: Path) -> None:
        server = Server()
        with pytest.raises(ValueError, match="cannot tell the format"):
            server.client().export("notes", tmp_path / "notes.xlsx")
        with pytest.raises(ValueError, match="unknown format 'xlsx'"):
            server.client().export_pieces("notes", "xlsx")
        assert list(tmp_path.iterdir()) == []

    def test_an_answer_that_breaks_off_raises_and_leaves_the_old_file(self, tmp_path: Path) -> None:
        server = Server(httpx.Response(200, stream=Pieces(BODY[:5], broken=True)))
        target = tmp_path / "notes.ndjson"
        target.write_text("old")
        with pytest.raises(ConnectionFailed, match="broke off"):
            server.client().export("notes", target)
        assert target.read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == ["notes.ndjson"]
        # What has begun is not begun again: a part of it may have been used already.
        assert len(server.urls) == 1

    def test_what_has_not_begun_is_repeated(self) -> None:
        busy = httpx.Response(429, json={"code": "too_many_exports"}, headers={"Retry-After": "0"})
        server = Server(busy, httpx.ConnectError("refused"), whole())
        assert b"".join(server.client().export_pieces("notes", "ndjson")) == BODY
        assert len(server.urls) == 3

    def test_a_refusal_is_the_problem(self) -> None:
        problem = {"code": "invalid", "detail": "no such field", "errors": [{"pointer": "/query/fields"}]}
        server = Server(httpx.Response(422, json=problem))
        with pytest.raises(InvalidRequest, match="no such field"):
            list(server.client().export_pieces("notes", "csv", fields=["colour"]))


class TestCommand:
    @pytest.fixture(autouse=True)
    def here(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)

    def run(self, monkeypatch: pytest.MonkeyPatch, server: Server, *arguments: str) -> Any:
        monkeypatch.setattr(session, "Client", server.client)
        return CliRunner().invoke(app, ["export", "notes", *arguments])

    def test_standard_output_has_ndjson_and_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server = Server(whole())
        result = self.run(monkeypatch, server, "--where", '{"id": 1}', "--fields", "id, note")
        assert (result.exit_code, result.stdout_bytes) == (0, BODY)
        assert server.urls[0].endswith("export?format=ndjson&where=%7B%22id%22%3A1%7D&fields=id%2Cnote")

    def test_a_file_by_its_suffix(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        server = Server(whole())
        result = self.run(monkeypatch, server, "--out", "notes.csv", "--json")
        assert (result.exit_code, result.stdout) == (
            0,
            f'{{"dataset":"notes","file":"notes.csv","bytes":{len(BODY)}}}\n',
        )
        assert (tmp_path / "notes.csv").read_bytes() == BODY

    @pytest.mark.parametrize("arguments", [["--json"], ["--out", "notes.xlsx"], ["--where", "{"]])
    def test_what_makes_no_sense_is_exit_code_2(self, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
        assert self.run(monkeypatch, Server(), *arguments).exit_code == 2

    def test_an_answer_that_breaks_off_is_exit_code_4(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        server = Server(httpx.Response(200, stream=Pieces(BODY[:5], broken=True)))
        assert self.run(monkeypatch, server, "--out", "notes.csv").exit_code == 4
        assert list(tmp_path.iterdir()) == []
