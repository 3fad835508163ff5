"""Full disks: that of one tablespace stops the jobs that need it and no others; that of all of Postgres stops writes.

Either way nothing that was accepted is lost, applied twice or failed: it waits, and says why, until there is room.
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg2
import pytest
from tests.support.disk import SmallDisk, small_disk
from tests.support.faults import FaultStack
from tests.support.folders import open_folder
from tests.support.ledger import Ledger, batch
from tests.support.system import System, eventually

from gristmill.core.config import Settings
from gristmill.stack import Stack

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2)]


def administer(stack: FaultStack, *statements: str) -> None:
    """Run statements that must not be part of a transaction."""
    connection = psycopg2.connect(stack.postgres.url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


@pytest.fixture
def tablespace(stack: FaultStack) -> Iterator[SmallDisk]:
    """A tablespace of 4 MiB, in which the worker makes the tables of datasets from now on."""
    # Not below pytest's folder, which every session of pytest closes to other users when it starts.
    with open_folder() as folder, small_disk(folder / "small", 4) as disk:
        administer(stack, f"CREATE TABLESPACE small LOCATION '{disk.path}'")
        stack.system.kill("worker")
        stack.system.start("worker", database_tablespace="small")
        yield disk
        in_it = "SELECT relname FROM pg_class c JOIN pg_tablespace t ON t.oid = reltablespace WHERE spcname = 'small'"
        for row in stack.system.query(f"{in_it} AND relkind = 'r'"):
            url = f"{stack.system.url}/api/v1/datasets/{row['relname']}"
            assert (
                httpx.delete(url, params={"wait": 30, "confirm": row["relname"]}, timeout=60).json()["state"]
                == "succeeded"
            )
        stack.system.kill("worker")
        administer(stack, "DROP TABLESPACE small")
        stack.ensure("worker")


class TestTablespaceFull:
    def test_its_jobs_wait_with_the_reason_and_all_attempts_while_others_run(
        self, stack: FaultStack, request: pytest.FixtureRequest
    ) -> None:
        other = Ledger(stack.system, keyed=True)
        disk: SmallDisk = request.getfixturevalue("tablespace")
        small = Ledger(stack.system, keyed=True)
        where = stack.system.query(
            "SELECT DISTINCT spcname FROM pg_class LEFT JOIN pg_tablespace t ON t.oid = reltablespace "
            "WHERE relname LIKE %s AND relkind IN ('r', 'i')",
            (f"{small.name}%",),
        )
        assert where == [{"spcname": "small"}]
        jobs = [small.post(batch(5000, f"n{number}-")) for number in range(12)]

        def waiting() -> list[Any]:
            bodies = [httpx.get(f"{stack.system.url}/api/v1/jobs/{job}", timeout=60).json() for job in jobs]
            return [body for body in bodies if body["error"] and not body["done"]]

        body = eventually(waiting, "a job says what it waits for", 60, 0.2)[0]
        assert (body["error"]["code"], body["error"]["status"]) == ("storage_full", 503)
        assert "No space left on device" in body["error"]["detail"]
        assert body["state"] in ("queued", "running")
        # More claims than there are attempts, and none of them counts.
        most = "SELECT max(fence) AS fence, max(attempts) AS attempts FROM gristmill.chunks WHERE job_id = %s"
        claims = eventually(
            lambda: (row := stack.system.query(most, (body["id"],))[0])["fence"] > 6 and row, "it is tried again", 60
        )
        assert claims["attempts"] <= 1
        # Meanwhile everybody else's jobs run.
        for number in range(3):
            stack.system.finished(other.post(batch(500, f"o{number}-")), 30)
        assert waiting()
        disk.resize(100)
        small.check(90)
        other.check()


class Writer:
    """Submits batches one after the other; what was not answered with 202 is asked again under the same key."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.accepted = 0
        self._next()

    def _next(self) -> None:
        self._key = uuid.uuid4().hex
        self._records = batch(400, self._key[:8] if self.accepted % 2 else "r", self.accepted)

    def post(self, client: httpx.Client) -> httpx.Response:
        answer = client.post(self.ledger.url, json=self._records, headers={"Idempotency-Key": self._key})
        if answer.status_code == 202:
            self.ledger.enter(answer, self._records)
            self.accepted += 1
            self._next()
        return answer


@pytest.fixture
def volume() -> Iterator[tuple[Stack, SmallDisk]]:
    """A stack as ``gristmill up`` makes it, with its supervisor; all of its Postgres is on a small disk."""
    with open_folder() as folder, small_disk(folder / "data" / "postgres", 400) as disk:
        settings = Settings(
            stack_data=str(folder / "data"),
            api_port=0,
            flower_port=0,
            jobs_lease=10,
            jobs_heartbeat=2,
            jobs_retry_base=0.2,
        )
        stack = Stack(settings)
        try:
            stack.up()
            yield stack, disk
        finally:
            stack.down()


class TestVolumeFull:
    def test_writes_get_503_and_after_there_is_room_every_202_completes(self, volume: tuple[Stack, SmallDisk]) -> None:
        stack, disk = volume
        system = _system(stack)
        writers = [Writer(Ledger(system)), Writer(Ledger(system, keyed=True))]
        with system.http(timeout=60) as client:
            for writer in writers * 5:
                assert writer.post(client).status_code == 202
            disk.fill(leave=6 * 1024 * 1024)
            refused: list[httpx.Response] = []
            reads: list[httpx.Response] = []

            def until_refused() -> bool:
                answers = [writer.post(client) for writer in writers]
                refused.extend(answer for answer in answers if answer.status_code != 202)
                reads.append(client.get(f"{writers[0].ledger.url}?page_size=1"))
                return len(refused) >= 10

            eventually(until_refused, "writes are refused", 60)
            assert {answer.status_code for answer in refused} == {503}
            codes = {answer.json()["code"] for answer in refused}
            assert codes <= {"storage_full", "database_unavailable"}
            assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
            assert {answer.status_code for answer in reads} <= {200, 503}
            disk.make_room()
            for writer in writers:
                eventually(lambda: writer.post(client).status_code == 202, lambda: _end(stack), 120, 0.5)  # noqa: B023
        for writer in writers:
            writer.ledger.check()
        eventually(lambda: stack.status().ok, "every service runs", 60)


def _system(stack: Stack) -> System:
    """The stack as tests look at it."""
    settings = stack.settings()
    system = System(settings.database_url, settings.broker_url, stack.folder.path / "system")
    system.port = int(str(stack.status().url("api")).rsplit(":", 1)[1])
    return system


def _end(stack: Stack) -> str:
    return json.dumps(stack.folder.log("postgres").read_text(errors="replace")[-1500:])
