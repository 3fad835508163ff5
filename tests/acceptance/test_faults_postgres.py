"""Postgres killed under load: nothing accepted is lost, every call says 503 meanwhile, all processes go on."""

import threading
import uuid
from pathlib import Path

import httpx
import pytest
from tests.support.faults import FaultStack
from tests.support.ledger import Ledger, batch
from tests.support.system import eventually

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2)]
ANY_ID = "0192aaaa-0000-7000-8000-000000000000"


class TestKilledPostmaster:
    def test_under_load_every_202_completes_and_every_call_says_503_meanwhile(
        self, stack: FaultStack, tmp_path: Path
    ) -> None:
        pids = {name: stack.system.processes[name].pid for name in ("api", "dispatcher", "worker")}
        gate = tmp_path / "gate"
        ledgers = [Ledger(stack.system), Ledger(stack.system, keyed=True)]
        held = stack.submit("test.wait", args={"file": str(gate)})
        stack.running(held)
        load = _Load(ledgers)
        with load, stack.locked(f"LOCK TABLE {ledgers[0].table} IN ACCESS EXCLUSIVE MODE"):
            # One chunk is between two steps, one is in the middle of its transaction, and more are on their way.
            eventually(lambda: stack.waiting_for(ledgers[0].table), "a chunk is in its transaction")
            eventually(lambda: load.accepted() >= 20, "writes are accepted")
            stack.kill_postgres()
            eventually(lambda: stack.system.http().get("/readyz").status_code == 503, "the API has noticed")
            _check_unavailable(stack, ledgers[1])
            count = load.accepted()
            stack.start_postgres()
            eventually(lambda: load.accepted() >= count + 20, "writes are accepted again", 60)
        gate.touch()
        for ledger in ledgers:
            ledger.check()
        assert stack.system.finished(held)["state"] == "succeeded"
        # The loss of Postgres has cost no attempt.
        assert [(row["attempt"], row["fence"]) for row in stack.effects(held)] == [(1, 2)]
        assert pids == {name: stack.system.processes[name].pid for name in pids}
        assert all(stack.system.processes[name].poll() is None for name in pids)
        assert stack.system.http().get("/readyz").status_code == 200


def _check_unavailable(stack: FaultStack, ledger: Ledger) -> None:
    """Every call but /healthz answers 503 as a problem."""
    jobs, dataset = f"/api/v1/jobs/{ANY_ID}", f"/api/v1/datasets/{ledger.name}"
    calls = [
        ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/api/v1/jobs"), ("GET", jobs), ("GET", f"{jobs}?wait=1"),
        ("POST", f"{jobs}/cancel"), ("POST", f"{jobs}/retry"), ("GET", "/api/v1/datasets"), ("GET", dataset),
        ("DELETE", dataset), ("GET", f"{dataset}/records"), ("GET", f"{dataset}/records/x"),
        ("GET", f"{dataset}/latest"), ("DELETE", f"{dataset}/records/x"), ("POST", f"{dataset}/records"),
    ]  # fmt: skip
    with stack.system.http() as client:
        assert client.get("/healthz").status_code == 200
        for method, path in calls:
            body = batch(1) if path.endswith("/records") and method == "POST" else None
            answer = client.request(method, path, json=body)
            assert answer.status_code == 503, (method, path, answer.status_code, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "database_unavailable"
            assert int(answer.headers["retry-after"]) > 0


class _Load:
    """One thread per ledger that submits batches for as long as the block runs, repeating what is not answered."""

    def __init__(self, ledgers: list[Ledger]) -> None:
        self._ledgers = ledgers
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._submit, args=(ledger,), daemon=True) for ledger in ledgers]

    def __enter__(self) -> "_Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop.set()
        if kind is None:
            for thread in self._threads:
                thread.join(90)
            assert not self._failures

    def accepted(self) -> int:
        assert not self._failures
        return sum(len(ledger.accepted) for ledger in self._ledgers)

    def _submit(self, ledger: Ledger) -> None:
        number = 0
        try:
            with httpx.Client(timeout=30) as client:
                while not self._stop.wait(0.02):
                    number += 1
                    # Mostly small, now and then one that goes by COPY.
                    size = 300 if number % 10 == 0 else 3
                    ledger.post_until_answered(client, batch(size, uuid.uuid4().hex if number % 2 else "r", number))
        except (AssertionError, httpx.HTTPError) as error:
            self._failures.append(error)
