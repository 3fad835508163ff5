"""Jobs of declared types whose worker is killed at each phase, which never end, or which an older worker gets."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.faults import FaultStack
from tests.support.system import eventually

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2), pytest.mark.promise(8)]
TABLE = "data.own_effects"
LOCK = f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE"
END = "SELECT FROM gristmill.jobs WHERE id = %s FOR UPDATE"


def post(stack: FaultStack, type_: str, query: str = "", **body: Any) -> str:
    with stack.system.http() as http:
        answer = http.post(f"/api/v1/jobs{query}", json={"type": type_, **body})
    assert answer.status_code in (200, 202), answer.text
    return str(answer.json()["id"])


def shown(stack: FaultStack, job_id: str) -> dict[str, Any]:
    with stack.system.http() as http:
        return dict(http.get(f"/api/v1/jobs/{job_id}").json())


def effects(stack: FaultStack, job_id: str) -> list[tuple[int, int, str]]:
    rows = stack.system.query(f"SELECT * FROM {TABLE} WHERE job_id = %s ORDER BY at", (job_id,))
    return [(row["attempt"], row["fence"], row["note"]) for row in rows]


class TestTransactional:
    def test_everything_but_postgres_killed_after_the_202(self, stack: FaultStack) -> None:
        stack.system.kill("dispatcher")
        job_id = post(stack, "own.report", args={"name": "a"})
        for name in ("api", "worker"):
            stack.system.kill(name)
        stack.kill_broker()
        stack.start_broker(empty=True)
        stack.system.start("api", "dispatcher", "worker")
        assert stack.system.finished(job_id)["state"] == "succeeded"
        assert effects(stack, job_id) == [(1, 1, "a")]

    def test_killed_before_its_first_statement(self, stack: FaultStack) -> None:
        with stack.locked(LOCK):
            job_id = post(stack, "own.report", args={"name": "a"})
            stack.running(job_id)
            eventually(lambda: stack.waiting_for(TABLE), "the function waits for the table")
            stack.system.kill("worker")
        self.carried_out_again(stack, job_id, "a")

    def test_killed_after_it_wrote_and_before_it_returned(self, stack: FaultStack, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        job_id = post(stack, "own.faulty", args={"do": "sleep", "file": str(gate)}, max_attempts=5)
        stack.running(job_id)
        written = (
            "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.relation = %s::regclass "
            "AND l.mode = 'RowExclusiveLock' AND a.state = 'idle in transaction'"
        )
        eventually(lambda: stack.system.query(written, (TABLE,)), "its row is written in an open transaction")
        assert effects(stack, job_id) == []
        stack.system.kill("worker")
        gate.touch()
        self.carried_out_again(stack, job_id, "sleep")

    def test_killed_after_it_returned_and_before_the_commit(self, stack: FaultStack) -> None:
        with stack.locked(LOCK) as table:
            job_id = post(stack, "own.report", args={"name": "a"})
            stack.running(job_id)
            with stack.locked(END, (job_id,)) as end:
                table.rollback()
                eventually(lambda: stack.blocked_workers(TABLE, by=end), "what waits is the end of the chunk")
                assert effects(stack, job_id) == []
                stack.system.kill("worker")
        self.carried_out_again(stack, job_id, "a")

    def test_killed_after_the_commit(self, stack: FaultStack) -> None:
        job_id = post(stack, "own.report", args={"name": "a"})
        eventually(lambda: effects(stack, job_id), "it is committed", every=0.001)
        stack.system.kill("worker")
        stack.system.start("worker2")
        other = post(stack, "own.report", args={"name": "b"})
        assert stack.system.finished(other)["state"] == "succeeded"
        assert stack.system.job(job_id)["state"] == "succeeded"
        assert effects(stack, job_id) == [(1, 1, "a")]

    def carried_out_again(self, stack: FaultStack, job_id: str, note: str) -> None:
        stack.system.start("worker2")
        job = stack.system.finished(job_id)
        assert job["state"] == "succeeded", job["error"]
        assert effects(stack, job_id) == [(2, 2, note)]


class TestIdempotent:
    def files(self, folder: Path) -> list[str]:
        return sorted(path.name for path in folder.iterdir())

    def test_killed_by_itself_between_its_effects(self, stack: FaultStack, tmp_path: Path) -> None:
        job_id = post(stack, "own.outside", args={"folder": str(tmp_path), "die_until": 1})
        assert stack.system.finished(job_id)["state"] == "succeeded"
        assert self.files(tmp_path) == [f"{job_id}.2"]
        assert [attempt for attempt, _, _ in effects(stack, job_id)] == [1, 2]

    def test_killed_with_its_worker_between_its_effects(self, stack: FaultStack, tmp_path: Path) -> None:
        folder, gate = tmp_path / "made", tmp_path / "gate"
        folder.mkdir()
        job_id = post(stack, "own.outside", args={"folder": str(folder), "wait": str(gate)})
        eventually(lambda: effects(stack, job_id), "its first half is done")
        stack.system.kill("worker")
        assert self.files(folder) == [f"{job_id}.begun"]
        gate.touch()
        stack.system.start("worker2")
        assert stack.system.finished(job_id)["state"] == "succeeded"
        assert self.files(folder) == [f"{job_id}.2"]

    def test_killed_after_all_its_effects_and_before_its_end(self, stack: FaultStack, tmp_path: Path) -> None:
        folder, gate = tmp_path / "made", tmp_path / "gate"
        folder.mkdir()
        job_id = post(stack, "own.outside", args={"folder": str(folder), "wait": str(gate)})
        eventually(lambda: effects(stack, job_id), "its first half is done")
        with stack.locked(END, (job_id,)) as end:
            gate.touch()
            eventually(lambda: stack.blocked_workers("gristmill.chunks", by=end), "what waits is the end of the chunk")
            assert self.files(folder) == [f"{job_id}.1"]
            stack.system.kill("worker")
        stack.system.start("worker2")
        job = stack.system.finished(job_id)
        assert (job["state"], job["result"]) == ("succeeded", {"fence": 2})
        assert self.files(folder) == [f"{job_id}.2"]


class TestNeverReturns:
    def test_the_time_limit_of_the_queue_ends_it(self, stack: FaultStack, tmp_path: Path) -> None:
        stack.system.kill("worker")
        stack.system.start("worker2", worker_soft_time_limit=1, worker_time_limit=6, worker_processes=3)
        never = str(tmp_path / "never")
        jobs = {
            do: post(stack, "own.faulty", args={"do": do, "file": never}, max_attempts=1 if do == "deaf" else 2)
            for do in ("sleep", "sleep_in_sql", "deaf")
        }
        ends = {do: stack.system.finished(job_id) for do, job_id in jobs.items()}
        assert {do: job["state"] for do, job in ends.items()} == dict.fromkeys(ends, "failed")
        assert (ends["sleep"]["error"]["code"], ends["deaf"]["error"]["code"]) == ("time_limit", "attempts_exhausted")
        assert ends["sleep_in_sql"]["error"]["code"] in ("time_limit", "contended")
        assert stack.system.chunk(jobs["sleep"])["attempts"] == 2
        assert all(effects(stack, job_id) == [] for job_id in jobs.values())
        assert stack.system.finished(post(stack, "own.plain"))["state"] == "succeeded"


class TestEndsItsProcess:
    @pytest.mark.parametrize("do", ["die", "exit"])
    def test_it_fails_after_its_attempts_and_others_go_on(self, stack: FaultStack, do: str) -> None:
        job_id = post(stack, "own.faulty", args={"do": do})
        others = [post(stack, "own.plain") for _ in range(3)]
        assert [stack.system.finished(other)["state"] for other in others] == ["succeeded"] * 3
        job = stack.system.finished(job_id)
        assert (job["state"], job["error"]["code"]) == ("failed", "attempts_exhausted")
        assert effects(stack, job_id) == []

    def test_one_that_recovers_succeeds(self, stack: FaultStack) -> None:
        job_id = post(stack, "own.faulty", args={"do": "die", "until": 2})
        assert stack.system.finished(job_id)["state"] == "succeeded"
        assert effects(stack, job_id) == [(2, 2, "die")]


class TestCancel:
    def test_it_ends_at_its_next_check_and_nothing_is_kept(self, stack: FaultStack, tmp_path: Path) -> None:
        args = {"do": "sleep_checked", "file": str(tmp_path / "never")}
        job_id = post(stack, "own.faulty", args=args)
        stack.running(job_id)
        with stack.system.http() as http:
            assert http.post(f"/api/v1/jobs/{job_id}/cancel").status_code in (200, 202)
        assert stack.system.finished(job_id)["state"] == "cancelled"
        assert effects(stack, job_id) == []


class TestOlderWorker:
    def test_the_job_waits_says_so_and_runs_on_a_newer_worker(self, stack: FaultStack) -> None:
        stack.system.kill("worker")
        stack.system.start("worker2", jobs_plugins="tests.support.plugin")
        job_id = post(stack, "own.plain", max_attempts=1)
        eventually(
            lambda: (shown(stack, job_id)["error"] or {}).get("code") == "unknown_job_type", "the job says why it waits"
        )
        job = shown(stack, job_id)
        assert (job["state"], job["done"], job["error"]["waiting"], job["attempt"]) == ("queued", False, True, 0)
        assert "own.plain" in job["error"]["detail"]
        known = stack.submit("test.echo")
        assert stack.system.finished(known)["state"] == "succeeded", "the older worker does what it knows"
        stack.system.start("worker3")
        assert stack.system.finished(job_id)["state"] == "succeeded"
        job = shown(stack, job_id)
        assert (job["attempt"], job["error"]) == (1, None)
