"""Taking chunks from processes that have ended: from nobody else, and never from the attempt after theirs."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from gristmill.bootstrap.shared import Gristmill
from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.jobs.handlers import Registry
from gristmill.jobs.maintenance.rescue import Rescuer
from gristmill.jobs.outcome import Ended
from gristmill.jobs.repository import claim, rescue, settle
from gristmill.jobs.repository.dispatch import mark_sent
from gristmill.jobs.submit import NewChunk, NewJob, WriteRequest, submit_once

pytestmark = [pytest.mark.promise(2), pytest.mark.promise(8)]
REQUEST = WriteRequest(principal="test", request_id="r")
DEAD, ALIVE = "here:11/boot-1-5", "here:12/boot-1-6"


class Workers:
    """Claims chunks under any name, as the processes of several hosts would."""

    def __init__(self, database_url: str) -> None:
        self.gristmill = Gristmill(Settings(database_url=database_url, log_level="error"), "test")
        self.database: Database = self.gristmill.database
        self.rescuer = Rescuer(
            self.database,
            Registry(),
            self.gristmill.notifier,
            self.gristmill.counters,
            retry=self.gristmill.retry_policy,
            resend_after=60,
            grace=86_400,
        )

    def claimed(self, worker: str, max_attempts: int = 5) -> uuid.UUID:
        job = NewJob(
            type="test.none", scope=uuid.uuid4().hex, exclusive=False, args={}, dataset=None,
            chunks=[NewChunk(0, 1, b"")], max_attempts=max_attempts, queue="default",
        )  # fmt: skip
        job_id = uuid.UUID(str(submit_once(self.database, REQUEST, lambda _: job)))
        self.claim(job_id, worker)
        return job_id

    def claim(self, job_id: uuid.UUID, worker: str) -> None:
        with self.database.transaction() as connection:
            sent = [(m.job_id, m.number, m.dispatch) for m in mark_sent(connection, "default", 100)]
        with self.database.autocommit() as connection:
            rows = claim.claim_all(connection, [one for one in sent if one[0] == job_id], 60, worker)
        assert len(rows) == 1

    def free(self, has_ended: Callable[[str], bool] = lambda name: name == DEAD) -> int:
        return self.rescuer.free_ended("here:", has_ended)

    def chunk(self, job_id: uuid.UUID) -> tuple[Any, ...]:
        with self.database.autocommit() as connection:
            row = connection.exec_driver_sql(
                "SELECT c.state, c.fence, c.attempts, l.fence FROM gristmill.chunks c "
                "LEFT JOIN gristmill.leases l USING (job_id, number) WHERE job_id = %(id)s",
                {"id": str(job_id)},
            ).one()
        return tuple(row)


@pytest.fixture
def workers(database_url: str) -> Workers:
    return Workers(database_url)


class TestFreeEnded:
    def test_what_a_dead_process_held_goes_back_and_counts_its_attempt(self, workers: Workers) -> None:
        job_id = workers.claimed(DEAD)
        assert workers.free() == 1
        assert workers.chunk(job_id) == ("waiting", 1, 1, None)
        assert workers.free() == 0

    def test_others_keep_theirs(self, workers: Workers) -> None:
        dead = workers.claimed(DEAD)
        alive, elsewhere = workers.claimed(ALIVE), workers.claimed(DEAD.replace("here", "there"))
        assert workers.free() == 1
        assert workers.chunk(dead)[0] == "waiting"
        for job_id in (alive, elsewhere):
            assert workers.chunk(job_id) == ("running", 1, 1, 1)

    def test_an_attempt_that_began_since_the_look_is_left_alone(self, workers: Workers) -> None:
        job_id = workers.claimed(DEAD)

        def meanwhile(name: str) -> bool:
            with workers.database.transaction() as connection:
                settle.put_back(connection, job_id, 0, 1)
            workers.claim(job_id, ALIVE)
            return name == DEAD

        workers.free(meanwhile)
        assert workers.chunk(job_id) == ("running", 2, 2, 2)

    def test_a_chunk_that_is_just_being_ended_is_left_to_the_next_look(self, workers: Workers) -> None:
        """Postgres may still be committing what a process sent before it died."""
        job_id = workers.claimed(DEAD)
        with workers.database.transaction() as connection:
            assert settle.settle_done(connection, [settle.Done(job_id, 0, 1)])
            workers.free()
        assert workers.chunk(job_id) == ("done", 1, 1, None)

    def test_after_its_last_attempt_it_is_failed_and_names_host_and_process(self, workers: Workers) -> None:
        job_id = workers.claimed(DEAD, max_attempts=1)
        workers.free()
        assert workers.chunk(job_id)[0] == "failed"
        with workers.database.autocommit() as connection:
            error = connection.exec_driver_sql(
                "SELECT error FROM gristmill.jobs WHERE id = %(id)s", {"id": str(job_id)}
            ).scalar_one()
        assert error["code"] == "attempts_exhausted"
        assert error["detail"] == "The worker here:11 was lost at attempt 1 of 1"


class TestExpired:
    def test_after_a_start_of_postgres_workers_have_time_to_renew_their_leases(self, workers: Workers) -> None:
        """The Postgres of the tests has started less than a day ago."""
        job_id = workers.claimed(ALIVE)
        with workers.database.autocommit() as connection:
            connection.exec_driver_sql("UPDATE gristmill.leases SET expires_at = now() - interval '1 s'")
            assert rescue.list_expired(connection, 86_400) == []
            assert rescue.list_expired(connection, 0) == [(job_id, 0)]
        assert workers.rescuer.rescue_expired() == 0
        assert workers.chunk(job_id) == ("running", 1, 1, 1)


class TestResendLost:
    def test_only_what_nobody_claimed_is_sent_again(self, workers: Workers) -> None:
        claimed = workers.claimed(ALIVE)
        job = NewJob(
            type="test.none", scope="s", exclusive=False, args={}, dataset=None, chunks=[NewChunk(0, 1, b"")],
            max_attempts=5, queue="default",
        )  # fmt: skip
        job_id = uuid.UUID(str(submit_once(workers.database, REQUEST, lambda _: job)))
        with workers.database.transaction() as connection:
            (sent,) = mark_sent(connection, "default", 100)
        address = (sent.job_id, sent.number, sent.dispatch)
        assert workers.rescuer.resend_lost([(claimed, 0, 1), (job_id, 0, sent.dispatch + 1)]) == 0
        assert workers.rescuer.resend_lost([address]) == 1
        assert workers.chunk(job_id)[0] == "waiting"
        assert workers.rescuer.resend_lost([address]) == 0
        assert workers.chunk(claimed)[0] == "running"


class TestHowEnded:
    """What monitors are told of chunks whose process said nothing."""

    def ended(self, workers: Workers, job_id: uuid.UUID, dispatch: int = 1) -> Ended | None:
        return workers.rescuer.how_ended([(job_id, 0, dispatch)]).get((job_id, 0, dispatch))

    def test_what_still_runs_is_not_told(self, workers: Workers) -> None:
        assert self.ended(workers, workers.claimed(ALIVE)) is None

    def test_what_goes_back_comes_again(self, workers: Workers) -> None:
        job_id = workers.claimed(DEAD)
        workers.free()
        assert self.ended(workers, job_id) == Ended("retried", code="worker_lost")

    def test_so_does_what_was_sent_anew_before_anybody_looked(self, workers: Workers) -> None:
        job_id = workers.claimed(DEAD)
        with workers.database.transaction() as connection:
            settle.put_back(connection, job_id, 0, 1)
        workers.claim(job_id, ALIVE)
        assert self.ended(workers, job_id) == Ended("retried", code="worker_lost")
        assert self.ended(workers, job_id, 2) is None

    def test_what_went_back_by_itself_before_names_its_own_reason(self, workers: Workers) -> None:
        job_id = workers.claimed(DEAD)
        with workers.database.transaction() as connection:
            settle.put_back(connection, job_id, 0, 1, error={"code": "unavailable"})
        assert self.ended(workers, job_id) == Ended("retried", code="unavailable")

    def test_after_the_last_attempt_it_has_failed(self, workers: Workers) -> None:
        job_id = workers.claimed(DEAD, max_attempts=1)
        workers.free()
        assert self.ended(workers, job_id) == Ended("failed", "failed", "attempts_exhausted")

    def test_what_was_committed_before_the_end_was_done(self, workers: Workers) -> None:
        job_id = workers.claimed(DEAD)
        with workers.database.transaction() as connection:
            settle.settle_done(connection, [settle.Done(job_id, 0, 1)])
        workers.free()
        assert self.ended(workers, job_id) == Ended("done", "succeeded")

    def test_what_was_cancelled_is_and_what_nobody_knows_was_dropped(self, workers: Workers) -> None:
        job_id = workers.claimed(DEAD)
        with workers.database.transaction() as connection:
            settle.settle(connection, job_id, 0, 1, "cancelled")
        assert self.ended(workers, job_id) == Ended("cancelled", "cancelled")
        assert self.ended(workers, uuid.uuid4()) == Ended("dropped")
