"""Compressed answers: the same bytes once decompressed, on both kinds of routes and streams; small ones as they are."""

import json
import zlib
from typing import Any

import httpx
import pyarrow as pa
import pytest
from tests.integration.test_write_rest import ONE
from tests.support.in_process import InProcess

from gristmill.api.compression import LEAST_BYTES
from gristmill.records.export import endpoints

TEXT: Any = {**ONE, "fields": [*ONE["fields"], {"name": "t", "type": "text"}], "embedding": {"dimensions": 2}}  # type: ignore[misc]


@pytest.fixture
def thing(app: InProcess) -> str:
    """A dataset with 500 records of which one is large by itself."""
    name = app.dataset(TEXT)
    rows = [{"k": str(n), "v": n, "t": f"text {n}", "_embedding": [n, 1]} for n in range(500)]
    rows.append({"k": "large", "v": 0, "t": "x" * 2 * LEAST_BYTES, "_embedding": [0, 1]})
    assert app.job(app.post(name, rows))["state"] == "succeeded"
    return name


def raw(app: InProcess, method: str, path: str, coding: str = "identity", **options: Any) -> tuple[Any, bytes]:
    """Return an answer and its bytes as they travelled."""
    with app.http.stream(method, path, headers={"accept-encoding": coding}, **options) as answer:
        return answer, b"".join(answer.iter_raw())


def inflate(coding: str, data: bytes) -> bytes:
    if coding == "gzip":
        return zlib.decompress(data, 16 + zlib.MAX_WBITS)
    found: bytes = pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    return found


def calls(name: str) -> list[tuple[str, str, Any]]:
    path = f"/api/v1/datasets/{name}"
    return [
        ("GET", f"{path}/records?page_size=500", None),
        ("POST", f"{path}/search", {"vector": [1, 0], "k": 200}),
        ("GET", f"{path}/records/large", None),
        ("GET", f"{path}/export?format=csv", None),
        ("GET", f"{path}/export?format=ndjson", None),
        ("GET", "/openapi.json", None),
    ]


class TestAnswers:
    @pytest.mark.parametrize("coding", ["gzip", "zstd"])
    def test_they_are_the_same_bytes_and_fewer_of_them(self, app: InProcess, thing: str, coding: str) -> None:
        for method, path, body in calls(thing):
            plain, whole = raw(app, method, path, json=body)
            answer, data = raw(app, method, path, coding, json=body)
            assert answer.headers["content-encoding"] == coding, path
            assert "content-encoding" not in plain.headers
            found = inflate(coding, data)
            if "search" in path:
                assert json.loads(found)["hits"] == json.loads(whole)["hits"]
            else:
                assert found == whole, path
            assert len(data) < len(whole) / 2
            length = answer.headers.get("content-length")
            assert length == (None if "export" in path else str(len(data))), path

    def test_a_client_that_asks_as_clients_do_gets_the_contents(self, app: InProcess, thing: str) -> None:
        answer = app.http.get(f"/api/v1/datasets/{thing}/records?page_size=500")
        assert answer.headers["content-encoding"] == "gzip"
        assert len(answer.json()["records"]) == 500

    @pytest.mark.parametrize("path", ["", "/records?page_size=5", "/export?format=parquet", "/records/none"])
    def test_small_ones_and_what_is_compressed_already_go_as_they_are(
        self, app: InProcess, thing: str, path: str
    ) -> None:
        answer, _ = raw(app, "GET", f"/api/v1/datasets/{thing}{path}", "gzip, zstd")
        assert "content-encoding" not in answer.headers

    def test_a_large_problem_is_compressed_too(self, app: InProcess, thing: str) -> None:
        answer, data = raw(app, "POST", f"/api/v1/datasets/{thing}/records", "gzip", json=[{"v": "x"}] * 100)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert json.loads(inflate("gzip", data))["errors_total"] == 300

    @pytest.mark.parametrize("coding", ["gzip", "zstd"])
    def test_head_says_the_same(self, app: InProcess, thing: str, coding: str) -> None:
        path = f"/api/v1/datasets/{thing}/records/large"
        get, data = raw(app, "GET", path, coding)
        head, nothing = raw(app, "HEAD", path, coding)
        assert nothing == b""
        names = ("content-encoding", "content-length", "content-type", "etag", "vary")
        assert [head.headers[name] for name in names] == [get.headers[name] for name in names]
        assert int(head.headers["content-length"]) == len(data)

    def test_caches_are_told_what_an_answer_depends_on(self, app: InProcess, thing: str) -> None:
        for path in (f"/api/v1/datasets/{thing}", "/api/v1/jobs", "/version", "/api/v1/datasets/none"):
            varies = app.http.get(path).headers["vary"].lower()
            assert {"accept-encoding", "authorization", "x-api-key"} <= set(varies.replace(" ", "").split(","))
        export = app.http.head(f"/api/v1/datasets/{thing}/export").headers["vary"].lower()
        assert "accept," in export
        job = app.post(thing, [{"k": "x", "_embedding": [1, 1]}]).json()
        assert "prefer" in app.http.get(job["links"]["self"]).headers["vary"].lower()

    @pytest.mark.parametrize("coding", ["gzip", "zstd"])
    def test_head_of_a_stream_says_that_it_would_be_compressed(self, app: InProcess, thing: str, coding: str) -> None:
        head, nothing = raw(app, "HEAD", f"/api/v1/datasets/{thing}/export?format=csv", coding)
        assert (head.headers["content-encoding"], nothing) == (coding, b"")
        assert "content-length" not in head.headers

    def test_a_stream_of_nothing_is_nothing(self, app: InProcess, thing: str) -> None:
        job = app.job(app.post(thing, [{"k": "x", "_embedding": [1, 1]}]))
        path = f"/api/v1/jobs/{job['id']}/rejects?format=ndjson"
        for coding in ("gzip", "zstd"):
            answer, data = raw(app, "GET", path, coding)
            assert (answer.headers["content-encoding"], inflate(coding, data)) == (coding, b"")


class TestTags:
    @pytest.mark.parametrize("coding", ["gzip", "zstd"])
    def test_the_tag_of_a_compressed_record_is_taken_everywhere(self, app: InProcess, thing: str, coding: str) -> None:
        """Other bytes need another strong tag, but it is the same record."""
        path = f"/api/v1/datasets/{thing}/records/large"
        plain, compressed = (raw(app, "GET", path, one)[0].headers["etag"] for one in ("identity", coding))
        assert plain != compressed
        for tag in (plain, compressed):
            answer = app.http.get(path, headers={"if-none-match": tag})
            assert (answer.status_code, answer.headers["etag"]) == (304, tag)
        job = app.job(app.http.patch(path, json={"v": 7}, headers={"if-match": compressed}))
        assert job["state"] == "succeeded"
        assert app.http.patch(path, json={"v": 8}, headers={"if-match": compressed}).status_code == 412


class TestStreams:
    @pytest.mark.parametrize("coding", ["gzip", "zstd"])
    def test_each_piece_can_be_read_when_it_comes(
        self, app: InProcess, thing: str, coding: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client sees that a slow export goes on: nothing is held back until the compressor has enough."""
        monkeypatch.setattr(endpoints, "PIECE_BYTES", 1000)
        path = f"/api/v1/datasets/{thing}/export?format=csv"
        _, whole = raw(app, "GET", path)
        with app.http.stream("GET", path, headers={"accept-encoding": coding}) as answer:
            pieces = list(answer.iter_raw())
        assert inflate(coding, b"".join(pieces)) == whole
        assert len(pieces) > 5
        if coding == "gzip":
            stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
            assert all(stream.decompress(piece) for piece in pieces[:-1])

    @pytest.mark.parametrize("coding", ["gzip", "zstd"])
    def test_one_that_breaks_off_has_no_end(
        self, app: InProcess, thing: str, coding: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What a client has of it cannot be taken for a whole file."""

        async def dropped(*_: Any) -> None:
            raise TimeoutError

        monkeypatch.setattr(endpoints._ExportResponse, "_next", dropped)
        try:
            _, data = raw(app, "GET", f"/api/v1/datasets/{thing}/export?format=csv", coding)
        except (httpx.HTTPError, AssertionError):
            return
        with pytest.raises((zlib.error, OSError)):
            inflate(coding, data)
