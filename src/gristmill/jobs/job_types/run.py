"""What a function is given of the job that it carries out."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection

from gristmill.core.logs import get_logger
from gristmill.jobs.handlers import ChunkTask
from gristmill.jobs.job_types.declaration import JobType
from gristmill.jobs.job_types.new_job import new_job
from gristmill.jobs.job_types.transactions import JobDatabase
from gristmill.jobs.submit import WriteRequest, submit


class JobRun:
    """One attempt at a job.

    job_id, type, dataset, labels, submitted_by, request_id: of the job. attempt, max_attempts: from 1 on. fence: grows
    with every attempt, also with those that do not count; what an idempotent function makes is named by job and fence.
    """

    def __init__(
        self, task: ChunkTask, *, connection: Connection | None = None, database: JobDatabase | None = None
    ) -> None:
        self.job_id: uuid.UUID = task.job_id
        self.type: str = task.type
        self.dataset: str | None = task.dataset
        self.labels: Mapping[str, str] = task.labels
        self.submitted_by: str = task.submitted_by
        self.request_id: str = task.request_id
        self.attempt: int = task.attempt
        self.max_attempts: int = task.max_attempts
        self.fence: int = task.fence
        self._task = task
        self._connection = connection
        self._database = database

    @cached_property
    def log(self) -> Any:
        """A logger whose events have the job's id, the attempt and the request."""
        return get_logger().bind(job=str(self.job_id), attempt=self.attempt, request_id=self.request_id)

    @property
    def connection(self) -> Connection:
        """The job's transaction: what is written here is committed together with the job's end, or not at all.

        It cannot be committed, rolled back or closed; savepoints (``begin_nested``) can. Raises TypeError in an
        idempotent job.
        """
        if self._connection is None:
            raise TypeError("an idempotent job has no transaction of its own: use run.database.transaction()")
        return self._connection

    @property
    def database(self) -> JobDatabase:
        """The database, for transactions of an idempotent job. Raises TypeError in any other."""
        if self._database is None:
            raise TypeError(
                "what this job writes outside of run.connection would stay where the job is tried again: "
                "write to run.connection, or declare the job type idempotent"
            )
        return self._database

    @property
    def is_last_attempt(self) -> bool:
        """Whether the job fails for good if this attempt does."""
        return self.attempt >= self.max_attempts

    def check(self) -> None:
        """End the attempt, by an exception that must not be caught, if the job is cancelled or the worker shuts down.

        One statement; call it between steps.
        """
        self._task.check()

    def report(self, fraction: float) -> None:
        """Say which share of the job is done, 0 to 1: its ``progress``. Costs nothing."""
        self._task.report(fraction)

    def submit(
        self,
        job_type: JobType,
        args: BaseModel | Mapping[str, Any] | None = None,
        *,
        priority: int = 5,
        labels: Mapping[str, str] | None = None,
        run_at: datetime | None = None,
        max_attempts: int | None = None,
    ) -> uuid.UUID:
        """Submit another job in this job's transaction and return its id: there if this job succeeds, else not.

        It is submitted in the name of whoever submitted this one. Its scopes are locked until this job ends: do it
        last.
        Raises Invalid for arguments that do not fit, and TypeError in an idempotent job.
        """
        request = WriteRequest(
            principal=self.submitted_by, request_id=self.request_id, priority=priority, labels=dict(labels or {})
        )
        return submit(self.connection, new_job(job_type, args, max_attempts, run_at), request)
