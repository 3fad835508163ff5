"""A message with jobs that depend on each other, and the process or server that is lost in the middle of it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.support.faults import FaultStack
from tests.support.ledger import Ledger
from tests.support.system import eventually

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2), pytest.mark.promise(3)]
LOCK = "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"
# Of seven jobs each needs the ones before it; the sixth patches a record that is not there.
STATES = ["succeeded"] * 5 + ["failed", "succeeded"]
TABLE = {"a": 1, "b": 3, "c": 4}


class Run:
    """The seven jobs, submitted so that they go out in one message."""

    def __init__(self, stack: FaultStack) -> None:
        self.stack = stack
        self.ledger = Ledger(stack.system, keyed=True)
        self.jobs: list[str] = []

    def submit(self) -> None:
        self.stack.pause("dispatcher")
        try:
            self._send("POST", "", [{"name": "a", "value": 0}, {"name": "b", "value": 0}])
            self._send("PATCH", "/a", {"value": 1})
            self._send("DELETE", "/b")
            self._send("POST", "", [{"name": "b", "value": 2}, {"name": "c", "value": 2}])
            self._send("PATCH", "/b", {"value": 3})
            self._send("PATCH", "/none", {"value": 9})
            self._send("PATCH", "/c", {"value": 4})
        finally:
            self.stack.resume("dispatcher")
        eventually(
            lambda: any(found["jobs"] == self.jobs for found in self.stack.events("dispatcher", "bundle.sent")),
            "all of them went out in one message, in their order",
        )

    def _send(self, method: str, path: str, body: Any = None) -> None:
        answer = httpx.request(method, self.ledger.url + path, json=body, timeout=60)
        assert answer.status_code == 202, answer.text
        self.jobs.append(answer.json()["id"])

    @contextlib.contextmanager
    def held_in_its_transaction(self) -> Iterator[Any]:
        """Submit, and hold the worker at the first row that it writes."""
        with self.stack.locked(LOCK.format(self.ledger.table)) as table:
            self.submit()
            eventually(lambda: self.stack.waiting_for(self.ledger.table), "the worker waits for the table")
            yield table

    def chunks(self) -> list[dict[str, Any]]:
        return [self.stack.system.chunk(job_id) for job_id in self.jobs]

    def check(self) -> None:
        """Everything has happened once, in the order of submission, and nothing is left over."""
        self.ledger.settle()
        assert [self.stack.system.job(job_id)["state"] for job_id in self.jobs] == STATES
        assert {name: value for _, _, name, value in self.ledger.rows()} == TABLE
        numbers = [self.stack.system.job(job_id)["seq"] for job_id in self.jobs]
        assert [row[0] for row in self.ledger.rows()] == [numbers[1], numbers[4], numbers[6]]
        assert not self.stack.system.query("SELECT FROM gristmill.leases WHERE job_id = ANY(%s::uuid[])", (self.jobs,))


class TestRun:
    def test_nothing_happens_to_it(self, stack: FaultStack) -> None:
        run = Run(stack)
        run.submit()
        run.check()
        assert len({chunk["xact"] for chunk in run.chunks() if chunk["state"] == "done"}) == 1

    def test_the_worker_is_killed_in_its_transaction(self, stack: FaultStack) -> None:
        run = Run(stack)
        with run.held_in_its_transaction():
            stack.system.kill("worker")
        stack.system.start("worker2")
        run.check()
        assert {chunk["attempts"] for chunk in run.chunks()} == {2}

    def test_the_worker_is_killed_when_all_is_written_and_nothing_committed(self, stack: FaultStack) -> None:
        run = Run(stack)
        with run.held_in_its_transaction() as table:
            last = run.jobs[-1]
            with stack.locked("SELECT FROM gristmill.jobs WHERE id = %s FOR UPDATE", (last,)) as end:
                table.rollback()
                eventually(lambda: stack.blocked_workers(run.ledger.table, by=end), "the rows are written")
                assert not run.ledger.rows(), "the rows are not committed"
                stack.system.kill("worker")
        stack.system.start("worker2")
        run.check()

    def test_the_worker_is_frozen_beyond_its_lease(self, stack: FaultStack) -> None:
        run = Run(stack)
        with run.held_in_its_transaction():
            stack.pause("worker")
        stack.system.start("worker2")
        run.check()
        done = run.chunks()
        stack.resume("worker")
        eventually(
            lambda: any(found["jobs"] == run.jobs for found in stack.events("worker", "bundle.split")),
            "the first worker finds out",
        )
        run.check()
        assert run.chunks() == done

    @pytest.mark.promise(8)
    def test_the_broker_loses_the_message(self, stack: FaultStack) -> None:
        run = Run(stack)
        stack.system.kill("worker")
        run.submit()
        assert {chunk["state"] for chunk in run.chunks()} == {"sent"}
        stack.kill_broker()
        stack.start_broker(empty=True)
        stack.system.start("worker2")
        run.check()
        assert {(chunk["attempts"], chunk["fence"]) for chunk in run.chunks()} == {(1, 1)}

    def test_postgres_is_killed_in_its_transaction(self, stack: FaultStack) -> None:
        run = Run(stack)
        with run.held_in_its_transaction():
            stack.kill_postgres()
        stack.start_postgres()
        run.check()
        # The first request over a connection of before finds out that it is dead, and is answered with 503.
        eventually(lambda: _accepts(run), "the API has new connections")

    def test_one_is_cancelled_while_it_is_written(self, stack: FaultStack) -> None:
        run = Run(stack)
        with run.held_in_its_transaction():
            answer = httpx.post(f"{stack.system.url}/api/v1/jobs/{run.jobs[4]}/cancel", timeout=60)
            assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
        run.ledger.settle()
        states = [stack.system.job(job_id)["state"] for job_id in run.jobs]
        assert states == [*STATES[:4], "cancelled", *STATES[5:]]
        assert {name: value for _, _, name, value in run.ledger.rows()} == {**TABLE, "b": 2}


def _accepts(run: Run) -> bool:
    """Say whether a write is accepted."""
    answer = httpx.post(run.ledger.url, json=[{"name": "later", "value": 1}], timeout=60)
    return answer.status_code == 202
