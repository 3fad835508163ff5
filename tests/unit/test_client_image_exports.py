"""Exports of images of the client and the command line."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gristmill.cli import session
from gristmill.cli.main import app
from gristmill.client import Client, ConnectionFailed, Retry

ZIP = bytes(range(256))
ROOT = "/api/v1/exports/e1"
METADATA = 'id,label,file\n"a\nb","ü ""x""",images/a%0ab.jpg\n2,,images/2.jpg\n'
FAILURES = "key,code,reason\n3,image_missing,is missing\n"
EXPORT = {"id": "e1", "format": "images", "bytes": len(ZIP), "sha256": None, "links": {"file": f"{ROOT}/d.zip"}}
JOB = {
    "id": "e1", "type": "images.export", "state": "succeeded", "done": True, "error": None,
    "record_counts": {"total": 3, "succeeded": 2, "rejected": 1},
    "result": {"export": "e1", "images": 2, "failed": 1, "bytes": len(ZIP)},
}  # fmt: skip


class Server:
    """Serves one export of images, in pieces of three bytes."""

    def __init__(self, data: bytes = ZIP) -> None:
        self.data = data
        self.calls: list[tuple[str, str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        self.calls.append((request.method, path, json.loads(request.content) if request.content else None))
        texts = {f"{ROOT}/files/metadata.csv": METADATA, f"{ROOT}/files/failures.csv": FAILURES}
        if path in texts:
            data = texts[path].encode()
            return httpx.Response(200, content=iter([data[at : at + 3] for at in range(0, len(data), 3)]))
        if path in (f"{ROOT}/d.zip", f"{ROOT}/files/images/a%250ab.jpg"):
            return httpx.Response(200, content=self.data)
        return httpx.Response(200, json=EXPORT if request.method == "GET" else JOB)

    def client(self, *_: Any, **__: Any) -> Client:
        retry = Retry(attempts=2, first_delay=0.001)
        return Client("http://mill.test", retry=retry, transport=httpx.MockTransport(self))


class TestClient:
    def test_a_request_has_what_was_given_and_nothing_else(self) -> None:
        server = Server()
        step = {"op": "image_resize", "width": 3, "height": 4}
        assert server.client().export_images("d", steps=[step], fields=("a",), keep_days=2)["id"] == "e1"
        method, path, body = server.calls[0]
        assert (method, path.partition("?")[0]) == ("POST", "/api/v1/datasets/d/images/export")
        assert body == {"steps": [step], "seed": 0, "fields": ["a"], "keep_days": 2}

    def test_rows_are_read_however_their_bytes_arrive(self) -> None:
        client = Server().client()
        assert list(client.export_metadata("e1")) == [
            {"id": "a\nb", "label": 'ü "x"', "file": "images/a%0ab.jpg"},
            {"id": "2", "label": "", "file": "images/2.jpg"},
        ]
        assert list(client.export_failures("e1")) == [{"key": "3", "code": "image_missing", "reason": "is missing"}]

    def test_a_file_is_asked_for_as_metadata_names_it(self) -> None:
        assert Server().client().export_file("e1", "images/a%0ab.jpg") == ZIP

    def test_a_zip_without_a_checksum_is_measured(self, tmp_path: Path) -> None:
        assert Server().client().download_export("e1", tmp_path / "d.zip") == len(ZIP)
        with pytest.raises(ConnectionFailed):
            Server(ZIP + b"x").client().download_export("e1", tmp_path / "x.zip")
        assert [one.name for one in tmp_path.iterdir()] == ["d.zip"]


class TestCommands:
    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Server:
        found = Server()
        monkeypatch.setattr(session, "Client", found.client)
        return found

    def run(self, *words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(words))
        return done.exit_code, done.output

    def test_an_export_is_told_with_what_failed(self, server: Server) -> None:
        step = '{"op": "image_resize", "width": 3, "height": 4}'
        code, said = self.run(
            "images", "export", "d", "--step", step, "--step", '{"op": "x"}', "--where", '{"a": 1}', "--seed", "5",
            "--fields", "id, label", "--format", "png", "--wait",
        )  # fmt: skip
        assert (code, server.calls[0][2]) == (
            0,
            {
                "steps": [json.loads(step), {"op": "x"}], "where": {"a": 1}, "seed": 5, "fields": ["id", "label"],
                "format": "png",
            },
        )  # fmt: skip
        assert "2 images" in said
        assert "gristmill images failures e1" in said
        assert "gristmill rejects" not in said

    def test_failures_are_listed(self, server: Server) -> None:
        code, said = self.run("images", "failures", "e1")
        assert code == 0
        assert "image_missing" in said

    @pytest.mark.parametrize("step", ["[]", "{", "3"])
    def test_a_step_that_is_none_is_refused_before_anything_is_sent(self, server: Server, step: str) -> None:
        assert self.run("images", "export", "d", "--step", step)[0] == 2
        assert server.calls == []
