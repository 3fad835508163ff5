"""Submitting the job of a change of a dataset, in the transaction that makes the change visible."""

import uuid
from collections.abc import Callable

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Invalid, Violation
from gristmill.datasets import repository
from gristmill.jobs.admission import Admission
from gristmill.jobs.idempotency import first_or
from gristmill.jobs.submit import NewJob, WriteRequest, submit

Work = Callable[[Connection], tuple[NewJob, uuid.UUID, int | None]]
"""Makes a change visible; returns its job, the dataset's id and the version that the job applies, or None."""


def submit_change(database: Database, admission: Admission, request: WriteRequest, work: Work) -> uuid.UUID:
    """Run ``work`` and submit its job in one transaction, unless the request's key was used: then the first job.

    Raises what ``work`` raises, Invalid, TooMany, IdempotencyKeyReused.
    """

    def make() -> uuid.UUID:
        if request.run_at is not None:
            reason = "Changes of datasets cannot be put off: records could not wait for a table in an unknown order"
            raise Invalid(reason, [Violation("/query/run_at", "not_applicable", reason, field="run_at")])
        admission.check()
        with database.transaction() as connection:
            job, dataset_id, version = work(connection)
            job_id = submit(connection, job, request)
            if version is not None:
                repository.set_version_job(connection, dataset_id, version, job_id)
            return job_id

    return first_or(database, request.key, make)
