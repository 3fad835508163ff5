"""The job that gives a table its primary key, and the maintenance task that submits it."""

import uuid

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.datasets import ddl
from gristmill.datasets import repository as datasets
from gristmill.datasets.index_session import drop_index, open_session
from gristmill.datasets.lookup import DROPPED
from gristmill.datasets.primary_key import repository
from gristmill.datasets.repairs import Repairs
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.handlers import ChunkTask, IdempotentHandler, Outcome
from gristmill.jobs.submit import NewJob, submit_system_job, unfinished_in_scope

log = get_logger()
PRIMARY_KEY = "dataset.primary_key"
LOWEST_PRIORITY = 0


class PrimaryKeyHandler(IdempotentHandler):
    """Builds a unique index beside the old one, and exchanges them in one transaction. args: dataset_id.

    Its effect is named by the index: the next attempt takes one that is complete, and removes one that is not.
    """

    type = PRIMARY_KEY
    queue = "long"

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, task: ChunkTask) -> Outcome:
        dataset_id = uuid.UUID(task.args["dataset_id"])
        # Whoever was killed may go on building in its backend: its lock is waited for.
        with open_session(self._database, dataset_id, task.check) as session:
            name, key = self._find(dataset_id)
            index = f"{name}__pk"
            with self._database.autocommit() as connection:
                if repository.has_primary_key(connection, name):
                    return Outcome(result={"made": False})
                valid = repository.is_valid(connection, index)
            if valid is False:
                session.run(drop_index(index))
            if not valid:
                session.run(repository.create_index(index, name, key or ["_id"]))
            task.check()
            self._exchange(dataset_id)
        return Outcome(result={"made": True})

    def _find(self, dataset_id: uuid.UUID) -> tuple[str, list[str]]:
        """Return the name of the dataset and its key. Raises JobDropped."""
        with self._database.autocommit() as connection:
            row = datasets.find(connection, dataset_id)
        if row is None or row["state"] != "ready":
            raise JobDropped(DROPPED)
        return row["name"], row["contract"].get("key", [])

    def _exchange(self, dataset_id: uuid.UUID) -> None:
        with self._database.transaction() as connection:
            # By its present name: it may have been renamed, and the index with it.
            row = datasets.find(connection, dataset_id, lock=True)
            if row is None or row["state"] != "ready":
                raise JobDropped(DROPPED)
            name, keyed = row["name"], bool(row["contract"].get("key"))
            with ddl.limited(connection):
                old = f"{name}__key" if keyed else f"{name}__id"
                repository.exchange(connection, name, f"{name}__pk", old, constraint=keyed)
        log.info("primary_key.made", dataset=name)


def primary_keys(database: Database) -> Repairs:
    """Return what finds tables without a primary key, which releases before this one have made."""
    return Repairs(database, repository.list_without, _submit)


def _submit(connection: Connection, dataset_id: uuid.UUID, name: str) -> bool:
    if unfinished_in_scope(connection, _scope(dataset_id)):
        return False
    submit_system_job(connection, primary_key_job(dataset_id, name), LOWEST_PRIORITY)
    return True


def primary_key_job(dataset_id: uuid.UUID, name: str) -> NewJob:
    """Return the job for a dataset. Its scope is its own: it neither waits for writes nor delays them."""
    return NewJob(
        type=PRIMARY_KEY,
        scope=_scope(dataset_id),
        exclusive=True,
        args={"dataset_id": str(dataset_id)},
        dataset=name,
        queue="long",
    )


def _scope(dataset_id: uuid.UUID) -> str:
    return f"primary_key:{dataset_id}"
