"""A request for a job becomes one: its type found, its arguments checked, its commit shared with others."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import anyio.to_thread
from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import GristmillError, Invalid, NotFound, Violation
from gristmill.jobs.admission import Admission
from gristmill.jobs.group_commit import GroupCommit, Submission
from gristmill.jobs.idempotency import first_or
from gristmill.jobs.job_types.declaration import JobType
from gristmill.jobs.job_types.scopes import fields_in
from gristmill.jobs.repository.submit import Guard, now
from gristmill.jobs.submit import NewJob, WriteRequest, small_row, submit
from gristmill.kit.json_pointer import pointer_to

CheckDataset = Callable[[Connection, str], object]
"""Raises where there is no such dataset."""


class JobSubmission:
    """Submits jobs of declared types.

    check_dataset: asked about the dataset of a job, in the transaction that submits it.
    """

    def __init__(self, database: Database, admission: Admission, check_dataset: CheckDataset) -> None:
        self._database = database
        self._admission = admission
        self._check_dataset = check_dataset
        self._group = GroupCommit(database, Guard())

    async def submit(self, job_type: JobType, make: Callable[[], NewJob], request: WriteRequest) -> uuid.UUID:
        """Submit the job of the type that ``make`` returns, and return its id.

        Raises what ``make`` raises unless the request's key was used before; Invalid for a dataset that is not there,
        TooMany, IdempotencyKeyReused, DatabaseUnavailable.
        """
        try:
            job = await anyio.to_thread.run_sync(make)
        except GristmillError as error:
            return await anyio.to_thread.run_sync(partial(self._replay, request, error))
        row = small_row(job, request, checked=False) if job.dataset is None else None
        if row is not None and self._admission.admit(0):
            try:
                job_id = await self._group.submit(Submission(row, request))
            finally:
                self._count_off(request)
            if job_id is not None:
                return job_id
        return await anyio.to_thread.run_sync(partial(self._submit_alone, job_type, job, request))

    async def after(self, seconds: float) -> datetime:
        """Return the time so many seconds from now, by the clock that it will be compared with."""

        def ask() -> datetime:
            with self._database.autocommit() as connection:
                return now(connection) + timedelta(seconds=seconds)

        return await anyio.to_thread.run_sync(ask)

    def _replay(self, request: WriteRequest, error: GristmillError) -> uuid.UUID:
        """Return the job that the request made before, whatever has become of its type since; else raise."""

        def refuse() -> uuid.UUID:
            raise error

        return first_or(self._database, request.key, refuse)

    def _submit_alone(self, job_type: JobType, job: NewJob, request: WriteRequest) -> uuid.UUID:
        def make() -> uuid.UUID:
            self._admission.check()
            try:
                with self._database.transaction() as connection:
                    must_be_there(connection, self._check_dataset, job_type, job)
                    return submit(connection, job, request)
            finally:
                self._count_off(request)

        return first_or(self._database, request.key, make)

    def _count_off(self, request: WriteRequest) -> None:
        """Take back what was counted for a request that made no job."""
        if request.receipt.row is None:
            self._admission.give_back(0)


def must_be_there(connection: Connection, check_dataset: CheckDataset, job_type: JobType, job: NewJob) -> None:
    """Refuse a job whose dataset is not there. Raises Invalid that names the argument."""
    if job.dataset is None or job_type.dataset is None:
        return
    try:
        check_dataset(connection, job.dataset)
    except NotFound as error:
        fields = fields_in(job_type.dataset)
        pointer = pointer_to(["args", *fields[:1]]) if fields else "/type"
        violation = Violation(pointer, error.code, error.detail, field=pointer.rpartition("/")[2])
        raise Invalid(error.detail, [violation]) from error
