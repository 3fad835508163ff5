"""The job that builds the indexes which a change of the contract asks for."""

import uuid

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.datasets import repository as datasets
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.errors import IndexBuildInterrupted
from gristmill.datasets.field_indexes import repository
from gristmill.datasets.index_session import BuildSession, drop_index, open_session
from gristmill.datasets.lookup import DROPPED
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.handlers import ChunkTask, IdempotentHandler, Outcome
from gristmill.jobs.submit import NewJob, submit_system_job

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
            contract, missing = self._find(dataset_id)
            total = len(missing)
            while missing:
                name = missing[0]
                try:
                    self._build(session, contract, name)
                except JobDropped as error:
                    if self._find(dataset_id)[0].name != contract.name:
                        raise IndexBuildInterrupted("The dataset was renamed meanwhile") from error
                    raise
                made.append(name)
                task.report(len(made) / max(len(made), total))
                # The contract may have been changed meanwhile.
                contract, missing = self._find(dataset_id)
            if made:
                # Of a member the planner knows nothing until its index is analysed.
                session.run(repository.analyze(contract.name))
        return Outcome(result={"made": made})

    def _find(self, dataset_id: uuid.UUID) -> tuple[Contract, list[str]]:
        """Return the contract of the table, and the names of the indexes that it lacks. Raises JobDropped."""
        with self._database.autocommit() as connection:
            row, applied = datasets.find(connection, dataset_id), datasets.find_applied(connection, dataset_id)
            if row is None or row["state"] != "ready" or applied is None:
                raise JobDropped(DROPPED)
            contract = load_contract(applied["contract"])
            return contract, list_missing(connection, contract)

    def _build(self, session: BuildSession, contract: Contract, name: str) -> None:
        with self._database.autocommit() as connection:
            there = name in repository.list_built(connection, contract.name)
            statement = repository.create_index(connection, repository.list_wanted(contract)[name])
        if there:
            session.run(drop_index(name))
        session.run(statement)
        log.info("field_index.made", dataset=contract.name, index=name)


def list_missing(connection: Connection, contract: Contract) -> list[str]:
    """Return the names of the indexes that the contract asks for and the table has not, or not completely."""
    built = repository.list_built(connection, contract.name)
    return sorted(name for name in repository.list_wanted(contract) if not built.get(name))


def submit_build(connection: Connection, dataset_id: uuid.UUID, contract: Contract) -> uuid.UUID | None:
    """Submit the job that builds what the table lacks, and return its id; None where it lacks nothing."""
    if not list_missing(connection, contract):
        return None
    job = NewJob(
        type=FIELD_INDEXES,
        # A scope of its own: the job neither waits for writes nor delays them.
        scope=f"field_indexes:{dataset_id}",
        exclusive=True,
        args={"dataset_id": str(dataset_id)},
        dataset=contract.name,
        queue="long",
    )
    return submit_system_job(connection, job)
