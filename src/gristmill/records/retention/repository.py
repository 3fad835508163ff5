"""SQL of deletion by age: which records are too old, and how they go a few thousand at a time.

What is deleted never changes the outcome of the jobs: a record goes only when its job's number lies below that of every
unfinished job of the dataset, so no record that it had superseded can come after it.
"""

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import DATA_SCHEMA
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.retention_period import parse_retention_period
from gristmill.kit.identifiers import quote

# By the contract that the table has: a change that is still on its way may yet be cancelled.
_KEEPING = """
SELECT d.id, d.name, v.contract FROM gristmill.datasets AS d, LATERAL (
    SELECT contract FROM gristmill.dataset_versions
    WHERE dataset_id = d.id AND state = 'applied' ORDER BY version DESC LIMIT 1
) AS v
WHERE d.state = 'ready' AND v.contract ? 'keep' AND (%(id)s::uuid IS NULL OR d.id = %(id)s::uuid) ORDER BY d.id
"""
_CUTOFF = {
    "timestamp": "SELECT now() - %(keep)s",
    # A day is as old as its end.
    "date": "SELECT ((now() - %(keep)s) AT TIME ZONE 'UTC')::date",
}
# Whoever has drawn a number holds the scope's lock until it commits; under the lock all of them are seen.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(scope)s, 0))"
_HORIZON = """
SELECT coalesce((SELECT min(seq) FROM gristmill.scopes WHERE scope = %(scope)s AND finished_at IS NULL),
    (SELECT last_value + 1 FROM gristmill.job_number))
"""
_ANY = "SELECT EXISTS (SELECT FROM {table} WHERE {time} < %(cutoff)s)"
# Whatever a writer holds is left for the next time. The dataset is looked at in the statement itself: the table of the
# name could be another one's by now.
_DELETE = """
DELETE FROM {table} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM {table} WHERE {time} < %(cutoff)s AND _seq < %(horizon)s
        AND EXISTS (SELECT FROM gristmill.datasets WHERE id = %(id)s AND state = 'ready')
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
        table = f"{quote(DATA_SCHEMA)}.{quote(self.name)}"
        return query.format(table=table, time=quote(self.contract.time_field or ""))


def expiring_datasets(connection: Connection, dataset_id: uuid.UUID | None = None) -> list[ExpiringDataset]:
    """Return every dataset that is ready and whose applied contract has ``keep``, or the one with the id."""
    found = connection.exec_driver_sql(_KEEPING, {"id": None if dataset_id is None else str(dataset_id)})
    return [ExpiringDataset(row[0], row[1], load_contract(row[2])) for row in found]


def cutoff_of(connection: Connection, dataset: ExpiringDataset) -> Any:
    """Return the time or date before which records are too old now, by Postgres' clock."""
    contract = dataset.contract
    kind = contract.field(contract.time_field or "").type
    return connection.exec_driver_sql(_CUTOFF[kind], {"keep": parse_retention_period(contract.keep or "")}).scalar_one()


def horizon_of(connection: Connection, scope: str) -> int:
    """Return a number: no job of the scope that is unfinished or still to come has a smaller one.

    Call it in a transaction of its own: it holds the lock of the scope, which submissions wait for, until that ends.
    """
    connection.exec_driver_sql(_LOCK, {"scope": scope})
    return int(connection.exec_driver_sql(_HORIZON, {"scope": scope}).scalar_one())


def has_old_records(connection: Connection, dataset: ExpiringDataset, cutoff: Any) -> bool:
    """Say whether anything is too old: one look at the index of the time field."""
    return bool(connection.exec_driver_sql(dataset.sql(_ANY), {"cutoff": cutoff}).scalar_one())


def delete_old(connection: Connection, dataset: ExpiringDataset, cutoff: Any, horizon: int, rows: int) -> int:
    """Delete at most ``rows`` of the records before ``cutoff`` whose number is below ``horizon``, the oldest first."""
    parameters = {"id": str(dataset.id), "cutoff": cutoff, "horizon": horizon, "rows": rows}
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
