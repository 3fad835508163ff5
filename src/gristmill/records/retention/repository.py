"""SQL of deletion by age: which records are too old, and how they are deleted, a few thousand at a time.

What is deleted never changes the outcome of the jobs: a record is deleted only when its job's number is below that of
every unfinished job of the dataset, so no record that it has superseded can be written after it.
"""

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import data_relation
from gristmill.datasets import repository as datasets
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.retention_period import parse_retention_period
from gristmill.datasets.types import TYPES
from gristmill.kit.identifiers import quote

_ANY = "SELECT EXISTS (SELECT FROM {table} WHERE {time} < %(cutoff)s)"
# Rows that a writer has locked are left for the next run.
_DELETE = """
DELETE FROM {table} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM {table} WHERE {time} < %(cutoff)s AND _seq < %(horizon)s
    ORDER BY {time} LIMIT %(rows)s FOR UPDATE SKIP LOCKED))
"""
_NOTE = """
INSERT INTO gristmill.retention AS r (dataset_id, deleted) VALUES (%(id)s, %(deleted)s)
ON CONFLICT (dataset_id) DO UPDATE SET last_run = now(), deleted = r.deleted + EXCLUDED.deleted
"""
_STATE = "SELECT last_run, deleted FROM gristmill.retention WHERE dataset_id = %(id)s"
_FORGET = "DELETE FROM gristmill.retention WHERE dataset_id = %(id)s"


@dataclass(frozen=True, slots=True)
class ExpiringDataset:
    """A dataset whose records are kept for a while."""

    id: uuid.UUID
    name: str
    contract: Contract

    def sql(self, query: str) -> str:
        """Return ``query`` with the dataset's table and time field in it."""
        return query.format(table=data_relation(self.name), time=quote(self.contract.time_field or ""))


def expiring_datasets(
    connection: Connection, dataset_id: uuid.UUID | None = None, lock: bool = False
) -> list[ExpiringDataset]:
    """Return every dataset that is ready and whose applied contract has ``keep``, or the one with the id.

    lock: they are not dropped until the transaction ends.
    """
    found = datasets.list_applied_with(connection, "keep", dataset_id, lock)
    return [ExpiringDataset(id_, name, load_contract(contract)) for id_, name, contract in found]


def cutoff_of(connection: Connection, dataset: ExpiringDataset) -> Any:
    """Return the time or date before which records are too old now, by Postgres' clock."""
    contract = dataset.contract
    query = TYPES[contract.field(contract.time_field or "").type].cutoff
    assert query is not None
    return connection.exec_driver_sql(query, {"keep": parse_retention_period(contract.keep or "")}).scalar_one()


def has_old_records(connection: Connection, dataset: ExpiringDataset, cutoff: Any) -> bool:
    """Say whether anything is too old: one look at the index of the time field."""
    return bool(connection.exec_driver_sql(dataset.sql(_ANY), {"cutoff": cutoff}).scalar_one())


def delete_old(connection: Connection, dataset: ExpiringDataset, cutoff: Any, horizon: int, rows: int) -> int:
    """Delete at most ``rows`` of the records before ``cutoff`` whose number is below ``horizon``, the oldest first.

    The dataset must be locked: the table of the name could be another one's by now.
    """
    parameters = {"cutoff": cutoff, "horizon": horizon, "rows": rows}
    deleted = connection.exec_driver_sql(dataset.sql(_DELETE), parameters).rowcount
    note_run(connection, dataset.id, deleted)
    return deleted


def note_run(connection: Connection, dataset_id: uuid.UUID, deleted: int = 0) -> None:
    """Note that the age of the dataset's records was looked at, and how many were deleted."""
    connection.exec_driver_sql(_NOTE, {"id": str(dataset_id), "deleted": deleted})


def find_state(connection: Connection, dataset_id: uuid.UUID) -> Any:
    """Return (last_run, deleted), or None before the first run."""
    return connection.exec_driver_sql(_STATE, {"id": str(dataset_id)}).first()


def forget(connection: Connection, dataset_id: uuid.UUID) -> None:
    connection.exec_driver_sql(_FORGET, {"id": str(dataset_id)})
