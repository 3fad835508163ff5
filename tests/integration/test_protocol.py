"""The job protocol from submit to done, on real processes, with handlers made for the purpose."""

import uuid
from typing import Any

import pytest
from tests.support.system import System, eventually

from gristmill.core.database import Database
from gristmill.jobs.submit import NewChunk, NewJob, WriteRequest, submit_once


@pytest.fixture(scope="module")
def submit(system: System) -> Any:
    database = Database(system.database_url, "test-submit")

    def do(type_: str, chunks: int = 1, scope: str = "", exclusive: bool = False, **options: Any) -> str:
        args = options.pop("args", {})
        max_attempts = options.pop("max_attempts", 5)
        queue = options.pop("queue", "default")
        request = WriteRequest(principal="test", request_id="r", **options)
        parts = [NewChunk(n * 10, 10, f"chunk {n}".encode()) for n in range(chunks)]
        job = NewJob(
            type=type_, scope=scope or uuid.uuid4().hex, exclusive=exclusive, args=args, dataset=None, chunks=parts,
            max_attempts=max_attempts, queue=queue,
        )  # fmt: skip
        return str(submit_once(database, request, lambda _: job))

    yield do
    database.close()


def effects(system: System, job_id: str) -> list[dict[str, Any]]:
    return system.query("SELECT * FROM data.effects WHERE job_id = %s ORDER BY number", (job_id,))


class TestOutcome:
    def test_every_chunk_is_applied_once_and_counted(self, system: System, submit: Any) -> None:
        job_id = submit("test.echo", chunks=7)
        job = system.finished(job_id)
        assert (job["state"], job["chunks_done"], job["records_succeeded"]) == ("succeeded", 7, 70)
        assert [row["payload"] for row in effects(system, job_id)] == [f"chunk {n}" for n in range(7)]
        assert not system.query("SELECT 1 FROM gristmill.payloads WHERE job_id = %s", (job_id,))
        assert not system.query("SELECT 1 FROM gristmill.leases WHERE job_id = %s", (job_id,))

    def test_a_failing_chunk_leaves_the_others_and_is_named(self, system: System, submit: Any) -> None:
        job_id = submit("test.fail", chunks=3, args={"chunk": 1})
        job = system.finished(job_id)
        assert (job["state"], job["chunks_done"], job["chunks_failed"]) == ("failed", 2, 1)
        assert job["error"]["code"] == "conflict"
        assert job["error"]["chunk"] == 1
        assert job["error"]["records"] == {"first": 10, "last": 19}
        assert [row["number"] for row in effects(system, job_id)] == [0, 2]

    def test_a_retryable_error_goes_back_until_it_passes(self, system: System, submit: Any) -> None:
        job_id = submit("test.fail", args={"retryable": True, "until": 3})
        assert system.finished(job_id)["state"] == "succeeded"
        assert [row["attempt"] for row in effects(system, job_id)] == [3]

    def test_an_idempotent_handler_reports_its_result(self, system: System, submit: Any, tmp_path: Any) -> None:
        job_id = submit("test.outside", args={"folder": str(tmp_path)})
        assert system.finished(job_id)["result"] == {"fence": 1}
        assert (tmp_path / f"{job_id}.0").read_text() == "1"


class TestProgress:
    def test_a_chunk_that_reports_moves_the_progress_of_its_job(
        self, system: System, submit: Any, tmp_path: Any
    ) -> None:
        gate = tmp_path / "gate"
        job_id = submit("test.wait", chunks=2, args={"file": str(gate), "report": 0.25})
        with system.http() as http:

            def progress() -> float:
                return float(http.get(f"/api/v1/jobs/{job_id}").json()["progress"])

            # Two chunks run, a quarter of each is done.
            eventually(lambda: progress() == 0.25, lambda: f"a quarter is shown: {progress()}")
            gate.touch()
            system.finished(job_id)
            assert progress() == 1

    def test_a_chunk_that_has_ended_counts_whole_and_one_that_runs_by_its_share(
        self, system: System, submit: Any, tmp_path: Any
    ) -> None:
        gate = tmp_path / "gate"
        job_id = submit("test.wait", chunks=4, args={"file": str(gate), "report": 0.5, "waits": [1]})
        eventually(lambda: _progress(system, job_id) == 0.875, "three and a half of four are done")
        gate.touch()
        system.finished(job_id)
        assert _progress(system, job_id) == 1

    def test_a_failed_job_shows_what_was_done_and_goes_on_from_there_when_it_is_retried(
        self, system: System, submit: Any, tmp_path: Any
    ) -> None:
        unless, gate = tmp_path / "unless", tmp_path / "gate"
        job_id = submit("test.fail", chunks=4, args={"chunk": 1, "unless": str(unless), "file": str(gate)})
        assert system.finished(job_id)["state"] == "failed"
        assert _progress(system, job_id) == 0.75
        unless.touch()
        with system.http() as http:
            assert http.post(f"/api/v1/jobs/{job_id}/retry").json()["progress"] == 0.75
        eventually(lambda: system.job(job_id)["state"] == "succeeded", "the retry succeeds")
        assert _progress(system, job_id) == 1

    def test_a_cancelled_job_shows_what_was_done(self, system: System, submit: Any, tmp_path: Any) -> None:
        gate = tmp_path / "gate"
        job_id = submit("test.wait", chunks=5, args={"file": str(gate), "report": 0.5, "waits": [1, 2, 3]})
        eventually(lambda: _progress(system, job_id) > 0.2, "a chunk is done and others run")
        with system.http() as http:
            http.post(f"/api/v1/jobs/{job_id}/cancel")
        job = system.finished(job_id)
        assert job["state"] == "cancelled"
        assert _progress(system, job_id) == job["chunks_done"] / 5 < 1


def _progress(system: System, job_id: str) -> float:
    with system.http() as http:
        return float(http.get(f"/api/v1/jobs/{job_id}").json()["progress"])


class TestOrder:
    def test_an_exclusive_job_waits_and_later_ones_wait_for_it(
        self, system: System, submit: Any, tmp_path: Any
    ) -> None:
        gate = tmp_path / "gate"
        scope = uuid.uuid4().hex
        first = submit("test.wait", scope=scope, args={"file": str(gate)})
        exclusive = submit("test.echo", scope=scope, exclusive=True)
        later = submit("test.echo", scope=scope)
        elsewhere = submit("test.echo")
        system.finished(elsewhere)
        eventually(lambda: system.chunk(first)["state"] == "running", "the first job runs")
        assert system.chunk(exclusive)["state"] == system.chunk(later)["state"] == "waiting"
        gate.touch()
        for job_id in (first, exclusive, later):
            assert system.finished(job_id)["state"] == "succeeded"
        times = [effects(system, job_id)[0]["at"] for job_id in (first, exclusive, later)]
        assert times == sorted(times)
