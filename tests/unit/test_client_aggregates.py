"""Aggregates of the client, blocking and asynchronous, and of the command line: what is sent, and what comes of it."""

import asyncio
import datetime as dt
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gristmill.cli import session
from gristmill.cli.main import app
from gristmill.client import AsyncClient, Client, ConnectionFailed, InvalidRequest, Retry

BODY = b'{"sensor":"a","count":1}\n{"sensor":null,"count":2}\n'
ROWS = [{"sensor": "a", "count": 1}, {"sensor": None, "count": 2}]
NOW = Retry(attempts=3, first_delay=0.001)


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces that may break off."""

    def __init__(self, *pieces: bytes, broken: bool = False) -> None:
        self.pieces = pieces
        self.broken = broken

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.broken:
            raise httpx.RemoteProtocolError("peer closed connection (incomplete chunked read)")

    async def __aiter__(self) -> Any:
        for piece in self:
            yield piece


class Server:
    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def sent(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.requests[-1].content)
        return found

    def client(self, *_: Any, **__: Any) -> Client:
        return Client("http://mill.test", retry=NOW, transport=httpx.MockTransport(self))


def whole() -> httpx.Response:
    return httpx.Response(200, stream=Pieces(BODY[:30], BODY[30:31], BODY[31:]))


class TestClient:
    def test_members_are_sent_as_they_are_and_none_are_left_out(self) -> None:
        answer = {"columns": [{"name": "count", "type": "integer"}], "rows": [{"count": 3}]}
        server = Server(httpx.Response(200, json=answer))
        start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        found = server.client().aggregate(
            "readings", every="1h", start=start, by=("sensor",), measures=[{"agg": "count"}], order="-count,sensor"
        )
        assert found == answer
        assert server.requests[0].url.path == "/api/v1/datasets/readings/aggregate"
        assert server.sent == {
            "every": "1h",
            "start": "2026-01-01T00:00:00+00:00",
            "by": ["sensor"],
            "measures": [{"agg": "count"}],
            "order": ["-count", "sensor"],
        }

    def test_rows_come_as_they_arrive(self) -> None:
        server = Server(whole())
        assert list(server.client().aggregate_rows("readings", by=["sensor"], limit=2)) == ROWS
        assert server.requests[0].headers["accept"] == "application/x-ndjson"
        assert server.sent == {"by": ["sensor"], "limit": 2}

    def test_a_file_has_the_format_of_its_suffix(self, tmp_path: Path) -> None:
        server, target = Server(whole(), whole()), tmp_path / "hourly.arrows"
        assert server.client().aggregate_file("readings", target, every="1h") == len(BODY)
        assert target.read_bytes() == BODY
        assert server.requests[0].headers["accept"] == "application/vnd.apache.arrow.stream"
        opened = io.BytesIO()
        server.client().aggregate_file("readings", opened, format="csv", every="1h")
        assert server.requests[1].headers["accept"] == "text/csv"
        with pytest.raises(ValueError, match="needs a format: one of json, ndjson, csv, arrow"):
            server.client().aggregate_file("readings", opened, every="1h")
        with pytest.raises(ValueError, match="cannot tell the format"):
            server.client().aggregate_file("readings", tmp_path / "hourly.parquet", every="1h")

    def test_what_breaks_off_leaves_no_file_and_is_not_begun_again(self, tmp_path: Path) -> None:
        server = Server(httpx.Response(200, stream=Pieces(BODY[:5], broken=True)))
        with pytest.raises(ConnectionFailed, match="broke off"):
            server.client().aggregate_file("readings", tmp_path / "hourly.csv", every="1h")
        assert list(tmp_path.iterdir()) == []
        assert len(server.requests) == 1

    def test_what_has_not_begun_is_repeated_with_its_body(self) -> None:
        busy = httpx.Response(429, json={"code": "too_many_aggregates"}, headers={"Retry-After": "0"})
        server = Server(busy, httpx.ConnectError("refused"), whole())
        assert list(server.client().aggregate_rows("readings", by=["sensor"])) == ROWS
        assert [json.loads(request.content) for request in server.requests] == [{"by": ["sensor"]}] * 3

    def test_a_refusal_is_the_problem(self) -> None:
        problem = {"code": "too_many_columns", "detail": "kind has 5000 values", "columns": 5000}
        server = Server(httpx.Response(422, json=problem), httpx.Response(422, json=problem))
        with pytest.raises(InvalidRequest, match="5000 values"):
            server.client().aggregate("readings", by=["kind"])
        with pytest.raises(InvalidRequest, match="5000 values"):
            list(server.client().aggregate_rows("readings", by=["kind"]))

    def test_on_an_event_loop(self) -> None:
        async def answer(request: httpx.Request) -> httpx.Response:
            await request.aread()
            return whole()

        async def main() -> list[Any]:
            async with AsyncClient("http://x", transport=httpx.MockTransport(answer), retry=NOW) as client:
                return [row async for row in client.aggregate_rows("readings", by=["sensor"])]

        assert asyncio.run(main()) == ROWS


class TestCommand:
    @pytest.fixture(autouse=True)
    def here(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)

    def run(self, monkeypatch: pytest.MonkeyPatch, server: Server, *arguments: str) -> Any:
        monkeypatch.setattr(session, "Client", server.client)
        return CliRunner().invoke(app, ["aggregate", "readings", *arguments])

    def test_a_table_and_what_was_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server = Server(whole())
        result = self.run(
            monkeypatch, server, "--every", "1h", "--by", "sensor, site", "-m", "mean:value", "-m", "count::rows",
            "-m", "quantile@0.95:value:p95", "--fill", '{"value": 0}', "--order", "-rows", "--rolling", "[]",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        assert "sensor" in result.stdout
        assert server.sent == {
            "every": "1h",
            "by": ["sensor", "site"],
            "measures": [
                {"agg": "mean", "field": "value"},
                {"agg": "count", "as": "rows"},
                {"agg": "quantile", "q": 0.95, "field": "value", "as": "p95"},
            ],
            "fill": {"value": 0},
            "order": ["-rows"],
            "rolling": [],
        }

    def test_json_is_a_row_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = self.run(monkeypatch, Server(whole()), "--by", "sensor", "--json")
        assert result.stdout_bytes == BODY

    def test_a_file_and_standard_output(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        server = Server(whole(), whole())
        assert self.run(monkeypatch, server, "--by", "sensor", "--out", "groups.csv").exit_code == 0
        assert (tmp_path / "groups.csv").read_bytes() == BODY
        assert self.run(monkeypatch, server, "--by", "sensor", "--out", "-").stdout_bytes == BODY
        assert server.requests[1].headers["accept"] == "text/csv"

    @pytest.mark.parametrize(
        "arguments",
        [
            *(["-m", "quantile@x:n"], ["-m", "mean:a:b:c"], ["--pivot", "{"], ["--format", "csv"]),
            *(["--out", "x.xlsx"], ["--out", "-", "--json"]),
        ],
    )
    def test_what_makes_no_sense_is_exit_code_2(self, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
        assert self.run(monkeypatch, Server(), *arguments).exit_code == 2
