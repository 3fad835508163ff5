"""The job of a write of records: what all of them have in common, and those with a filter."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.parents.above import attach_above, names_parents
from gristmill.datasets.parents.closure import scopes_read_by
from gristmill.datasets.parents.repository.hierarchy import list_contracts
from gristmill.datasets.where import compile_where
from gristmill.jobs.submit import NewChunk, NewJob


def record_job(
    type_: str,
    dataset: Dataset,
    chunks: Iterable[NewChunk],
    max_attempts: int,
    *,
    exclusive: bool,
    serial: bool = False,
    further: Mapping[str, bool] | None = None,
    **args: Any,
) -> NewJob:
    """Return a job in the scope of ``dataset``, under the version of its contract.

    serial: its chunks run in turn. further: its other scopes, and whether it is exclusive in each.
    """
    return NewJob(
        type=type_,
        scope=dataset.scope,
        exclusive=exclusive,
        args={"dataset_id": str(dataset.id), "contract_version": dataset.version, **args},
        dataset=dataset.name,
        chunks=chunks,
        max_attempts=max_attempts,
        shares=True,
        serial=serial,
        further_scopes=further or {},
    )


def check_filter(job: NewJob, contract: Contract, where: Any) -> None:
    """Refuse a filter that does not fit the dataset of a job that it belongs to. Raises Invalid.

    One that names fields of parents is checked when the job is submitted; it waits for what was submitted before it for
    their datasets, and what comes later waits for it.
    """
    if not names_parents(where, contract):
        compile_where(where, contract, record_table(contract))
        return

    def attach(connection: Connection, _: uuid.UUID) -> None:
        # As it is now: if that is another version, the submitter asks again.
        found = list_contracts(connection, [contract.name], visible=True).get(contract.name)
        present = contract if found is None else load_contract(found)
        filtered = attach_above(connection, present, where, visible=True)
        compile_where(where, filtered, record_table(filtered))
        job.further_scopes = {**job.further_scopes, **scopes_read_by(where, filtered)}

    job.attach = attach
