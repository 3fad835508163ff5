"""Handlers of the jobs that change and delete records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy import Connection

from gristmill.core.database import Database, set_time_limit
from gristmill.datasets.contract import EMBEDDING_COLUMN, Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import show_key
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.parents.above import attach_above
from gristmill.datasets.types import TYPES
from gristmill.datasets.where import compile_where
from gristmill.jobs.errors import OutOfDate
from gristmill.jobs.handlers import ChunkTask, Outcome, TransactionalHandler
from gristmill.records.changes import repository
from gristmill.records.changes.recompute import Recompute, embedding_sources
from gristmill.records.changes.writes import Writes
from gristmill.records.columns import Row
from gristmill.records.embedding import EmbeddingStep
from gristmill.records.errors import UnknownRecord
from gristmill.records.etags import check_write
from gristmill.records.key_list import Key
from gristmill.records.payload import decode
from gristmill.records.targets import Targets

PATCH, DELETE, DELETE_WHERE = "records.patch", "records.delete", "records.delete_where"
DELETE_KEYS, PATCH_WHERE = "records.delete_keys", "records.patch_where"


@dataclass(frozen=True, slots=True)
class Patch:
    """Changes, with the computed fields and the vector that belong to them.

    read: stored fields that those are made of; rest: what they held, None if there was no record.
    """

    changes: Row
    read: tuple[str, ...] = ()
    rest: Row | None = None


class PatchHandler(TransactionalHandler):
    """Changes members of one record. args: dataset_id, contract_version, key, if_match; payload: the changes as JSON.
    Those that change its key have hierarchy and below too, as deletions have.

    Computed fields and the vector are made before the row is locked, and again where the fields that they are made of
    hold something else by then.
    """

    type = PATCH

    def __init__(
        self, database: Database, targets: Targets, embedding: EmbeddingStep, recompute: Recompute, writes: Writes
    ) -> None:
        self._writes = writes
        self._database = database
        self._targets = targets
        self._embedding = embedding
        self._recompute = recompute

    def prepare(self, task: ChunkTask) -> Patch:
        dataset = self._targets.submitted(task)
        contract = dataset.contract
        changes = self._recompute.read_changes(contract, task.payload or b"")
        plan = self._recompute.plan(contract, changes)
        changed = plan.writes.union(changes)
        sources = embedding_sources(contract)
        embeds = bool(sources & changed)
        read = tuple(sorted(plan.reads.union(sources - changed if embeds else ())))
        rest: Row | None = self._read(task, read) if read else {}
        if rest is None:
            return Patch(changes, read)
        changes = self._recompute.complete(contract, plan, changes, rest)
        if embeds:
            vector = self._embedding.embed_record(contract, dataset, {**rest, **changes})
            changes = {**changes, EMBEDDING_COLUMN: vector}
        return Patch(changes, read, rest)

    def _read(self, task: ChunkTask, names: Sequence[str]) -> Row | None:
        with self._database.autocommit() as connection:
            contract = self._targets.present(connection, task).contract
            return repository.read_fields(connection, contract, _key(contract, task), names)

    def apply(self, connection: Connection, task: ChunkTask, prepared: Patch) -> Outcome:
        dataset = self._targets.present(connection, task)
        contract = dataset.contract
        key = _key(contract, task)
        _check_match(connection, dataset, key, task)
        if prepared.read:
            found = repository.read_fields(connection, contract, key, prepared.read, lock=True)
            if found is not None and found != prepared.rest:
                raise OutOfDate("fields that others of the record are made of have changed since")
        below = _below(task)
        if below:
            # However many children follow: the time limit of the worker ends it.
            set_time_limit(connection, 0)
        done = self._writes.patch(connection, dataset, key, prepared.changes, task.seq, below)
        if below:
            # Others may share the transaction.
            set_time_limit(connection, None)
        if done is None:
            raise _unknown(contract, key)
        written, moved = done
        result = {"etag": str(written.tag(dataset.version))}
        return Outcome(succeeded=1, result=result | ({"moved": moved} if moved else {}))


class _Removal(TransactionalHandler):
    """Deletes records with what goes with them. args: dataset_id, contract_version, hierarchy, below: the ids of the
    datasets below, in whose scopes the job is."""

    def __init__(self, targets: Targets, writes: Writes) -> None:
        self._targets = targets
        self._writes = writes

    def delete(
        self, connection: Connection, task: ChunkTask, dataset: Dataset, condition: sa.ColumnElement[bool]
    ) -> dict[str, Any]:
        """Delete records of a dataset that has, or has had, others below; return the result of the job."""
        # However many records go: the time limit of the worker ends it.
        set_time_limit(connection, 0)
        deleted, cascaded = self._writes.delete(connection, dataset, condition, _below(task))
        # Others may share the transaction.
        set_time_limit(connection, None)
        return {"deleted": deleted} | ({"cascaded": cascaded} if cascaded else {})


class DeleteHandler(_Removal):
    """Deletes one record. args: key, if_match."""

    type = DELETE

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        dataset = self._targets.present(connection, task)
        contract = dataset.contract
        key = _key(contract, task)
        _check_match(connection, dataset, key, task)
        result: dict[str, Any] = {"deleted": 1}
        if dataset.hierarchy:
            result = self.delete(connection, task, dataset, repository.has_key(contract, key))
        elif not repository.delete_by_key(connection, contract, key):
            result = {"deleted": 0}
        if not result["deleted"]:
            raise _unknown(contract, key)
        return Outcome(succeeded=1, result=result)


class DeleteWhereHandler(_Removal):
    """Deletes what a filter finds. payload: ``{"where": …}``."""

    type = DELETE_WHERE

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        dataset = self._targets.present(connection, task)
        contract, where = dataset.contract, from_json(task.payload or b"")["where"]
        if dataset.hierarchy:
            condition = compile_where(where, attach_above(connection, contract, where), record_table(contract))
            return Outcome(result=self.delete(connection, task, dataset, condition))
        # However many records the filter finds: the time limit of the worker ends it.
        set_time_limit(connection, 0)
        deleted = repository.delete_where(connection, contract, where)
        # Others may share the transaction.
        set_time_limit(connection, None)
        return Outcome(result={"deleted": deleted})


class DeleteKeysHandler(_Removal):
    """Deletes records by their keys. payload: the columns of the key."""

    type = DELETE_KEYS

    def prepare(self, task: ChunkTask) -> list[Key]:
        table = decode(task.payload or b"")
        contract = self._targets.submitted(task).contract
        columns = [TYPES[field.type].key_values(table.column(field.name)) for field in contract.key_fields]
        return list(zip(*columns, strict=True))

    def apply(self, connection: Connection, task: ChunkTask, prepared: list[Key]) -> Outcome:
        dataset = self._targets.present(connection, task)
        if dataset.hierarchy and prepared:
            condition = repository.has_one_of(dataset.contract, prepared)
            result = self.delete(connection, task, dataset, condition)
        else:
            result = {"deleted": repository.delete_keys(connection, dataset.contract, prepared)}
        return Outcome(succeeded=task.records, result=result | {"missing": len(prepared) - result["deleted"]})


class PatchWhereHandler(TransactionalHandler):
    """Changes what a filter finds. args: dataset_id, contract_version; payload: ``{"where": …, "changes": …}``."""

    type = PATCH_WHERE

    def __init__(self, targets: Targets, embedding: EmbeddingStep, recompute: Recompute, writes: Writes) -> None:
        self._targets = targets
        self._embedding = embedding
        self._recompute = recompute
        self._writes = writes

    def prepare(self, task: ChunkTask) -> tuple[Any, Row]:
        dataset = self._targets.submitted(task)
        contract, body = dataset.contract, from_json(task.payload or b"")
        changes = self._recompute.read_shared_changes(contract, body["changes"])
        if embedding_sources(contract) & set(changes):
            changes = {**changes, EMBEDDING_COLUMN: self._embedding.embed_record(contract, dataset, changes)}
        return body["where"], changes

    def apply(self, connection: Connection, task: ChunkTask, prepared: tuple[Any, Row]) -> Outcome:
        where, changes = prepared
        dataset = self._targets.present(connection, task)
        # However many records the filter finds: the time limit of the worker ends it.
        set_time_limit(connection, 0)
        changed = self._writes.patch_where(connection, dataset, where, changes, task.seq)
        # Others may share the transaction.
        set_time_limit(connection, None)
        return Outcome(result={"changed": changed})


def _check_match(connection: Connection, dataset: Dataset, key: tuple[Any, ...], task: ChunkTask) -> None:
    """Refuse a record that is not of a write that the job expects, and keep it as it is until the transaction ends.

    The job is alone in its scope, but records are deleted by age beside all jobs. Raises PreconditionFailed.
    """
    expected = task.args.get("if_match")
    if expected is None:
        return
    found = repository.last_write(connection, dataset.contract, key, lock=True)
    # One that is not there is unknown, whatever it was expected to be.
    if found is not None:
        check_write(found, expected, dataset.version, shorten(show_key(dataset.contract, key)))


def _below(task: ChunkTask) -> Sequence[str]:
    found: Sequence[str] = task.args.get("below", ())
    return found


def _key(contract: Contract, task: ChunkTask) -> tuple[Any, ...]:
    pairs = zip(contract.key_fields, task.args["key"], strict=True)
    return tuple(TYPES[field.type].parse(field.without_bounds(), value) for field, value in pairs)


def _unknown(contract: Contract, key: tuple[Any, ...]) -> UnknownRecord:
    return UnknownRecord(f"The dataset {contract.name} has no record with the key {show_key(contract, key)!r}")
