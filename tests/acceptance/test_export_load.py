"""Exports while everything else goes on: slow clients, many of them, writes, index builds; nobody waits for them."""

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
from tests.support.rest import UNCOMPRESSED, Rest
from tests.support.system import System, eventually

ROWS = 120_000
NOTE = "n" * 700
CONTRACT = {
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "value", "type": "integer"},
        {"name": "note", "type": "text"},
    ],
    "key": ["id"],
}


@pytest.fixture(scope="module")
def large(rest: Rest, system: System) -> str:
    """A dataset of some 90 MB: far more than what sockets and buffers between API and client hold."""
    name = rest.create(CONTRACT)
    system.query(
        f'INSERT INTO data.{name} (id, value, note, "_seq", "_ord") '
        f"SELECT g, 1, '{NOTE}', 0, g FROM generate_series(1, {ROWS}) g"
    )
    return name


def path(name: str) -> str:
    return f"/api/v1/datasets/{name}/export"


class Reader:
    """A client that takes its export line by line, when it is told to."""

    def __init__(self, system: System, name: str) -> None:
        self._stack = contextlib.ExitStack()
        http = self._stack.enter_context(system.http())
        self.answer = self._stack.enter_context(http.stream("GET", path(name), headers=UNCOMPRESSED))
        self._lines = self.answer.iter_lines()

    def take(self, lines: int) -> list[Any]:
        return [json.loads(next(self._lines)) for _ in range(lines)]

    def rest(self) -> list[Any]:
        return [json.loads(line) for line in self._lines]

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def transactions(system: System) -> list[dict[str, Any]]:
    """Transactions of the API that are open."""
    return system.query(
        "SELECT pid, query FROM pg_stat_activity WHERE application_name = 'gristmill-api' AND datname = "
        "current_database() AND (backend_xmin IS NOT NULL OR state LIKE 'idle in transaction%')"
    )


class TestSlowClient:
    def test_an_index_build_and_a_vacuum_do_not_wait_for_it_and_it_misses_nothing(
        self, rest: Rest, system: System, large: str
    ) -> None:
        with Reader(system, large) as reader:
            first = reader.take(10)
            # The buffers in between are full by then, and the export waits for its client.
            eventually(lambda: not transactions(system), "no transaction is open", 60)
            with system.connect() as connection, connection.cursor() as cursor:
                connection.autocommit = True
                cursor.execute("SET statement_timeout = '120s'")
                cursor.execute(f"CREATE INDEX CONCURRENTLY {large}_value ON data.{large} (value)")
                cursor.execute(f"VACUUM data.{large}")
                cursor.execute(f"SELECT indisvalid FROM pg_index WHERE indexrelid = 'data.{large}_value'::regclass")
                assert cursor.fetchone()["indisvalid"]
                # An upsert of rows that are far ahead, and a new one behind.
            rest.store(large, [{"id": ROWS - n, "value": 2, "note": "new"} for n in range(500)])
            rows = first + reader.rest()
        assert [row["id"] for row in rows] == list(range(1, ROWS + 1))
        assert Counter(row["value"] for row in rows) == {1: ROWS - 500, 2: 500}

    def test_many_of_them_leave_connections_and_threads_to_the_others(
        self, rest: Rest, system: System, large: str
    ) -> None:
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(Reader(system, large)) for _ in range(50)]
            served = [reader for reader in readers if reader.answer.status_code == 200]
            refused = [reader for reader in readers if reader.answer.status_code == 429]
            assert (len(served), len(refused)) == (16, 34)
            assert refused[0].answer.headers["retry-after"]
            assert json.loads(refused[0].answer.read())["code"] == "too_many_exports"
            for reader in served:
                reader.take(1)
            eventually(lambda: not transactions(system), "no transaction is open", 60)
            for number in range(20):
                assert rest.http.get(rest.record(large, str(number + 1))).status_code == 200
            rest.store(large, [{"id": ROWS + 1, "value": 1, "note": "late"}])
            assert _status(system, large) == 429, "all of that was answered while every export was open"
        rest.finished(rest.http.delete(rest.record(large, str(ROWS + 1)), params={"wait": 30}))
        # Clients that went away give their places back.
        eventually(lambda: _status(system, large) == 200, "an export is served again", 60)
        assert "the client is gone" in system.log("api")


def _status(system: System, name: str) -> int:
    with Reader(system, name) as reader:
        return int(reader.answer.status_code)


class TestUnderLoad:
    def test_every_record_is_there_once_while_records_are_replaced_all_over(self, rest: Rest, system: System) -> None:
        name = rest.create(CONTRACT)
        count = 30_000
        system.query(
            f'INSERT INTO data.{name} (id, value, note, "_seq", "_ord") '
            f"SELECT g * 2, 0, '{NOTE}', 0, g FROM generate_series(1, {count}) g"
        )
        with _upserts(system, name, count) as written:
            for format in ("ndjson", "ndjson", "csv"):
                with (
                    system.http() as http,
                    http.stream("GET", path(name), params={"format": format}, headers=UNCOMPRESSED) as answer,
                ):
                    lines = []
                    for number, line in enumerate(answer.iter_lines()):
                        lines.append(line)
                        if number % 5000 == 0:
                            before = written[0]
                            eventually(lambda: written[0] > before, "a write was accepted meanwhile")  # noqa: B023
                ids = [int(line.split(",")[0]) for line in lines[1:]] if format == "csv" else None
                ids = ids or [json.loads(line)["id"] for line in lines]
                assert len(set(ids)) == len(ids)
                # The even ones are there all the time; odd ones come along.
                assert sum(number % 2 == 0 for number in ids) == count


@contextlib.contextmanager
def _upserts(system: System, name: str, count: int) -> Iterator[list[int]]:
    """Replace records all over the table, and add new ones between them, as long as the block runs."""
    stop, written, failed = threading.Event(), [0], []

    def run() -> None:
        try:
            with system.http() as http:
                while not stop.wait(0.02):
                    step = written[0]
                    ids = [(7919 * (step * 40 + place)) % count * 2 + 2 for place in range(40)]
                    rows = [{"id": number + odd, "value": step, "note": "r"} for number in ids for odd in (0, 1)]
                    answer = http.post(f"/api/v1/datasets/{name}/records", json=rows)
                    assert answer.status_code == 202, answer.text
                    written[0] += 1
        except (AssertionError, httpx.HTTPError) as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield written
    finally:
        stop.set()
        thread.join(30)
    assert not failed


@pytest.mark.promise(7)
class TestMemory:
    @pytest.mark.parametrize("format", ["csv", "ndjson", "parquet"])
    def test_the_api_stays_as_large_as_it_is(self, system: System, large: str, format: str) -> None:
        api = psutil.Process(system.processes["api"].pid)
        with system.http() as http:
            # The first pages load what a format needs.
            http.get(path(large), params={"format": format, "where": '{"id": {"lt": 12000}}'}).raise_for_status()
            before = largest = api.memory_info().rss
            size = 0
            with http.stream("GET", path(large), params={"format": format}, headers=UNCOMPRESSED) as answer:
                for piece in answer.iter_bytes():
                    size += len(piece)
                    largest = max(largest, api.memory_info().rss)
        assert format == "parquet" or size > 80_000_000
        assert largest - before < 60_000_000
