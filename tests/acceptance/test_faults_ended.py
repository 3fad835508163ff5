"""A worker process that ends with a chunk in hand frees it at once: with a lease of a minute nothing else could."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.support.faults import SETTINGS, FaultStack
from tests.support.folders import open_folder
from tests.support.freeze import freeze
from tests.support.servers import WANTED
from tests.support.system import eventually

from gristmill.stack.processes import is_alive

pytestmark = [pytest.mark.promise(2), pytest.mark.promise(8)]
# Far less than what is left of a lease: only the freeing can have been so early.
LEASE = 60
SOON = 20


@pytest.fixture(scope="module")
def lasting() -> Iterator[FaultStack]:
    """Servers and processes with leases that no test outlasts."""
    settings = {"jobs_lease": LEASE, "jobs_heartbeat": 1, "jobs_resend_after": LEASE}
    with open_folder() as folder:
        found = FaultStack(folder / "lasting", WANTED, **settings)
        yield found
        found.close()


@pytest.fixture
def stack(lasting: FaultStack) -> FaultStack:
    """Every process runs; a chunk that the test before has left would be in the way of counts."""
    lasting.heal()
    return lasting


def pid_of(stack: FaultStack, job_id: str) -> int:
    """The process that runs the job's first chunk, a child of the worker: the state that a test means."""
    name = stack.running(job_id)["worker"]
    pid = int(name.partition("/")[0].rpartition(":")[2])
    assert pid in stack.system.pids("worker")[1:]
    return pid


def pool_of(stack: FaultStack) -> list[int]:
    """The processes of the worker's pool; none while one of them is being replaced."""
    children = psutil.Process(stack.system.processes["worker"].pid).children()
    alive = [child.pid for child in children if is_alive(child)]
    return alive if len(alive) == len(children) == SETTINGS["worker_processes"] else []


def wait(stack: FaultStack, gate: Path, **options: object) -> str:
    return stack.submit("test.wait", args={"file": str(gate), "deaf": True}, **options)


class TestKilledChild:
    def test_its_chunk_is_freed_and_runs_again_under_the_same_parent(self, stack: FaultStack, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        job_id = wait(stack, gate)
        parent = stack.system.processes["worker"].pid
        os.kill(pid_of(stack, job_id), signal.SIGKILL)
        eventually(lambda: stack.system.chunk(job_id)["fence"] == 2, "the chunk runs again", SOON)
        gate.touch()
        assert stack.system.finished(job_id)["state"] == "succeeded"
        assert [(row["attempt"], row["fence"]) for row in stack.effects(job_id)] == [(2, 2)]
        assert len(stack.events("worker", "worker.ended", job=job_id, fence=1)) == 1
        assert stack.system.processes["worker"].pid == parent

    def test_its_neighbour_keeps_its_own(self, stack: FaultStack, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        lost, kept = (wait(stack, gate) for _ in range(2))
        pid_of(stack, kept)
        os.kill(pid_of(stack, lost), signal.SIGKILL)
        eventually(lambda: stack.system.chunk(lost)["fence"] == 2, "the chunk runs again", SOON)
        gate.touch()
        for job_id, attempt in ((lost, 2), (kept, 1)):
            assert stack.system.finished(job_id)["state"] == "succeeded"
            assert [row["attempt"] for row in stack.effects(job_id)] == [attempt]

    def test_a_job_that_is_being_cancelled_ends_at_once(self, stack: FaultStack, tmp_path: Path) -> None:
        job_id = wait(stack, tmp_path / "never")
        pid = pid_of(stack, job_id)
        with stack.system.http() as http:
            assert http.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 202
        assert stack.system.job(job_id)["state"] == "cancelling"
        os.kill(pid, signal.SIGKILL)
        job = stack.system.finished(job_id, SOON)
        assert (job["state"], job["chunks_cancelled"]) == ("cancelled", 1)
        assert not stack.effects(job_id)

    def test_every_chunk_of_its_bundle_is_freed(self, stack: FaultStack) -> None:
        """All of them were claimed by one message; the one that kills its process comes alone from then on."""
        with stack.locked("SELECT pg_advisory_lock(7041, 1)"):
            # No dispatcher chooses anything meanwhile: the jobs are due together.
            others = [stack.submit("test.shared") for _ in range(5)]
            killer = stack.submit("test.shared", args={"kill": True}, max_attempts=2)
        for job_id in others:
            assert stack.system.finished(job_id, SOON)["state"] == "succeeded"
        sent = [entry for entry in stack.events("dispatcher", "bundle.sent") if killer in entry["jobs"]]
        assert len(sent) == 1
        together = set(sent[0]["jobs"]) & set(others)
        assert together
        for job_id in together:
            assert [row["attempt"] for row in stack.effects(job_id)] == [2]
        assert stack.system.finished(killer, SOON)["error"]["code"] == "attempts_exhausted"

    def test_when_it_has_not_claimed_yet_the_chunk_is_sent_again(self, stack: FaultStack) -> None:
        children = eventually(lambda: pool_of(stack), "the pool is complete")
        freeze(*children)
        job_id = stack.submit("test.echo")
        eventually(lambda: stack.system.chunk(job_id)["state"] == "sent", "the message is on its way")
        with stack.locked("SELECT FROM gristmill.chunks WHERE job_id = %s FOR UPDATE", (job_id,)) as claim:
            for pid in children:
                os.kill(pid, signal.SIGCONT)
            eventually(lambda: stack.blocked_workers("gristmill.chunks", by=claim), "a process waits with its claim")
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            # The claim must not go on without its process.
            eventually(lambda: not stack.blocked_workers("gristmill.chunks", by=claim), "Postgres has noticed", SOON)
        assert stack.system.finished(job_id, SOON)["state"] == "succeeded"
        assert [row["attempt"] for row in stack.effects(job_id)] == [1]
        assert stack.system.chunk(job_id)["dispatch"] == 2

    def test_the_next_one_may_take_its_time_to_start(
        self, stack: FaultStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hold = tmp_path / "hold"
        monkeypatch.setenv("SLOW_START_FILE", str(hold))
        stack.system.kill("worker")
        stack.system.start("worker", jobs_plugins="tests.support.plugin tests.support.slow_start")
        first = eventually(lambda: pool_of(stack), "the pool is complete")
        hold.touch()
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        job_id = stack.submit("test.echo")
        slow = eventually(
            lambda: (pool := pool_of(stack)) and set(pool).isdisjoint(first) and pool, "there are new processes"
        )
        # Longer than the 4 s after which Celery kills a process that is not ready, if it is told nothing else.
        eventually(lambda: time.time() > psutil.Process(slow[-1]).create_time() + 6, "they take long")
        assert stack.system.chunk(job_id)["state"] == "sent"
        hold.unlink()
        assert stack.system.finished(job_id, SOON)["state"] == "succeeded"
        assert pool_of(stack) == slow
        stack.system.kill("worker")

    def test_at_its_hard_time_limit(self, stack: FaultStack, tmp_path: Path) -> None:
        stack.system.kill("worker")
        stack.system.start("worker2", worker_soft_time_limit=4, worker_time_limit=5)
        job_id = stack.submit("test.slow", args={"file": str(tmp_path / "never"), "deaf": True}, max_attempts=2)
        job = stack.system.finished(job_id, SOON)
        assert (job["state"], job["error"]["code"]) == ("failed", "attempts_exhausted")
        assert stack.system.chunk(job_id)["attempts"] == 2
        assert len(stack.events("worker2", "worker.ended", job=job_id)) == 2


class TestKilledParent:
    def test_the_next_parent_on_this_host_frees_what_its_children_held(self, stack: FaultStack, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        jobs = [wait(stack, gate) for _ in range(2)]
        children = {pid_of(stack, job_id) for job_id in jobs}
        assert len(children) == 2
        parent = stack.system.processes.pop("worker")
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        eventually(lambda: not any(psutil.pid_exists(pid) for pid in children), "the kernel ends the children with it")
        for job_id in jobs:
            assert stack.system.chunk(job_id)["state"] == "running"
        gate.touch()
        stack.system.start("worker2")
        for job_id in jobs:
            assert stack.system.finished(job_id, SOON)["state"] == "succeeded"
            assert [(row["attempt"], row["fence"]) for row in stack.effects(job_id)] == [(2, 2)]

    def test_nothing_is_taken_from_a_process_that_runs_or_cannot_be_seen(
        self, stack: FaultStack, tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        alive, elsewhere, unknown = (wait(stack, gate) for _ in range(3))
        stack.system.start("worker2")
        for job_id in (alive, elsewhere, unknown):
            stack.running(job_id)
        rename = "UPDATE gristmill.chunks SET worker = %s WHERE job_id = %s RETURNING worker"
        name = stack.system.chunk(elsewhere)["worker"]
        host = name.partition(":")[0]
        stack.system.query(rename, (f"{host}:999999/other-4026531836-1", elsewhere))
        stack.system.query(rename, (f"{host}:999999", unknown))
        # A chunk of a process that has ended shows that the parents have looked since.
        seen = wait(stack, gate)
        eventually(lambda: stack.system.chunk(seen)["state"] == "running", "a fourth one runs")
        os.kill(int(stack.system.chunk(seen)["worker"].partition("/")[0].rpartition(":")[2]), signal.SIGKILL)
        eventually(lambda: stack.system.chunk(seen)["fence"] == 2, "it is freed", SOON)
        for job_id in (alive, elsewhere, unknown):
            assert stack.system.chunk(job_id)["fence"] == 1
        gate.touch()
        for job_id in (alive, elsewhere, unknown, seen):
            assert stack.system.finished(job_id)["state"] == "succeeded"
