"""Messages with several jobs, and a worker that is killed or frozen in the middle of one."""

import contextlib
from collections.abc import Iterator

import pytest
from tests.support.faults import FaultStack
from tests.support.freeze import freeze
from tests.support.ledger import Ledger, batch
from tests.support.system import eventually

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2)]
LOCK = "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE"
JOBS = 6


@contextlib.contextmanager
def gathered(stack: FaultStack) -> Iterator[None]:
    """Let what is submitted in the block fall due at once, so that it goes out in one message."""
    stack.pause("dispatcher")
    try:
        yield
    finally:
        stack.resume("dispatcher")


def post_together(stack: FaultStack, ledger: Ledger) -> list[str]:
    with gathered(stack):
        jobs = [ledger.post(batch(2)) for _ in range(JOBS)]
    eventually(
        lambda: any(set(jobs) == set(found["jobs"]) for found in stack.events("dispatcher", "bundle.sent")),
        "all of them went out in one message",
    )
    return jobs


class TestKilledWorker:
    def test_after_the_claim_every_job_is_done_by_the_next_one(self, stack: FaultStack) -> None:
        ledger = Ledger(stack.system)
        with stack.locked(LOCK.format(ledger.table)):
            jobs = post_together(stack, ledger)
            for job_id in jobs:
                stack.running(job_id)
            eventually(lambda: stack.waiting_for(ledger.table), "the worker waits for the table")
            stack.system.kill("worker")
        stack.system.start("worker2")
        ledger.check()
        chunks = [stack.system.chunk(job_id) for job_id in jobs]
        assert {(chunk["attempts"], chunk["fence"]) for chunk in chunks} == {(2, 2)}
        # What lost its worker once comes alone.
        assert len({chunk["xact"] for chunk in chunks}) == JOBS

    def test_after_the_rows_of_all_were_written_and_before_the_commit(self, stack: FaultStack) -> None:
        ledger = Ledger(stack.system)
        with stack.locked(LOCK.format(ledger.table)) as table:
            jobs = post_together(stack, ledger)
            stack.running(jobs[-1])
            eventually(lambda: stack.waiting_for(ledger.table), "the worker waits for the table")
            with stack.locked("SELECT FROM gristmill.jobs WHERE id = %s FOR UPDATE", (jobs[-1],)) as end:
                table.rollback()
                eventually(lambda: stack.blocked_workers(ledger.table, by=end), "the rows are written")
                assert not ledger.rows(), "the rows are not committed"
                stack.system.kill("worker")
        stack.system.start("worker2")
        ledger.check()

    @pytest.mark.promise(8)
    def test_a_job_that_kills_its_worker_each_time_fails_alone(self, stack: FaultStack) -> None:
        with gathered(stack):
            before = [stack.submit("test.shared") for _ in range(2)]
            killer = stack.submit("test.shared", args={"kill": True}, max_attempts=2)
            after = [stack.submit("test.shared") for _ in range(2)]
        for job_id in (*before, *after):
            assert stack.system.finished(job_id)["state"] == "succeeded"
            # The neighbours were claimed with it and lost one attempt, not their work.
            assert [row["attempt"] for row in stack.effects(job_id)] == [2]
        failed = stack.system.finished(killer)
        assert (failed["state"], failed["error"]["code"]) == ("failed", "attempts_exhausted")
        assert not stack.effects(killer)


class TestFrozenWorker:
    def test_beyond_its_lease_commits_nothing_of_the_message(self, stack: FaultStack) -> None:
        ledger = Ledger(stack.system)
        with stack.locked(LOCK.format(ledger.table)):
            jobs = post_together(stack, ledger)
            stack.running(jobs[0])
            eventually(lambda: stack.waiting_for(ledger.table), "the worker waits for the table")
            stack.pause("worker")
        stack.system.start("worker2")
        ledger.settle()
        done = [stack.system.chunk(job_id) for job_id in jobs]
        stack.resume("worker")
        eventually(lambda: stack.events("worker", "bundle.split"), "the first one finds out")
        for job_id in jobs:
            eventually(
                lambda job_id=job_id: stack.events("worker", "chunk.lost", job=job_id, fence=1), "and is refused"
            )
        assert [stack.system.chunk(job_id) for job_id in jobs] == done
        ledger.check()


class TestCancelled:
    def test_one_of_a_message_while_it_is_being_written_leaves_the_others(self, stack: FaultStack) -> None:
        ledger = Ledger(stack.system)
        with stack.locked(LOCK.format(ledger.table)):
            jobs = post_together(stack, ledger)
            eventually(lambda: stack.waiting_for(ledger.table), "the worker waits for the table")
            with stack.system.http() as http:
                answer = http.post(f"/api/v1/jobs/{jobs[2]}/cancel")
            assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
        assert stack.system.finished(jobs[2])["state"] == "cancelled"
        del ledger.accepted[jobs[2]]
        ledger.settle()
        states = [stack.system.job(job_id)["state"] for job_id in jobs]
        assert states == ["succeeded"] * 2 + ["cancelled"] + ["succeeded"] * 3
        assert ledger.rows() == ledger.expected()


class TestDoubled:
    def test_a_message_that_the_broker_gives_again_changes_nothing(self, stack: FaultStack) -> None:
        """The worker dies after the commit and before it has told the broker."""
        ledger = Ledger(stack.system)
        with stack.locked(LOCK.format(ledger.table)) as table:
            jobs = post_together(stack, ledger)
            eventually(lambda: stack.waiting_for(ledger.table), "the worker waits for the table")
            # The parent, which acknowledges, is frozen; its child goes on and commits.
            freeze(stack.system.processes["worker"].pid)
            table.rollback()
            for job_id in jobs:
                assert stack.system.finished(job_id)["state"] == "succeeded"
            rows = ledger.rows()
            stack.system.kill("worker")
        stack.system.start("worker2")
        for job_id in jobs:
            eventually(lambda job_id=job_id: stack.events("worker2", "chunk.dropped", job=job_id), "it is dropped")
        assert ledger.rows() == rows
        ledger.check()
