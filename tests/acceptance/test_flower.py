"""What Flower and Celery's own tools say of chunks is what became of them: each by its own id, and every job by its."""

import contextlib
import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.faults import FaultStack
from tests.support.flower import Flower, flower_settings
from tests.support.folders import open_folder
from tests.support.ledger import Ledger, batch
from tests.support.servers import WANTED
from tests.support.system import eventually

from gristmill.broker.app import make_celery
from gristmill.core.config import Settings
from gristmill.dispatcher.publisher import Publisher
from gristmill.jobs.repository.dispatch import Message

pytestmark = pytest.mark.promise(8)


@pytest.fixture(scope="module")
def watched() -> Iterator[FaultStack]:
    """Servers and processes of which one is Flower."""
    with open_folder() as folder:
        found = FaultStack(folder / "watched", WANTED, jobs_resend_after=60, **flower_settings())
        found.heal()
        yield found
        found.close()


@pytest.fixture(scope="module")
def flower(watched: FaultStack) -> Flower:
    return Flower(watched.system).start()


@pytest.fixture
def stack(watched: FaultStack, flower: Flower) -> FaultStack:
    watched.ensure("worker")
    return watched


@contextlib.contextmanager
def together(stack: FaultStack) -> Iterator[None]:
    """Let what is submitted in the block fall due at once: no dispatcher chooses anything meanwhile."""
    with stack.locked("SELECT pg_advisory_lock(7041, 1)"):
        yield


def messages_of(stack: FaultStack, job_id: str) -> list[list[str]]:
    """The jobs of each bundle that the job was in."""
    return [found["jobs"] for found in stack.events("dispatcher", "bundle.sent") if job_id in found["jobs"]]


class TestChunk:
    def test_that_was_done_is_a_success_and_names_dataset_records_and_outcome(
        self, stack: FaultStack, flower: Flower
    ) -> None:
        ledger = Ledger(stack.system)
        job_id = ledger.post(batch(7))
        assert stack.system.finished(job_id)["state"] == "succeeded"
        found = flower.task(f"{job_id}.0.1", "SUCCESS")
        assert (found["name"], found["args"]) == ("records.ingest", f"('{job_id}', 0, 1)")
        assert found["kwargs"] == str({"dataset": ledger.name, "chunk": 0, "records": 7, "by": "local"})
        assert found["result"] == "done: 7 succeeded; job succeeded"
        assert found["exception"] is None
        assert found["received"] <= found["started"] <= found["succeeded"]
        assert found["worker"].startswith("default-")
        assert job_id in str(flower.search(f"kwargs:dataset={ledger.name}"))
        assert job_id in str(flower.search(f"kwargs:dataset={ledger.name} kwargs:by=local"))

    def test_of_a_job_type_of_ones_own_is_named_by_the_type(self, stack: FaultStack, flower: Flower) -> None:
        with stack.system.http() as http:
            body = {"type": "own.report", "args": {"name": "May"}}
            job_id = http.post("/api/v1/jobs?wait=30", json=body).json()["id"]
        found = flower.task(f"{job_id}.0.1", "SUCCESS")
        assert (found["name"], found["result"]) == ("own.report", "done: 0 succeeded; job succeeded")
        assert "May" not in str(found)

    def test_that_failed_is_a_failure_with_the_code_of_the_job_and_no_word_of_its_data(
        self, stack: FaultStack, flower: Flower
    ) -> None:
        job_id = stack.submit("test.fail")
        error = stack.system.finished(job_id)["error"]
        found = flower.task(f"{job_id}.0.1", "FAILURE")
        assert found["exception"] == error["code"]
        assert found["result"] == f"failed: {error['code']}; job failed"
        assert found["traceback"] is None
        assert error["detail"] not in str(found)

    def test_that_was_cancelled_is_revoked(self, stack: FaultStack, flower: Flower, tmp_path: Path) -> None:
        job_id = stack.submit("test.wait", args={"file": str(tmp_path / "never")})
        stack.running(job_id)
        flower.task(f"{job_id}.0.1", "STARTED")
        with stack.system.http() as http:
            assert http.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 202
        assert stack.system.finished(job_id)["state"] == "cancelled"
        assert flower.task(f"{job_id}.0.1", "REVOKED")["result"] == "cancelled; job cancelled"

    def test_whose_message_is_stale_is_revoked_and_what_it_was_stays(self, stack: FaultStack, flower: Flower) -> None:
        job_id = stack.submit("test.echo")
        stack.system.finished(job_id)
        flower.task(f"{job_id}.0.1", "SUCCESS")
        publisher = Publisher(make_celery(Settings(broker_url=stack.system.broker_url), confirm=True), 5)
        for dispatch in (1, 7):
            publisher.publish("default", [Message(uuid.UUID(job_id), 0, dispatch, "test.echo", 5, 1)])
        publisher.close()
        # Messages come one after the other, and so do their events.
        assert flower.task(f"{job_id}.0.7", "REVOKED")["result"] == "dropped: the message was stale"
        assert flower.state(f"{job_id}.0.1") == "SUCCESS"

    def test_that_comes_again_is_a_retry_and_its_next_attempt_a_task_of_its_own(
        self, stack: FaultStack, flower: Flower
    ) -> None:
        job_id = stack.submit("test.fail", args={"retryable": True, "until": 2})
        assert stack.system.finished(job_id)["state"] == "succeeded"
        assert flower.task(f"{job_id}.0.2", "SUCCESS")
        found = flower.task(f"{job_id}.0.1", "RETRY")
        assert found["exception"] == stack_code(stack, job_id)
        assert set(flower.search(job_id)) == {f"{job_id}.0.1", f"{job_id}.0.2"}

    def test_of_several_has_its_own_outcome(self, stack: FaultStack, flower: Flower) -> None:
        job_id = stack.submit("test.fail", chunks=3, args={"chunk": 1})
        assert stack.system.finished(job_id)["state"] == "failed"
        flower.task(f"{job_id}.0.1", "SUCCESS")
        flower.task(f"{job_id}.1.1", "FAILURE")
        flower.task(f"{job_id}.2.1", "SUCCESS")
        assert len(flower.search(job_id)) == 3


def stack_code(stack: FaultStack, job_id: str) -> str:
    """The code with which the worker sent the chunk back."""
    return str(stack.events("worker", "chunk.retried", job=job_id)[0]["code"])


class TestBundle:
    def test_every_member_is_a_task_and_the_one_that_fails_fails_alone(self, stack: FaultStack, flower: Flower) -> None:
        with together(stack):
            bad = stack.submit("test.shared", args={"fail": True})
            good = [stack.submit("test.shared") for _ in range(4)]
        for job_id in (*good, bad):
            stack.system.finished(job_id)
        (message,) = messages_of(stack, bad)
        assert len(message) > 1, "the one that fails was in a bundle"
        for job_id in good:
            assert flower.task(f"{job_id}.0.1", "SUCCESS")["result"] == "done: 10 succeeded; job succeeded"
        assert flower.task(f"{bad}.0.1", "FAILURE")["exception"] == "conflict"

    def test_each_of_a_hundred_jobs_is_found_by_its_id_and_counted_as_what_it_was(
        self, stack: FaultStack, flower: Flower
    ) -> None:
        with together(stack):
            jobs = [stack.submit("test.shared", args={"fail": number % 10 == 3}) for number in range(100)]
        for job_id in jobs:
            stack.system.finished(job_id)
        assert any(len(message) > 1 for message in messages_of(stack, jobs[50]))

        def found() -> bool:
            return all((flower.state(job_id) or "") in ("SUCCESS", "FAILURE") for job_id in jobs)

        eventually(found, "Flower knows how all of them ended", 60)
        assert Counter(flower.state(job_id) for job_id in jobs) == {"SUCCESS": 90, "FAILURE": 10}
        for job_id in jobs:
            assert set(flower.search(job_id)) == {f"{job_id}.0.1"}

    def test_the_number_of_each_state_is_that_of_the_chunks(self, stack: FaultStack, flower: Flower) -> None:
        """Over everything that this module has submitted so far."""

        def truth() -> Counter[str]:
            rows = stack.system.query("SELECT state, count(*) FROM gristmill.chunks GROUP BY state")
            return Counter({row["state"]: row["count"] for row in rows})

        assert not truth().keys() - {"done", "failed", "cancelled"}
        eventually(lambda: flower.states("")["SUCCESS"] == truth()["done"], lambda: str(flower.states("")))
        assert flower.states("")["FAILURE"] == truth()["failed"]


class TestLostProcess:
    def test_a_chunk_that_killed_its_process_is_a_retry(self, stack: FaultStack, flower: Flower) -> None:
        job_id = stack.submit("test.crash", args={"until": 2})
        assert stack.system.finished(job_id)["state"] == "succeeded"
        assert flower.task(f"{job_id}.0.1", "RETRY")["exception"] == "worker_lost"
        flower.task(f"{job_id}.0.2", "SUCCESS")

    def test_and_a_failure_at_its_last_attempt(self, stack: FaultStack, flower: Flower) -> None:
        job_id = stack.submit("test.crash", max_attempts=1)
        assert stack.system.finished(job_id)["error"]["code"] == "attempts_exhausted"
        found = flower.task(f"{job_id}.0.1", "FAILURE")
        assert (found["exception"], found["traceback"]) == ("attempts_exhausted", None)

    def test_those_that_were_in_its_bundle_are_told_each_for_itself(self, stack: FaultStack, flower: Flower) -> None:
        with together(stack):
            killer = stack.submit("test.shared", args={"kill": True}, max_attempts=2)
            others = [stack.submit("test.shared") for _ in range(5)]
        for job_id in (*others, killer):
            stack.system.finished(job_id)
        flower.task(f"{killer}.0.1", "RETRY")
        flower.task(f"{killer}.0.2", "FAILURE")
        (message,) = messages_of(stack, killer)
        neighbours = set(message) - {killer}
        assert neighbours
        for job_id in neighbours:
            assert flower.task(f"{job_id}.0.1", "RETRY")["exception"] == "worker_lost"
            flower.task(f"{job_id}.0.2", "SUCCESS")

    def test_what_a_worker_gives_back_at_its_end_is_a_retry(
        self, stack: FaultStack, flower: Flower, tmp_path: Path
    ) -> None:
        stack.system.terminate("worker")
        stack.system.start("worker", worker_drain_seconds=0)
        job_id = stack.submit("test.wait", args={"file": str(tmp_path / "gate")})
        stack.running(job_id)
        stack.system.terminate("worker")
        assert flower.task(f"{job_id}.0.1", "RETRY")["exception"] == "drained"
        (tmp_path / "gate").touch()
        # The dispatcher's event makes it known. The worker may have received it too, in its last moment.
        waits = {"PENDING", "RECEIVED"}
        eventually(lambda: flower.state(f"{job_id}.0.2") in waits, lambda: f"it waits: {flower.info(f'{job_id}.0.2')}")
        assert flower.state(job_id) in waits, "it is found by the job's id"
        stack.system.start("worker")
        flower.task(f"{job_id}.0.2", "SUCCESS")


class TestPages:
    @pytest.mark.parametrize("path", ["/metrics", "/api/tasks", "/broker", "/tasks"])
    def test_each_asks_for_the_password(self, flower: Flower, path: str) -> None:
        assert httpx.get(flower.url + path).status_code == 401
        assert httpx.get(flower.url + path, auth=("gristmill", "wrong")).status_code == 401
        assert flower.http.get(path).status_code == 200

    def test_metrics_count_failures_apart(self, stack: FaultStack, flower: Flower) -> None:
        job_id = stack.submit("test.fail")
        flower.task(f"{job_id}.0.1", "FAILURE")
        assert 'task="test.fail",type="task-failed"' in flower.http.get("/metrics").text

    def test_the_broker_page_shows_the_queues(self, stack: FaultStack, flower: Flower) -> None:
        page = flower.http.get("/broker").text
        assert "gristmill.default" in page
        queues = {found["name"]: found for found in flower.http.get("/api/queues/length").json()["active_queues"]}
        assert queues["gristmill.default"]["messages"] == 0

    def test_a_task_has_its_page_under_its_id_and_under_that_of_the_job(
        self, stack: FaultStack, flower: Flower
    ) -> None:
        job_id = stack.submit("test.echo")
        flower.task(f"{job_id}.0.1", "SUCCESS")
        for id_ in (job_id, f"{job_id}.0.1"):
            assert "test.echo" in flower.http.get(f"/task/{id_}").text
        assert flower.http.get(f"/task/{uuid.uuid4()}").status_code == 404


class TestCelery:
    def test_inspect_names_what_runs(self, stack: FaultStack, flower: Flower, tmp_path: Path) -> None:
        job_id = stack.submit("test.wait", args={"file": str(tmp_path / "gate")})
        stack.running(job_id)

        def shows(what: str, said: str) -> bool:
            # It waits for answers as long as the timeout says, however many have come; without one it fails.
            done = flower.command("inspect", what, "--json", "--timeout", "1")
            return done.returncode == 0 and said in done.stdout

        eventually(lambda: shows("active", f"{job_id}.0.1"), "the job is shown", 60)
        eventually(lambda: shows("stats", '"default-'), "the worker is shown", 60)
        (tmp_path / "gate").touch()
        stack.system.finished(job_id)

    def test_a_stock_dump_of_the_events_shows_each_chunk(self, stack: FaultStack, flower: Flower) -> None:
        with flower.dump() as dump:
            try:
                assert dump.stdout is not None
                eventually(lambda: "heartbeat" in (dump.stdout.readline() if dump.stdout else ""), "it listens")
                with together(stack):
                    jobs = [stack.submit("test.shared", args={"fail": number == 1}) for number in range(3)]
                wanted = {(f"{job_id}.0.1", "failed" if job_id == jobs[1] else "succeeded") for job_id in jobs}
                while wanted:
                    line = dump.stdout.readline()
                    wanted = {(id_, how) for id_, how in wanted if not (id_ in line and how in line)}
            finally:
                os.kill(dump.pid, signal.SIGKILL)

    def test_a_message_of_somebody_else_is_refused_and_the_worker_goes_on(
        self, stack: FaultStack, flower: Flower
    ) -> None:
        answer = flower.http.post("/api/task/send-task/test.echo", json={"args": ["no id"]})
        assert answer.status_code == 200
        job_id = stack.submit("test.echo")
        flower.task(f"{job_id}.0.1", "SUCCESS")
