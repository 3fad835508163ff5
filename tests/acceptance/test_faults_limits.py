"""Chunks that kill their worker or never end: they end failed with the reason, and everything else goes on."""

from pathlib import Path

import pytest
from tests.support.faults import FaultStack
from tests.support.system import eventually

pytestmark = pytest.mark.promise(8)


class TestCrash:
    def test_a_chunk_that_kills_its_worker_each_time_ends_failed_and_others_go_on(self, stack: FaultStack) -> None:
        before = stack.system.pids("worker")
        always = stack.submit("test.crash", chunks=2, max_attempts=2)
        once = stack.submit("test.crash", args={"until": 2})
        others = [stack.submit("test.echo") for _ in range(5)]
        for job_id in others:
            assert stack.system.finished(job_id)["state"] == "succeeded"

        job = stack.system.finished(always)
        assert (job["state"], job["chunks_failed"], job["chunks_done"]) == ("failed", 2, 0)
        assert job["error"]["code"] == "attempts_exhausted"
        assert "attempt 2 of 2" in job["error"]["detail"]
        assert not stack.effects(always)
        # The state was reached: the processes of the pool are others now, under the same parent.
        after = stack.system.pids("worker")
        assert before[0] == after[0]
        assert not set(before[1:]) & set(after[1:])

        assert stack.system.finished(once)["state"] == "succeeded"
        assert [(row["attempt"], row["fence"]) for row in stack.effects(once)] == [(2, 2)]


class TestTimeLimit:
    def test_a_handler_past_its_limits_is_retried_then_failed_and_never_stuck(
        self, stack: FaultStack, tmp_path: Path
    ) -> None:
        stack.system.kill("worker")
        stack.system.start("worker2", worker_soft_time_limit=1, worker_time_limit=6)
        before = stack.system.pids("worker2")
        args = {"file": str(tmp_path / "never")}
        deaf = stack.submit("test.slow", args={**args, "deaf": True}, max_attempts=1)
        stack.running(deaf)
        listens = stack.submit("test.slow", args=args, max_attempts=2)

        job = stack.system.finished(listens)
        assert (job["state"], job["error"]["code"]) == ("failed", "time_limit")
        assert stack.system.chunk(listens)["attempts"] == 2
        assert len(stack.events("worker2", "chunk.retried", job=listens, code="time_limit")) == 1

        job = stack.system.finished(deaf)
        assert (job["state"], job["error"]["code"]) == ("failed", "attempts_exhausted")
        # Its chunk is freed first; the process gets a second to end by itself.
        eventually(
            lambda: set(before) - set(stack.system.pids("worker2")), "the process is killed at its hard limit", 60
        )
        assert stack.system.finished(stack.submit("test.echo"))["state"] == "succeeded"
