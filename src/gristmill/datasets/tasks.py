"""Handlers of the jobs that create, alter and drop the table of a dataset, each in one transaction.

They are exclusive in the dataset's scope: no other job of the name runs beside them, and they run in order.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import DATA_SCHEMA
from gristmill.datasets import ddl, repository
from gristmill.datasets.contract import load_contract
from gristmill.datasets.errors import ChangeFailed, DatasetFailed, UnknownDataset
from gristmill.datasets.extensions import DatasetExtension
from gristmill.datasets.field_indexes.tasks import submit_build
from gristmill.datasets.lookup import DROPPED
from gristmill.datasets.parents.judge import check_table
from gristmill.datasets.parents.relations import Relations
from gristmill.datasets.schemas import contract_tag
from gristmill.datasets.service import ALTER, CREATE, DROP
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.handlers import ChunkTask, Outcome, TransactionalHandler


class DatasetHandler(TransactionalHandler):
    """What handlers of changes of datasets share. args: dataset_id."""

    def __init__(self, extensions: Sequence[DatasetExtension] = ()) -> None:
        self.extensions = extensions

    def failed(self, connection: Connection, task: ChunkTask, problem: dict[str, Any]) -> None:
        """Show at once that the change will not come; the job is in its final state already."""
        repository.fail_abandoned(connection, id_of(task))

    def dataset(self, connection: Connection, task: ChunkTask) -> repository.Row:
        """Return the job's dataset, locked. Raises JobDropped if it is being dropped."""
        row = repository.find(connection, id_of(task), lock=True)
        if row is None:
            raise UnknownDataset(f"There is no dataset with the id {id_of(task)}")
        if row["state"] in ("dropping", "dropped"):
            raise JobDropped(DROPPED)
        return row

    def clear(self, connection: Connection, name: str) -> None:
        """Drop the table of an earlier dataset of the name whose drop was cancelled or failed for good.

        This job runs alone in the scope, after every job of that dataset: nobody needs the table any more.
        """
        owner = ddl.table_owner_id(connection, name)
        earlier = None if owner is None else repository.find(connection, owner, lock=True)
        if earlier is not None and earlier["state"] in ("dropping", "dropped"):
            _drop(connection, earlier, self.extensions)

    def finish_creation(self, connection: Connection, dataset_id: uuid.UUID, name: str, version: int) -> None:
        """Make a dataset ready whose table was just made."""
        for extension in self.extensions:
            extension.on_create(connection, dataset_id, name)
        repository.set_version_state(connection, dataset_id, version, "applied")
        repository.set_state(connection, dataset_id, "ready")


class CreateHandler(DatasetHandler):
    """``dataset.create``: makes the table and the dataset ready; or says that they are there, with ``present``."""

    type = CREATE

    def __init__(self, extensions: Sequence[DatasetExtension], relations: Relations) -> None:
        super().__init__(extensions)
        self._relations = relations

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        row = self.dataset(connection, task)
        if task.args.get("present"):
            return _present(connection, row)
        version = task.args["version"]
        created = repository.find_version(connection, row["id"], version)
        assert created is not None
        contract = load_contract(created["contract"])
        # Those of its parents have to be there.
        self._relations.above(connection, contract)
        self.clear(connection, contract.name)
        ddl.create_table(connection, contract, row["id"])
        self.finish_creation(connection, row["id"], row["name"], version)
        return Outcome(result={"table": f"{DATA_SCHEMA}.{contract.name}", "created": True})


class AlterHandler(DatasetHandler):
    """``dataset.alter``: brings the table from the applied version to the job's.

    Records that are there have to have the parents that it declares, and keep their limits.
    """

    type = ALTER

    def __init__(self, extensions: Sequence[DatasetExtension], relations: Relations) -> None:
        super().__init__(extensions)
        self._relations = relations

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        row = self.dataset(connection, task)
        version = task.args["version"]
        applied = repository.find_applied(connection, row["id"])
        wanted = repository.find_version(connection, row["id"], version)
        if applied is None or wanted is None:
            why = (row["error"] or {}).get("detail", "the reason is not known any more")
            raise DatasetFailed(f"The dataset {row['name']} was not created, so there is nothing to change: {why}")
        if wanted["state"] == "failed" and repository.has_later_version(connection, row["id"], version):
            # A retry: the later change was made from a contract without this one.
            raise ChangeFailed(f"The contract was changed since: version {version} is no longer wanted")
        for extension in self.extensions:
            extension.on_alter(connection, row["id"], row["name"])
        contract, before = load_contract(wanted["contract"]), load_contract(applied["contract"])
        ddl.apply_alter(connection, before, contract)
        for relation in self._relations.above(connection, contract):
            if relation.spec not in before.parents:
                check_table(connection, relation)
        building = submit_build(connection, row["id"], contract)
        repository.set_version_state(connection, row["id"], version, "applied")
        if row["version"] <= version:
            repository.show_version(connection, row["id"], version, wanted["contract"])
            repository.set_state(connection, row["id"], row["state"])
        result = {"version": version, "etag": str(contract_tag(row["id"], version))}
        return Outcome(result=result | ({} if building is None else {"indexes_job": str(building)}))


class DropHandler(DatasetHandler):
    """``dataset.drop``: removes the table, having told those who build on it."""

    type = DROP

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        row = repository.find(connection, id_of(task), lock=True)
        if row is not None and row["state"] != "dropped":
            _drop(connection, row, self.extensions)
        return Outcome()

    def failed(self, connection: Connection, task: ChunkTask, problem: dict[str, Any]) -> None:
        """The dataset stays ``dropping``: the job may be retried, and creating the name anew drops the table too."""


def require_ready(connection: Connection, row: repository.Row) -> None:
    """Raise DatasetFailed if the dataset's creation, which came before this job, has come to nothing."""
    if row["state"] != "ready":
        repository.fail_abandoned(connection, row["id"])
        raise DatasetFailed(f"The dataset {row['name']} was not created: see its error, and create it anew")


def _present(connection: Connection, row: repository.Row) -> Outcome:
    """Answer a create of what was there already."""
    require_ready(connection, row)
    return Outcome(result={"table": f"{DATA_SCHEMA}.{row['name']}", "created": False})


def _drop(connection: Connection, row: repository.Row, extensions: Sequence[DatasetExtension]) -> None:
    for extension in extensions:
        extension.on_drop(connection, row["id"], row["name"])
    ddl.drop_table(connection, row["name"], row["id"])
    repository.set_state(connection, row["id"], "dropped")


def id_of(task: ChunkTask) -> uuid.UUID:
    return uuid.UUID(task.args["dataset_id"])
