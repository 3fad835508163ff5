"""A Gristmill in the process of a test: a Postgres, and a worker that works when it is told to."""

import contextlib
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel
from sqlalchemy import Connection

from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor
from gristmill.broker.queues import queue_names
from gristmill.core.config import load_settings
from gristmill.core.migrate import upgrade
from gristmill.jobs.handlers import Registry
from gristmill.jobs.job_types.declaration import JobType
from gristmill.jobs.job_types.functions import handler_of
from gristmill.jobs.job_types.transactions import Limits
from gristmill.jobs.maintenance.schedules import promote_scheduled
from gristmill.jobs.repository.dispatch import mark_sent
from gristmill.jobs.service import JobService
from gristmill.plugin import submit_job
from gristmill.stack.postgres import PostgresServer

# Seconds before a second attempt: a test need not wait for what is to happen.
_RETRY = 0.01
_POLL = 0.01


class Sandbox:
    """Carries out jobs of declared types; use it in a ``with`` block.

    database_url: an empty database with pgvector that belongs to the tests; it is migrated. Without it a Postgres is
    started in a temporary folder (the extra ``stack``), and is gone at the end.
    Raises StackFailed where Postgres is not installed or does not start.
    """

    def __init__(self, database_url: str | None = None) -> None:
        self._given = database_url
        self._stack = contextlib.ExitStack()
        self._registry = Registry()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            url = self._given or stack.enter_context(_postgres())
            upgrade(url)
            self._gristmill = Gristmill(load_settings(database_url=url, jobs_retry_base=_RETRY), "gristmill-testing")
            stack.callback(self._gristmill.database.close)
            self._jobs = JobService(self._gristmill.database, self._gristmill.notifier)
            self._executor = build_executor(self._gristmill, self._registry)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction for what a test puts there before, and looks at afterwards; committed at the end."""
        with self._gristmill.database.transaction() as connection:
            yield connection

    def run(
        self,
        job_type: JobType,
        args: BaseModel | Mapping[str, Any] | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        max_attempts: int | None = None,
        timeout: float = 60.0,
    ) -> dict[str, Any]:
        """Submit a job, carry it out with all its attempts, and return it as REST would show it: see ``state``.

        timeout: seconds after which no further attempt is begun; raises TimeoutError then. A function that does not end
        is not ended. Raises Invalid for arguments that do not fit. Does not look for the job's dataset.
        """
        with self.transaction() as connection:
            job_id = submit_job(connection, job_type, args, principal="test", labels=labels, max_attempts=max_attempts)
        deadline = time.monotonic() + timeout
        while True:
            self.work(job_type)
            job = self.job(job_id)
            if job["done"]:
                return job
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {timeout:g} s and {job['attempt']} attempts the job is {job['state']}")
            time.sleep(_POLL)

    def work(self, *job_types: JobType) -> int:
        """Carry out what is due of these types, and of those that ran before; return how many attempts that were.

        For jobs that another one has submitted. What belongs to other types waits.
        """
        database = self._gristmill.database
        for one in job_types:
            if one.name not in {handler.type for handler in self._registry}:
                self._registry.add(handler_of(one, database, Limits.of(one.queue, self._gristmill.settings)))
        done = 0
        promote_scheduled(database)
        while True:
            with database.transaction() as connection:
                messages = [one for queue in queue_names() for one in mark_sent(connection, queue, 1)]
            if not messages:
                return done
            for message in messages:
                self._executor.run(message.job_id, message.number, message.dispatch)
            done += len(messages)

    def job(self, job_id: uuid.UUID | str) -> dict[str, Any]:
        """Return a job as REST shows it. Raises NotFound."""
        return self._jobs.get(uuid.UUID(str(job_id)))


@contextlib.contextmanager
def _postgres() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="gristmill-testing-") as name:
        folder = Path(name)
        # Where root runs the tests, Postgres is another user's.
        folder.chmod(0o755)
        server = PostgresServer(folder / "postgres")
        server.start()
        try:
            yield server.url
        finally:
            server.kill()
