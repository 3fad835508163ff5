"""The job that builds the indexes which a change of the contract asks for."""

import contextlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.datasets import ddl
from gristmill.datasets import repository as datasets
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.errors import IndexBuildInterrupted
from gristmill.datasets.field_indexes import repository
from gristmill.datasets.field_indexes.repository import list_wanted
from gristmill.datasets.index_session import drop_index, open_session
from gristmill.datasets.lookup import DROPPED
from gristmill.datasets.repairs import Repairs
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.handlers import ChunkTask, IdempotentHandler, Outcome
from gristmill.jobs.repository.read import list_last_failed
from gristmill.jobs.submit import NewJob, submit_system_job, unfinished_in_scope

log = get_logger()
FIELD_INDEXES = "dataset.indexes"


class FieldIndexesHandler(IdempotentHandler):
    """Builds the indexes that the table lacks, one by one. args: dataset_id.

    Its effects are named by the contract: the next attempt keeps those that are complete, and removes one that is not.
    """

    type = FIELD_INDEXES
    queue = "long"

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, task: ChunkTask) -> Outcome:
        dataset_id = uuid.UUID(task.args["dataset_id"])
        made: list[str] = []
        # Whoever was killed may go on building in its backend: its lock is waited for.
        with open_session(self._database, dataset_id, task.check) as session:
            while (due := self._look(dataset_id)).statements:
                try:
                    for statement in due.statements:
                        session.run(statement)
                except JobDropped as error:
                    self._refuse_renamed(dataset_id, due.table, error)
                    raise
                if due.builds is not None:
                    log.info("field_index.made", dataset=due.table, index=due.builds)
                    made.append(due.builds)
                    task.report(len(made) / (len(made) + due.left))
                self._refuse_renamed(dataset_id, due.table)
            # Of a member the planner knows nothing until its index is analysed, perhaps by an attempt before.
            with contextlib.suppress(JobDropped):
                session.run(repository.analyze(due.table))
        return Outcome(result={"made": made})

    def _look(self, dataset_id: uuid.UUID) -> "_Due":
        """Return what is to be done next for the table of a dataset. Raises JobDropped."""
        with self._database.autocommit() as connection:
            contract = self._contract(connection, dataset_id)
            built = repository.list_built(connection, contract.name)
            wanted = list_wanted(contract)
            unwanted = sorted(set(repository.list_of_fields(contract.name, built)) - set(wanted))
            if unwanted:
                # A change took it back while it was being built.
                return _Due(contract.name, None, 0, [drop_index(unwanted[0])])
            missing = _missing(wanted, built)
            if not missing:
                return _Due(contract.name, None, 0, [])
            name = missing[0]
            statement = repository.create_index(connection, wanted[name])
            first = [drop_index(name)] if name in built else []
            return _Due(contract.name, name, len(missing) - 1, [*first, statement])

    def _contract(self, connection: Connection, dataset_id: uuid.UUID) -> Contract:
        """Return the contract that the table of a dataset has. Raises JobDropped, IndexBuildInterrupted."""
        row, applied = datasets.find(connection, dataset_id), datasets.find_applied(connection, dataset_id)
        if row is None or row["state"] != "ready" or applied is None:
            raise JobDropped(DROPPED)
        contract = load_contract(applied["contract"])
        if ddl.table_owner_id(connection, contract.name) != dataset_id:
            raise IndexBuildInterrupted("The dataset was renamed meanwhile")
        return contract

    def _refuse_renamed(self, dataset_id: uuid.UUID, table: str, error: JobDropped | None = None) -> None:
        """Raise IndexBuildInterrupted if the table has another name now: what was built may be of another one."""
        with self._database.autocommit() as connection:
            if self._contract(connection, dataset_id).name != table:
                raise IndexBuildInterrupted("The dataset was renamed meanwhile") from error


@dataclass(frozen=True, slots=True)
class _Due:
    """What is done next: ``statements``, one after the other; the index that they build, and how many are left."""

    table: str
    builds: str | None
    left: int
    statements: list[str]


def list_missing(connection: Connection, contract: Contract) -> list[str]:
    """Return the names of the indexes that the contract asks for and the table has not, or not completely."""
    return _missing(list_wanted(contract), repository.list_built(connection, contract.name))


def _missing(wanted: Iterable[str], built: Mapping[str, bool]) -> list[str]:
    return sorted(name for name in wanted if not built.get(name))


def submit_build(connection: Connection, dataset_id: uuid.UUID, contract: Contract) -> uuid.UUID | None:
    """Submit the job that builds what the table lacks, and return its id; None where it lacks nothing."""
    if not list_missing(connection, contract):
        return None
    job = NewJob(
        type=FIELD_INDEXES,
        # A scope of its own: the job neither waits for writes nor delays them.
        scope=_scope(dataset_id),
        exclusive=True,
        args={"dataset_id": str(dataset_id)},
        dataset=contract.name,
        queue="long",
    )
    return submit_system_job(connection, job)


def field_indexes(database: Database) -> Repairs:
    """Return what submits the job again where it has failed: an open transaction may have been in its way for long."""
    return Repairs(database, _list_failed, _resubmit)


def _list_failed(connection: Connection) -> list[tuple[uuid.UUID, str]]:
    failed = (uuid.UUID(args["dataset_id"]) for args in list_last_failed(connection, FIELD_INDEXES))
    found = (datasets.find(connection, dataset_id) for dataset_id in failed)
    return [(row["id"], row["name"]) for row in found if row is not None and row["state"] == "ready"]


def _resubmit(connection: Connection, dataset_id: uuid.UUID, name: str) -> bool:
    applied = datasets.find_applied(connection, dataset_id)
    if applied is None or unfinished_in_scope(connection, _scope(dataset_id)):
        return False
    return submit_build(connection, dataset_id, load_contract(applied["contract"])) is not None


def _scope(dataset_id: uuid.UUID) -> str:
    return f"field_indexes:{dataset_id}"
