"""What clients ask of whole datasets: truncate, rename, copy. Each is an exclusive job."""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Invalid, Violation
from gristmill.datasets import repository
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.creation import is_free, make_visible
from gristmill.datasets.ddl import record_table
from gristmill.datasets.errors import ChangeUnderWay, DatasetExists
from gristmill.datasets.lookup import Dataset, DatasetLookup, scope_of
from gristmill.datasets.operations.schemas import CopyOf, NewName, read_body
from gristmill.datasets.parents.above import attach_above
from gristmill.datasets.parents.closure import rows_below, scopes_of_removal
from gristmill.datasets.parents.declare import begin_relations, refuse_for_children
from gristmill.datasets.parents.early import is_idle, undone
from gristmill.datasets.parents.relations import all_below
from gristmill.datasets.parents.removal import refuse_left
from gristmill.datasets.submit import submit_change
from gristmill.datasets.where import compile_where
from gristmill.jobs.admission import Admission
from gristmill.jobs.submit import NewJob, WriteRequest

TRUNCATE, RENAME, COPY = "dataset.truncate", "dataset.rename", "dataset.copy"


class DatasetOperations:
    """Each method submits one job and returns its id. All raise UnknownDataset and DatasetFailed."""

    def __init__(self, database: Database, admission: Admission, reader: DatasetLookup) -> None:
        self._database = database
        self._admission = admission
        self._reader = reader

    def truncate(self, name: str, request: WriteRequest) -> uuid.UUID:
        """Submit the job that deletes all records that were submitted before it, and those below that go with them.

        Raises ChildrenLeft where children keep them and nothing is unfinished that could change it.
        """

        def work(connection: Connection) -> tuple[NewJob, uuid.UUID, None]:
            # Locked, so that nothing below it is declared before the job has its number.
            dataset = self._reader.get(connection, name, lock=True)
            below = rows_below(connection, name)
            args = {"dataset_id": str(dataset.id), "below": [str(row.id) for row in below]}
            further = scopes_of_removal(dataset.contract, below)
            if below and is_idle(connection, [dataset.scope, *further]):
                with undone(connection):
                    relations = all_below(connection, dataset.contract)
                    refuse_left(connection, dataset.contract, sa.true(), relations)
            return _job(TRUNCATE, dataset, args, further), dataset.id, None

        return submit_change(self._database, self._admission, request, work)

    def rename(self, name: str, body: Any, request: WriteRequest) -> uuid.UUID:
        """Submit the job that renames the dataset and its table; until then it has its old name.

        Raises Invalid, DatasetExists, and ChangeUnderWay while the contract is being changed.
        """
        new = read_body(NewName, body).name
        if new == name:
            reason = f"The dataset is called {name} already: give another name"
            raise Invalid(reason, [Violation("/name", "unchanged", reason, field="name")])

        def work(connection: Connection) -> tuple[NewJob, uuid.UUID, int]:
            dataset = self._reader.get(connection, name, lock=True)
            if dataset.state != "ready" or dataset.version_state == "pending":
                raise ChangeUnderWay(f"The dataset {name} is being created or changed: rename it when that has ended")
            _refuse_taken(connection, new)
            refuse_for_children(connection, name, "renamed")
            contract = _renamed(dataset.contract, new).as_json()
            version = repository.insert_version(connection, dataset.id, contract)
            args = {"dataset_id": str(dataset.id), "version": version, "name": new}
            return _job(RENAME, dataset, args, {scope_of(new): True}), dataset.id, version

        return submit_change(self._database, self._admission, request, work)

    def copy(self, name: str, body: Any, request: WriteRequest) -> uuid.UUID:
        """Make a dataset with the contract of another one visible, and submit the job that copies the records.

        Raises Invalid, DatasetExists.
        """
        wanted = read_body(CopyOf, body)

        def work(connection: Connection) -> tuple[NewJob, uuid.UUID, int]:
            source = self._reader.get(connection, name)
            filtered = attach_above(connection, source.contract, wanted.where, visible=True)
            compile_where(wanted.where, filtered, record_table(filtered))
            embedder = repository.embedder_of(connection, source.id)
            contract = _renamed(source.contract, wanted.name)
            # It is alone with the parents: none of them goes while their children are copied.
            above = dict.fromkeys(begin_relations(connection, self._reader, contract), True)
            made = make_visible(connection, contract, embedder)
            if made is None:
                raise DatasetExists(f"There is a dataset {wanted.name} already")
            args = {
                "dataset_id": str(made[0]),
                "version": made[1],
                "source_id": str(source.id),
                "where": wanted.where,
            }
            job = NewJob(
                type=COPY,
                scope=scope_of(wanted.name),
                exclusive=True,
                args=args,
                dataset=wanted.name,
                queue="long",
                further_scopes={**above, source.scope: True},
            )
            return job, *made

        return submit_change(self._database, self._admission, request, work)


def _refuse_taken(connection: Connection, name: str) -> None:
    if not is_free(connection, name):
        raise DatasetExists(f"There is a dataset {name} already")


def _renamed(contract: Contract, name: str) -> Contract:
    return load_contract({**contract.as_json(), "name": name})


def _job(type_: str, dataset: Dataset, args: dict[str, Any], further: dict[str, bool] | None = None) -> NewJob:
    return NewJob(
        type=type_,
        scope=dataset.scope,
        exclusive=True,
        args=args,
        dataset=dataset.name,
        further_scopes=further or {},
    )
