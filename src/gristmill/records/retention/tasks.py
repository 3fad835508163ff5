"""Deletion by age: the job ``records.expire``, the task that submits it, and what the dataset's body shows of it."""

import time
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.database import Database, is_undefined_table
from gristmill.core.logs import get_logger
from gristmill.datasets.lookup import Dataset, scope_of
from gristmill.datasets.types import TYPES
from gristmill.jobs.handlers import ChunkTask, IdempotentHandler, Outcome
from gristmill.jobs.repository import scopes
from gristmill.jobs.submit import NewJob, submit_system_job, unfinished_in_scope
from gristmill.kit.timestamps import rfc3339
from gristmill.records.retention import repository

log = get_logger()
EXPIRE = "records.expire"
# Locks on so many rows are held at once, for some tens of milliseconds.
ROWS_PER_TRANSACTION = 5000
# A job gives its worker back after this time; the next run goes on.
SECONDS_PER_JOB = 20.0
# Jobs that write go first.
PRIORITY = 1


class ExpireHandler(IdempotentHandler):
    """Deletes what is older than the contract's ``keep``, in transactions of its own; another attempt continues.

    args: dataset_id. It runs while the dataset is written to: see ``repository`` for why that changes no outcome.
    """

    type = EXPIRE

    def __init__(self, database: Database, count: Callable[[str, int], None] = lambda name, deleted: None) -> None:
        """count: is told the dataset's name and how many records were deleted."""
        self._database = database
        self._count = count

    def run(self, task: ChunkTask) -> Outcome:
        dataset_id = uuid.UUID(task.args["dataset_id"])
        with self._database.autocommit() as connection:
            found = repository.expiring_datasets(connection, dataset_id)
            if not found:
                return Outcome(result={"deleted": 0})
            cutoff = repository.cutoff_of(connection, found[0])
        with self._database.transaction() as connection:
            horizon = scopes.horizon(connection, scope_of(found[0].name))
        total, ends = 0, time.monotonic() + SECONDS_PER_JOB
        while True:
            task.check()
            deleted = self._delete_some(dataset_id, cutoff, horizon)
            total += deleted
            if deleted < ROWS_PER_TRANSACTION or time.monotonic() > ends:
                break
        self._count(found[0].name, total)
        kind = TYPES[found[0].contract.field(found[0].contract.time_field or "").type]
        return Outcome(result={"deleted": total, "before": kind.to_json(cutoff)})

    def _delete_some(self, dataset_id: uuid.UUID, cutoff: Any, horizon: int) -> int:
        try:
            with self._database.transaction() as connection:
                # Asked each time: the contract may let records stay longer by now, or the dataset may be gone.
                found = repository.expiring_datasets(connection, dataset_id, lock=True)
                if not found or repository.cutoff_of(connection, found[0]) < cutoff:
                    return 0
                return repository.delete_old(connection, found[0], cutoff, horizon, ROWS_PER_TRANSACTION)
        except DBAPIError as error:
            if is_undefined_table(error):
                return 0
            raise


class Retention:
    """Checks every dataset with ``keep`` regularly, and submits a job where something is too old."""

    def __init__(self, database: Database, max_attempts: int) -> None:
        self._database = database
        self._max_attempts = max_attempts

    def run(self) -> int:
        """Submit what is due and return the number of jobs."""
        with self._database.autocommit() as connection:
            found = repository.expiring_datasets(connection)
        return sum(self._look(dataset) for dataset in found)

    def _look(self, dataset: repository.ExpiringDataset) -> bool:
        try:
            with self._database.transaction() as connection:
                if not repository.has_old_records(connection, dataset, repository.cutoff_of(connection, dataset)):
                    repository.note_run(connection, dataset.id)
                    return False
                if unfinished_in_scope(connection, _scope(dataset.id)):
                    return False
                job_id = submit_system_job(connection, self._job(dataset), PRIORITY)
        except DBAPIError as error:
            if is_undefined_table(error):
                return False
            raise
        log.info("retention.due", dataset=dataset.name, job=str(job_id))
        return True

    def _job(self, dataset: repository.ExpiringDataset) -> NewJob:
        return NewJob(
            type=EXPIRE,
            scope=_scope(dataset.id),
            exclusive=True,
            args={"dataset_id": str(dataset.id)},
            dataset=dataset.name,
            max_attempts=self._max_attempts,
        )


def retention_state(connection: Connection, dataset: Dataset) -> dict[str, Any]:
    """Return what the dataset's body shows: keep, last_run (null before the first), deleted."""
    row = repository.find_state(connection, dataset.id)
    last_run, deleted = (None, 0) if row is None else row
    return {"keep": dataset.contract.keep, "last_run": rfc3339(last_run), "deleted": deleted}


def forget_retention(connection: Connection, dataset_id: uuid.UUID, _name: str) -> None:
    """Forget what was noted of a dataset, in the transaction that drops it."""
    repository.forget(connection, dataset_id)


def _scope(dataset_id: uuid.UUID) -> str:
    """Return the scope of these jobs: not the dataset's own, as they neither wait for writes nor delay them."""
    return f"expire:{dataset_id}"
