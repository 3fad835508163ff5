"""The same promises where Valkey is the broker: the main path, a worker killed, the broker coming back empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.faults import FaultStack
from tests.support.folders import open_folder
from tests.support.ledger import Ledger, batch
from tests.support.system import eventually

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2)]


@pytest.fixture(scope="module")
def valkey() -> Iterator[FaultStack]:
    with open_folder() as folder:
        found = FaultStack(folder / "valkey", "valkey")
        found.heal()
        yield found
        found.close()


class TestValkey:
    def test_a_batch_goes_from_post_to_rows(self, valkey: FaultStack) -> None:
        assert valkey.system.broker_url.startswith("redis://")
        ledger = Ledger(valkey.system, keyed=True)
        ledger.post(batch(300))
        ledger.post(batch(3, value=1000), wait=30)
        ledger.check()

    def test_worker_killed_after_the_claim(self, valkey: FaultStack) -> None:
        ledger = Ledger(valkey.system)
        with valkey.locked(f"LOCK TABLE {ledger.table} IN ACCESS EXCLUSIVE MODE"):
            job_id = ledger.post(batch(3))
            valkey.running(job_id)
            eventually(lambda: valkey.waiting_for(ledger.table), "the worker waits for the table")
            valkey.system.kill("worker")
        valkey.system.start("worker2")
        assert valkey.system.finished(job_id)["state"] == "succeeded"
        chunk = valkey.system.chunk(job_id)
        assert (chunk["attempts"], chunk["fence"]) == (2, 2)
        ledger.check()

    def test_broker_killed_and_back_empty(self, valkey: FaultStack, tmp_path: Path) -> None:
        valkey.heal()
        gate = tmp_path / "gate"
        ledger = Ledger(valkey.system)
        running = [valkey.submit("test.wait", args={"file": str(gate)}) for _ in range(2)]
        for job_id in running:
            valkey.running(job_id)
        jobs = [ledger.post(batch(2, f"{number}.")) for number in range(5)]
        eventually(lambda: all(valkey.system.chunk(job_id)["state"] == "sent" for job_id in jobs), "all are sent")
        valkey.kill_broker()
        valkey.start_broker(empty=True)
        gate.touch()
        ledger.check()
        for job_id in running:
            assert valkey.system.finished(job_id)["state"] == "succeeded"
            assert len(valkey.effects(job_id)) == 1
