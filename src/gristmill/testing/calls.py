"""A function of a job type called within a transaction of the test's own."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection

from gristmill.core.config import load_settings
from gristmill.jobs.handlers import ChunkTask
from gristmill.jobs.job_types.declaration import JobType
from gristmill.jobs.job_types.functions import TransactionalFunction
from gristmill.jobs.job_types.new_job import new_job
from gristmill.jobs.job_types.transactions import Limits
from gristmill.kit.ids import uuid7


def call(
    job_type: JobType,
    args: BaseModel | Mapping[str, Any] | None,
    connection: Connection,
    *,
    attempt: int = 1,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any] | None:
    """Call a transactional function as a worker would and return its result as JSON; commit nothing.

    connection: in a transaction, which the test rolls back or commits afterwards. ``run.check`` and ``run.report`` do
    nothing. Raises what the function raises, Invalid for arguments that do not fit, ResultNotStorable and
    TransactionEnded as a worker would, and TypeError for an idempotent type: it needs a ``Sandbox``.
    """
    if job_type.idempotent:
        raise TypeError(f"{job_type.name} is idempotent and has no transaction: let a Sandbox run it")
    job = new_job(job_type, args)
    task = ChunkTask(
        job_id=uuid7(),
        type=job.type,
        seq=0,
        number=0,
        attempt=attempt,
        max_attempts=job.max_attempts,
        fence=attempt,
        args=job.args,
        dataset=job.dataset,
        scope=job.scope,
        exclusive=job.exclusive,
        first_record=0,
        records=0,
        payload=None,
        submitted_by="test",
        labels=dict(labels or {}),
    )
    handler = TransactionalFunction(job_type, Limits.of(job_type.queue, load_settings()))
    (outcome,) = handler.apply_all(connection, [(task, handler.prepare(task))])
    return outcome.result
