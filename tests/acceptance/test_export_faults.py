"""Exports through faults: a restart of Postgres is waited for; what cannot be completed breaks off for all to see."""

import contextlib
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.faults import FaultStack
from tests.support.rest import UNCOMPRESSED, Rest
from tests.support.system import eventually

from gristmill.client import Client, ConnectionFailed

ROWS = 40_000
CONTRACT = {
    "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "note", "type": "text"}],
    "key": ["id"],
}


@pytest.fixture
def rest(stack: FaultStack) -> Iterator[Rest]:
    with Rest(stack.system) as found:
        yield found


@pytest.fixture
def large(rest: Rest, stack: FaultStack) -> str:
    """A dataset of some 30 MB: more than what is on its way between API and client."""
    name = rest.create(CONTRACT)
    stack.system.query(
        f'INSERT INTO data.{name} (id, note, "_seq", "_ord") '
        f"SELECT g, repeat('n', 700), 0, g FROM generate_series(1, {ROWS}) g"
    )
    return name


@contextlib.contextmanager
def api_with(stack: FaultStack, **settings: Any) -> Iterator[None]:
    stack.system.kill("api")
    stack.system.start("api", **settings)
    yield
    stack.system.kill("api")
    stack.system.start("api")


@pytest.fixture
def impatient(stack: FaultStack) -> Iterator[None]:
    """An API that does not wait long for Postgres; a client may take its time."""
    with api_with(stack, export_patience=1):
        yield


@pytest.fixture
def strict(stack: FaultStack) -> Iterator[None]:
    """An API that gives up a client soon that takes nothing."""
    with api_with(stack, export_stall=2):
        yield


def path(name: str) -> str:
    return f"/api/v1/datasets/{name}/export"


class TestPostgresGoesAway:
    def test_a_restart_is_waited_for_and_the_export_goes_on_where_it_was(
        self, rest: Rest, stack: FaultStack, large: str
    ) -> None:
        ids: list[int] = []
        with rest.http.stream("GET", path(large), headers=UNCOMPRESSED, timeout=90) as answer:
            lines = answer.iter_lines()
            ids.append(json.loads(next(lines))["id"])
            stack.kill_postgres()
            # The buffers in between are emptied, and the next page is asked for while nobody answers.
            reader = threading.Thread(target=lambda: ids.extend(json.loads(line)["id"] for line in lines), daemon=True)
            reader.start()
            eventually(lambda: stack.events("api", "export.waits", file=f"{large}.ndjson"), "the export waits")
            stack.start_postgres()
            reader.join(60)
        assert ids == list(range(1, ROWS + 1))

    @pytest.mark.usefixtures("impatient")
    def test_one_that_stays_away_breaks_the_answer_off(self, rest: Rest, stack: FaultStack, large: str) -> None:
        with rest.http.stream("GET", path(large), headers=UNCOMPRESSED, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            stack.kill_postgres()
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                list(lines)
        aborted = stack.events("api", "export.aborted")[-1]
        assert 0 < aborted["rows"] < ROWS
        assert "Postgres" in aborted["reason"]
        assert rest.http.get(path(large)).status_code == 503  # before the first byte it is a problem
        stack.start_postgres()


class TestDropped:
    def test_a_drop_breaks_the_answer_off_and_the_client_says_so(
        self, rest: Rest, stack: FaultStack, large: str, tmp_path: Path
    ) -> None:
        target = tmp_path / "large.ndjson"

        class Dropping(io.FileIO):
            """Drops the dataset at the first write to the file."""

            dropped = False

            def write(self, data: Any) -> int:
                if not self.dropped:
                    self.dropped = True
                    rest.succeeded(rest.http.delete(f"/api/v1/datasets/{large}", params={"wait": 30, "confirm": large}))
                return super().write(data)

        with Client(stack.system.url) as client, Dropping(target, "w") as file:
            with pytest.raises(ConnectionFailed, match="broke off"):
                client.export(large, file, format="ndjson")
            assert target.stat().st_size > 0
        aborted = stack.events("api", "export.aborted", file=f"{large}.ndjson")[-1]
        assert aborted["rows"] < ROWS


class TestStalledClient:
    @pytest.mark.usefixtures("strict")
    def test_one_that_takes_nothing_loses_its_place(self, rest: Rest, stack: FaultStack, large: str) -> None:
        with rest.http.stream("GET", path(large), headers=UNCOMPRESSED) as answer:
            pieces = answer.iter_bytes(1000)  # kept: the stream is closed with it
            next(pieces)
            reason = "the client took nothing for 2.0 seconds"
            eventually(
                lambda: stack.events("api", "export.aborted", reason=reason), lambda: stack.system.log("api")[-800:], 60
            )
