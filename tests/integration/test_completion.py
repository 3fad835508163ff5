"""Waiting for jobs to finish: one read answers all whose jobs finished together, and none waits in vain."""

import asyncio
import socket
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import uvloop

from gristmill.bootstrap.shared import Gristmill
from gristmill.core.config import Settings
from gristmill.core.database import Database, Listener
from gristmill.core.errors import DatabaseUnavailable
from gristmill.jobs import completion
from gristmill.jobs.completion import JobCompletion
from gristmill.jobs.notifications import FINISHED

pytestmark = pytest.mark.promise(8)
Loops = Callable[[], asyncio.AbstractEventLoop]


class Waiting:
    """A process that waits, whose reads are counted."""

    def __init__(self, database_url: str) -> None:
        self.database: Database = Gristmill(Settings(database_url=database_url, log_level="error"), "test").database
        self.reads: list[set[uuid.UUID]] = []
        self.marks: set[uuid.UUID] = set()
        self.fails = False
        self.completion = JobCompletion(self.database, self.read)

    def read(self, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, Any]]:
        if wanted := set(job_ids) - self.marks:
            self.reads.append(wanted)
        if self.fails:
            raise DatabaseUnavailable("Postgres is away")
        return {job_id: {"id": str(job_id), "done": True} for job_id in job_ids}

    def finish(self, *job_ids: uuid.UUID) -> None:
        self.tell(",".join(map(str, job_ids)))

    def tell(self, payload: str) -> None:
        with self.database.autocommit() as connection:
            connection.exec_driver_sql(f"SELECT pg_notify('{FINISHED}', %(ids)s)", {"ids": payload})

    def run(self, test: Callable[[], Awaitable[None]], loop: Loops = asyncio.new_event_loop) -> None:
        async def whole() -> None:
            await self.completion.start()
            try:
                await asyncio.wait_for(test(), 60)
            finally:
                await self.completion.stop()

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(whole())

    async def heard(self) -> None:
        """Return when what was told before has been heard: a job of our own comes after it."""
        mark = uuid.uuid4()
        self.marks.add(mark)
        async with self.completion.of(mark) as future:
            while not future.done():
                await asyncio.to_thread(self.finish, mark)
                await asyncio.wait([future], timeout=0.2)


@pytest.fixture
def waiting(database_url: str) -> Waiting:
    return Waiting(database_url)


class TestWaiters:
    def test_jobs_that_finish_together_are_read_once_for_all_who_wait(self, waiting: Waiting) -> None:
        jobs = [uuid.uuid4() for _ in range(3)]

        async def wait(job_id: uuid.UUID) -> Any:
            async with waiting.completion.of(job_id) as future:
                return await future

        async def test() -> None:
            await waiting.heard()
            # Two clients wait for the first one, nobody for the last.
            tasks = [asyncio.create_task(wait(job_id)) for job_id in (jobs[0], jobs[0], jobs[1])]
            await asyncio.sleep(0)
            await asyncio.to_thread(waiting.finish, *jobs)
            bodies = await asyncio.gather(*tasks)
            assert [body["id"] for body in bodies] == [str(jobs[0]), str(jobs[0]), str(jobs[1])]
            assert waiting.reads == [set(jobs[:2])]

        waiting.run(test)

    def test_a_job_that_finished_before_anybody_waited_is_looked_at_at_once(self, waiting: Waiting) -> None:
        job_id = uuid.uuid4()

        async def test() -> None:
            await waiting.heard()
            await asyncio.to_thread(waiting.finish, job_id)
            await waiting.heard()
            async with waiting.completion.of(job_id, unread=True) as future:
                assert future.done()
                assert future.result() is None

        waiting.run(test)

    def test_a_job_that_was_retried_since_it_finished_is_waited_for(self, waiting: Waiting) -> None:
        """Whoever has read that it runs must not be told again and again that it has finished."""
        job_id = uuid.uuid4()

        async def test() -> None:
            await asyncio.to_thread(waiting.finish, job_id)
            await waiting.heard()
            async with waiting.completion.of(job_id) as future:
                assert not future.done()
                await asyncio.to_thread(waiting.finish, job_id)
                assert (await future)["id"] == str(job_id)

        waiting.run(test)

    def test_what_is_no_id_costs_no_other_its_notification(self, waiting: Waiting) -> None:
        job_id = uuid.uuid4()

        async def test() -> None:
            await waiting.heard()
            async with waiting.completion.of(job_id) as future:
                await asyncio.to_thread(waiting.tell, f"nonsense,,{job_id}")
                assert (await future)["id"] == str(job_id)

        waiting.run(test)

    def test_who_cannot_be_given_a_body_looks_by_himself(self, waiting: Waiting) -> None:
        job_id = uuid.uuid4()

        async def test() -> None:
            await waiting.heard()
            waiting.fails = True
            async with waiting.completion.of(job_id) as future:
                await asyncio.to_thread(waiting.finish, job_id)
                assert await future is None

        waiting.run(test)


class TestLostConnection:
    @pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
    def test_its_number_may_be_a_requests_in_the_same_moment(
        self, waiting: Waiting, loop: Loops, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The request is read, and the process listens again."""
        losses: list[str] = []
        accepted: list[asyncio.Task[Any]] = []

        class Reused(Listener):
            def drain(self) -> list[tuple[str, str]]:
                number = -1 if losses else self.fileno()
                try:
                    return super().drain()
                except DatabaseUnavailable as error:
                    losses.append(error.detail)
                    if number >= 0:
                        ours, theirs = socket.socketpair()
                        assert ours.fileno() == number, "the lowest number that is free"
                        theirs.sendall(b"GET /\n")
                        accepted.append(asyncio.create_task(read(ours, theirs)))
                    raise

        async def read(ours: socket.socket, theirs: socket.socket) -> bytes:
            reader, writer = await asyncio.open_connection(sock=ours)
            try:
                return await reader.readline()
            finally:
                writer.close()
                theirs.close()

        async def test() -> None:
            await waiting.heard()
            with waiting.database.autocommit() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND query LIKE 'LISTEN%%'"
                )
            await waiting.heard()
            assert await accepted[0] == b"GET /\n"
            assert len(losses) == 1

        monkeypatch.setattr(completion, "Listener", Reused)
        waiting.run(test, loop)
