"""Workers killed or frozen at placed moments: after the claim, after COPY before commit, beyond the lease."""

from pathlib import Path

import pytest
from tests.support.faults import FaultStack
from tests.support.ledger import Ledger, batch
from tests.support.system import eventually

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2)]
LOCK = "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"


class TestKilledWorker:
    def test_after_the_claim(self, stack: FaultStack) -> None:
        ledger = Ledger(stack.system)
        with stack.locked(LOCK.format(ledger.table)):
            job_id = ledger.post(batch(3))
            stack.running(job_id)
            eventually(lambda: stack.waiting_for(ledger.table), "the worker waits for the table")
            stack.system.kill("worker")
        stack.system.start("worker2")
        assert stack.system.finished(job_id)["state"] == "succeeded"
        chunk = stack.system.chunk(job_id)
        assert (chunk["attempts"], chunk["fence"]) == (2, 2)
        ledger.check()

    def test_after_the_rows_were_written_and_before_the_commit(self, stack: FaultStack) -> None:
        """One chunk goes in by INSERT, the other by COPY and a second statement."""
        small, large = Ledger(stack.system), Ledger(stack.system, keyed=True)
        with stack.locked(f"{LOCK.format(small.table)}; {LOCK.format(large.table)}") as tables:
            jobs = [small.post(batch(3)), large.post(batch(500))]
            for job_id in jobs:
                stack.running(job_id)
            # Whoever wants to end these jobs now has to wait; the tables are free again.
            with stack.locked("SELECT FROM gristmill.jobs WHERE id = ANY(%s::uuid[]) FOR UPDATE", (jobs,)) as ends:
                tables.rollback()
                for ledger in (small, large):
                    eventually(
                        lambda ledger=ledger: stack.blocked_workers(ledger.table, by=ends),
                        "the rows are written, and what waits is the statement that ends the chunk",
                    )
                    assert not ledger.rows(), "the rows are not committed"
                stack.system.kill("worker")
        stack.system.start("worker2")
        for ledger, job_id in zip((small, large), jobs, strict=True):
            assert stack.system.finished(job_id)["state"] == "succeeded"
            chunk = stack.system.chunk(job_id)
            assert (chunk["attempts"], chunk["fence"]) == (2, 2)
            ledger.check()


@pytest.mark.promise(8)
class TestFrozenWorker:
    def test_inside_its_transaction_holds_nobody_up(self, stack: FaultStack) -> None:
        ledger = Ledger(stack.system, keyed=True)
        with stack.locked(LOCK.format(ledger.table)) as table:
            job_id = ledger.post(batch(3))
            stack.running(job_id)
            with stack.locked("SELECT FROM gristmill.jobs WHERE id = %s FOR UPDATE", (job_id,)) as end:
                table.rollback()
                eventually(lambda: stack.blocked_workers(ledger.table, by=end), "the rows are written")
                stack.pause("worker")
        # Nothing blocks the frozen worker's last statement: its transaction now holds the chunk and the rows.
        held = "SELECT FROM gristmill.chunks WHERE job_id = %s FOR UPDATE SKIP LOCKED"
        assert not stack.system.query(held, (job_id,)), "the chunk is locked by the frozen worker"
        stack.system.start("worker2")
        assert stack.system.finished(job_id)["state"] == "succeeded"
        done = stack.system.chunk(job_id)
        assert done["fence"] == 2
        stack.resume("worker")
        eventually(lambda: stack.events("worker", "chunk.retried", job=job_id, fence=1), "the first one finds out")
        assert stack.system.chunk(job_id) == done
        ledger.check()

    def test_beyond_its_lease_is_refused_its_commit(self, stack: FaultStack, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        job_id = stack.submit("test.wait", args={"file": str(gate), "deaf": True})
        stack.running(job_id)
        stack.pause("worker")
        gate.touch()
        stack.system.start("worker2")
        assert stack.system.finished(job_id)["state"] == "succeeded"
        assert len(stack.events("worker2", "chunk.claimed", job=job_id, fence=2)) == 1
        done = stack.system.chunk(job_id)

        stack.resume("worker")
        eventually(lambda: stack.events("worker", "chunk.lost", job=job_id, fence=1), "the first one is refused")
        assert [(row["fence"], row["attempt"]) for row in stack.effects(job_id)] == [(2, 2)]
        assert stack.system.chunk(job_id) == done
        assert stack.system.job(job_id)["records_succeeded"] == 10
