"""Cancel, retry, drain and schedule, with workers that are busy, killed or leaving."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.faults import FaultStack
from tests.support.system import eventually


def ask(stack: FaultStack, job_id: str, what: str) -> httpx.Response:
    """POST /jobs/{id}/cancel or /retry."""
    return httpx.post(f"{stack.system.url}/api/v1/jobs/{job_id}/{what}", timeout=60)


def payloads(stack: FaultStack, job_id: str) -> list[Any]:
    return stack.system.query("SELECT number FROM gristmill.payloads WHERE job_id = %s", (job_id,))


class TestCancel:
    def test_before_the_claim_nothing_ever_runs(self, stack: FaultStack) -> None:
        stack.system.kill("worker")
        job_id = stack.submit("test.echo", chunks=3)
        eventually(lambda: stack.system.chunk(job_id, 2)["state"] == "sent", "all chunks are sent")
        answer = ask(stack, job_id, "cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        stack.system.start("worker2")
        # The messages of the cancelled chunks are there, and all the worker does is drop them.
        eventually(lambda: len(stack.events("worker2", "chunk.dropped", job=job_id)) == 3, "the messages are dropped")
        assert not stack.effects(job_id)
        assert not payloads(stack, job_id)
        assert ask(stack, job_id, "cancel").status_code == 409

    def test_while_running_it_stops_at_the_next_step_and_done_chunks_stay(
        self, stack: FaultStack, tmp_path: Path
    ) -> None:
        waiting = stack.submit("test.wait", args={"file": str(tmp_path / "never")})
        stack.running(waiting)
        answer = ask(stack, waiting, "cancel")
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
        job = stack.system.finished(waiting)
        assert (job["state"], job["error"]["code"]) == ("cancelled", "cancelled")
        assert not stack.effects(waiting)

    def test_a_chunk_that_never_looks_is_refused_its_commit(self, stack: FaultStack, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        deaf = stack.submit("test.wait", args={"file": str(gate), "deaf": True})
        stack.running(deaf)
        assert ask(stack, deaf, "cancel").json()["state"] == "cancelling"
        gate.touch()
        assert stack.system.finished(deaf)["state"] == "cancelled"
        assert not stack.effects(deaf)
        assert not payloads(stack, deaf)

    def test_a_cancelling_job_whose_worker_was_killed_ends_cancelled(self, stack: FaultStack, tmp_path: Path) -> None:
        deaf = stack.submit("test.wait", chunks=2, args={"file": str(tmp_path / "never"), "deaf": True})
        stack.running(deaf, 1)
        assert ask(stack, deaf, "cancel").json()["state"] == "cancelling"
        stack.system.kill("worker")
        assert stack.system.job(deaf)["state"] == "cancelling"
        job = stack.system.finished(deaf)
        assert (job["state"], job["chunks_cancelled"]) == ("cancelled", 2)
        assert not payloads(stack, deaf)
        assert not stack.effects(deaf)

    def test_of_a_finished_job_is_refused(self, stack: FaultStack) -> None:
        job_id = stack.submit("test.echo")
        stack.system.finished(job_id)
        answer = ask(stack, job_id, "cancel")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_cancellable")
        assert ask(stack, "0192aaaa-0000-7000-8000-000000000000", "cancel").status_code == 404


@pytest.mark.promise(3)
class TestRetry:
    def test_runs_the_failed_chunks_only_and_keeps_the_number(self, stack: FaultStack, tmp_path: Path) -> None:
        mended = tmp_path / "mended"
        job_id = stack.submit("test.fail", chunks=3, args={"chunk": 1, "unless": str(mended)})
        failed = stack.system.finished(job_id)
        assert (failed["state"], failed["chunks_done"]) == ("failed", 2)
        mended.touch()
        assert ask(stack, job_id, "retry").status_code == 202
        job = stack.system.finished(job_id)
        assert (job["state"], job["chunks_done"], job["chunks_failed"], job["error"]) == ("succeeded", 3, 0, None)
        assert (job["seq"], job["records_succeeded"]) == (failed["seq"], 30)
        assert [(row["number"], row["fence"]) for row in stack.effects(job_id)] == [(0, 1), (1, 2), (2, 1)]
        assert ask(stack, job_id, "retry").status_code == 409

    def test_is_refused_once_an_exclusive_job_of_the_scope_has_run(self, stack: FaultStack) -> None:
        scope = "scope of the refused retry"
        failed = stack.submit("test.fail", scope=scope)
        assert stack.system.finished(failed)["state"] == "failed"
        exclusive = stack.submit("test.echo", scope=scope, exclusive=True)
        assert stack.system.finished(exclusive)["state"] == "succeeded"
        answer = ask(stack, failed, "retry")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_retryable")
        assert answer.json()["blocked_by"] == exclusive
        assert stack.system.job(failed)["state"] == "failed"

    def test_is_refused_once_a_later_exclusive_job_has_failed(self, stack: FaultStack) -> None:
        scope = "scope of the failed exclusive job"
        failed = stack.submit("test.fail", scope=scope)
        stack.system.finished(failed)
        exclusive = stack.submit("test.fail", scope=scope, exclusive=True)
        assert stack.system.finished(exclusive)["state"] == "failed"
        assert ask(stack, failed, "retry").status_code == 409
        # The later one is the last of its scope: nothing depends on it yet.
        assert ask(stack, exclusive, "retry").status_code == 202
        assert stack.system.finished(exclusive)["state"] == "failed"


@pytest.mark.promise(1)
class TestDrain:
    def test_without_time_the_chunk_is_given_back_with_its_attempt(self, stack: FaultStack, tmp_path: Path) -> None:
        stack.system.kill("worker")
        stack.system.start("worker2", worker_drain_seconds=0)
        gate = tmp_path / "gate"
        job_id = stack.submit("test.wait", args={"file": str(gate)})
        assert stack.running(job_id)["attempts"] == 1
        stack.system.terminate("worker2")
        assert len(stack.events("worker2", "chunk.ended", job=job_id, state="drained")) == 1
        chunk = stack.system.chunk(job_id)
        assert (chunk["state"] in ("waiting", "sent"), chunk["attempts"], chunk["fence"]) == (True, 0, 1)
        gate.touch()
        stack.system.start("worker3")
        assert stack.system.finished(job_id)["state"] == "succeeded"
        assert [(row["attempt"], row["fence"]) for row in stack.effects(job_id)] == [(1, 2)]

    def test_with_time_the_chunk_ends_and_the_worker_leaves(self, stack: FaultStack, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        job_id = stack.submit("test.wait", args={"file": str(gate)})
        stack.running(job_id)
        process = stack.system.processes["worker"]
        process.terminate()
        later = stack.submit("test.echo")
        assert process.poll() is None
        gate.touch()
        assert stack.system.finished(job_id)["state"] == "succeeded"
        assert [(row["attempt"], row["fence"]) for row in stack.effects(job_id)] == [(1, 1)]
        eventually(lambda: process.poll() is not None, "the worker has left", 60)
        assert process.returncode == 0
        stack.system.processes.pop("worker")
        stack.system.start("worker2")
        assert stack.system.finished(later)["state"] == "succeeded"


@pytest.mark.promise(3)
class TestSchedule:
    def test_a_scheduled_job_takes_its_number_when_it_is_due(self, stack: FaultStack) -> None:
        scheduled = stack.submit("test.echo", run_at=datetime.now(UTC) + timedelta(hours=1), scope="scheduled")
        job = stack.system.job(scheduled)
        assert (job["state"], job["seq"]) == ("scheduled", None)
        # An exclusive job submitted later, but due earlier, does not wait for it.
        before = stack.submit("test.echo", scope="scheduled", exclusive=True)
        stack.system.finished(before)
        due = self.make_due(stack, scheduled)
        job = stack.system.finished(scheduled)
        assert job["state"] == "succeeded"
        assert job["seq"] > stack.system.job(before)["seq"]
        assert job["started_at"] >= due
        assert stack.effects(scheduled)[0]["at"] - due < timedelta(seconds=10)

    def test_a_scheduled_job_can_be_cancelled(self, stack: FaultStack) -> None:
        scheduled = stack.submit("test.echo", run_at=datetime.now(UTC) + timedelta(hours=1))
        assert ask(stack, scheduled, "cancel").json()["state"] == "cancelled"
        # Its time passes, as another one shows that was due later.
        self.make_due(stack, scheduled)
        witness = stack.submit("test.echo", run_at=datetime.now(UTC) + timedelta(seconds=1))
        stack.system.finished(witness)
        assert stack.system.job(scheduled)["state"] == "cancelled"
        assert not stack.effects(scheduled)

    def make_due(self, stack: FaultStack, job_id: str) -> datetime:
        """Put the time of a scheduled job to half a second from now, and return it."""
        later = "clock_timestamp() + interval '0.5 seconds'"
        (row,) = stack.system.query(
            f"UPDATE gristmill.jobs SET run_at = {later} WHERE id = %s RETURNING run_at", (job_id,)
        )
        stack.system.query("UPDATE gristmill.chunks SET run_at = %s WHERE job_id = %s", (row["run_at"], job_id))
        due: datetime = row["run_at"]
        return due
