"""Stored exports of the client and the command line: downloads that go on where they broke off, and are checked."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gristmill.cli import session
from gristmill.cli.main import app
from gristmill.client import Client, Conflict, ConnectionFailed, NotFound, Retry

DATA = bytes(range(256)) * 4
LINK = "/api/v1/exports/e1/notes.csv"
EXPORT = {
    "id": "e1", "dataset": "notes", "format": "csv", "bytes": len(DATA), "rows": 4,
    "created_at": "x", "expires_at": "y",
    "sha256": hashlib.sha256(DATA).hexdigest(), "links": {"self": "", "file": LINK, "job": ""},
}  # fmt: skip
JOB = {
    "id": "e1", "type": "exports.create", "state": "succeeded", "done": True, "error": None,
    "record_counts": {"total": 0}, "result": {"export": "e1", "rows": 4, "bytes": len(DATA)},
}  # fmt: skip


class Broken(httpx.SyncByteStream):
    """A body that breaks off."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __iter__(self) -> Iterator[bytes]:
        yield self.data
        raise httpx.RemoteProtocolError("peer closed connection")


class Server:
    """Serves one export; each download breaks off after ``most`` bytes."""

    def __init__(self, most: int = 10_000, data: bytes = DATA, status: int = 200) -> None:
        self.most = most
        self.data = data
        self.status = status
        self.calls: list[tuple[str, str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else request.headers.get("range")
        self.calls.append((request.method, request.url.path, body))
        if self.status != 200:
            return httpx.Response(self.status, json={"code": "x", "detail": "no"})
        if request.url.path == LINK:
            start = int((request.headers.get("range") or "bytes=0-")[6:-1])
            rest = self.data[start:]
            stream = Broken(rest[: self.most]) if len(rest) > self.most else httpx.ByteStream(rest)
            return httpx.Response(206 if start else 200, stream=stream)
        if request.url.path.endswith("/link"):
            return httpx.Response(200, json={"path": f"{LINK}?expires=1&signature=s", "expires_at": "z"})
        if request.method == "GET" and request.url.path == "/api/v1/exports":
            return httpx.Response(200, json={"exports": [EXPORT], "next_page_token": None})
        return httpx.Response(200, json=EXPORT if request.method == "GET" else JOB)

    def client(self, *_: Any, **__: Any) -> Client:
        retry = Retry(attempts=3, first_delay=0.001)
        return Client("http://mill.test", retry=retry, transport=httpx.MockTransport(self))


class TestClient:
    def test_a_download_that_breaks_off_goes_on_where_it_was(self, tmp_path: Path) -> None:
        server = Server(most=300)
        assert server.client().download_export("e1", tmp_path / "notes.csv") == len(DATA)
        assert (tmp_path / "notes.csv").read_bytes() == DATA
        assert [call[2] for call in server.calls[1:]] == [None, "bytes=300-", "bytes=600-", "bytes=900-"]

    @pytest.mark.parametrize("server", [Server(most=0), Server(data=DATA[:-1] + b"x"), Server(data=DATA[:-5])])
    def test_what_is_not_the_whole_file_is_an_error_and_leaves_none(self, server: Server, tmp_path: Path) -> None:
        with pytest.raises(ConnectionFailed):
            server.client().download_export("e1", tmp_path / "notes.csv")
        assert list(tmp_path.iterdir()) == []

    def test_the_request_says_what_was_asked_for(self) -> None:
        server = Server()
        job = server.client().create_export("notes", format="csv", where={"id": 1}, fields=("a", "b"), keep="1h")
        assert job["result"]["export"] == "e1"
        body = {"format": "csv", "where": {"id": 1}, "fields": ["a", "b"], "keep": "1h"}
        assert server.calls == [("POST", "/api/v1/datasets/notes/exports", body)]

    def test_a_link_is_a_url(self) -> None:
        server = Server()
        url = server.client().export_link("e1", 60)
        assert url == f"http://mill.test{LINK}?expires=1&signature=s"
        assert server.calls[-1][2] == {"expires_in": 60}

    @pytest.mark.parametrize(("status", "kind"), [(410, NotFound), (404, NotFound), (409, Conflict)])
    def test_what_cannot_be_read_says_why(self, status: int, kind: type[Exception]) -> None:
        with pytest.raises(kind):
            Server(status=status).client().stored_export("e1")


class TestCommandLine:
    def run(self, server: Server, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
        monkeypatch.setattr(session, "Client", server.client)
        return CliRunner().invoke(app, ["exports", *arguments])

    def test_create_list_download_link_delete(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        server, target = Server(), tmp_path / "n.csv"
        made = self.run(server, monkeypatch, "create", "notes", "--format", "csv", "--wait", "--where", '{"id": 1}')
        assert (made.exit_code, "4 rows" in made.output) == (0, True), made.output
        assert "notes" in self.run(server, monkeypatch, "list").output
        assert self.run(server, monkeypatch, "download", "e1", "--out", str(target)).exit_code == 0
        assert target.read_bytes() == DATA
        assert "signature=s" in self.run(server, monkeypatch, "link", "e1").output.replace("\n", "")
        deleted = self.run(server, monkeypatch, "delete", "e1")
        assert (deleted.exit_code, server.calls[-1][:2]) == (0, ("DELETE", "/api/v1/exports/e1"))
