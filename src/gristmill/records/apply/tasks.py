"""The handlers of record jobs. All are transactional: rows and the chunk's ``done`` go into one commit."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from pydantic_core import from_json
from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.datasets.contract import Contract
from gristmill.datasets.keys import show_key
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.types import TYPES
from gristmill.datasets.version_checks import is_applied, latest_applied
from gristmill.jobs.handlers import ChunkTask, Handler, Outcome, Pair, SharingHandler, TransactionalHandler
from gristmill.records.apply.upsert import upsert
from gristmill.records.apply.upsert_group import Part, group_parts, upsert_group
from gristmill.records.changes import repository
from gristmill.records.embedding import BatchStep, EmbeddingStep, Vectors
from gristmill.records.payload import decode
from gristmill.records.read.pages import UnknownRecord
from gristmill.records.validation.rows import validator_of

INGEST, PATCH, DELETE, DELETE_WHERE = "records.ingest", "records.patch", "records.delete", "records.delete_where"

# What was validated when it was submitted is not refused for its depth by a worker with another setting.
_ANY_DEPTH = 1_000_000


def build_handlers(
    database: Database, datasets: DatasetLookup, embedding: EmbeddingStep, more_steps: Sequence[BatchStep] = ()
) -> list[Handler]:
    """Return the handlers of this domain. more_steps: enrichment after embedding, in their order."""
    targets = Targets(database, datasets)
    return [
        IngestHandler(targets, [embedding, *more_steps]),
        PatchHandler(targets, embedding),
        DeleteHandler(targets),
        DeleteWhereHandler(targets),
    ]


class Targets:
    """Finds what a chunk writes to."""

    def __init__(self, database: Database, datasets: DatasetLookup) -> None:
        self._database = database
        self._datasets = datasets
        # The parts that never change within a version, so that a chunk's preparation usually asks nobody.
        self._known: dict[tuple[str, int], Dataset] = {}

    def submitted(self, task: ChunkTask) -> Dataset:
        """Return the dataset with the contract that the chunk was validated under; its state may be out of date."""
        key = (task.args["dataset_id"], task.args["contract_version"])
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= 1000:
                self._known.clear()
            with self._database.autocommit() as connection:
                found = self._datasets.by_id(connection, uuid.UUID(key[0]), key[1])
            self._known[key] = found
        return found

    def present(self, connection: Connection, task: ChunkTask) -> Dataset:
        """Return the dataset with the contract that its table has now, checked to be writable in this transaction.

        Raises JobDropped, DatasetFailed, ChangeFailed.
        """
        dataset = self.submitted(task)
        if is_applied(connection, dataset):
            return dataset
        dataset = self._datasets.writable(connection, dataset.id, dataset.version)
        return self._datasets.by_id(connection, dataset.id, latest_applied(connection, dataset))


@dataclass(frozen=True, slots=True)
class Prepared:
    table: pa.Table
    embeddings: Vectors | None


class IngestHandler(SharingHandler):
    """Upserts a chunk of records. args: dataset_id, contract_version, on_conflict."""

    type = INGEST

    def __init__(self, targets: Targets, steps: Sequence[BatchStep]) -> None:
        self._targets = targets
        self._steps = steps

    def prepare(self, task: ChunkTask) -> Prepared:
        table = decode(task.payload or b"")
        dataset = self._targets.submitted(task)
        embeddings = None
        if table.num_rows == 0:
            # All records of the batch were rejected.
            return Prepared(table, None)
        for step in self._steps:
            if table.num_rows > 1000:
                task.check()
            made = step(dataset.contract, dataset, table)
            embeddings = embeddings if made is None else made
        return Prepared(table, embeddings)

    def apply(self, connection: Connection, task: ChunkTask, prepared: Prepared) -> Outcome:
        contract = self._targets.present(connection, task).contract
        mode: Literal["replace", "fail"] = "fail" if task.args.get("on_conflict") == "fail" else "replace"
        counts = upsert(connection, contract, prepared.table, prepared.embeddings, task.seq, task.first_record, mode)
        return Outcome(succeeded=counts.succeeded, superseded=counts.superseded)

    def groups(self, pairs: Sequence[Pair]) -> list[list[Pair]]:
        by_target: dict[tuple[Any, ...], list[Pair]] = {}
        for task, prepared in pairs:
            key = (task.args["dataset_id"], task.args["contract_version"], task.args.get("on_conflict"))
            by_target.setdefault(key, []).append((task, prepared))
        return [
            [members[place] for place in places]
            for members in by_target.values()
            for places in group_parts(self._targets.submitted(members[0][0]).contract, _parts(members))
        ]

    def apply_all(self, connection: Connection, group: Sequence[Pair]) -> list[Outcome]:
        contract = self._targets.present(connection, group[0][0]).contract
        counts = upsert_group(connection, contract, _parts(group))
        return [Outcome(succeeded=one.succeeded, superseded=one.superseded) for one in counts]


def _parts(pairs: Sequence[Pair]) -> list[Part]:
    return [Part(prepared.table, prepared.embeddings, task.seq, task.first_record) for task, prepared in pairs]


class PatchHandler(TransactionalHandler):
    """Changes members of one record. args: dataset_id, contract_version, key; payload: the changes as JSON."""

    type = PATCH

    def __init__(self, targets: Targets, embedding: EmbeddingStep) -> None:
        self._targets = targets
        self._embedding = embedding

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        dataset = self._targets.present(connection, task)
        contract, key = dataset.contract, _key(dataset.contract, task)
        changes = validator_of(self._targets.submitted(task).contract).validate_changes(task.payload or b"", _ANY_DEPTH)
        found = repository.patch(
            connection,
            contract,
            key,
            changes,
            task.seq,
            lambda record: self._embedding.embed_record(contract, dataset, record),
        )
        if not found:
            raise _unknown(contract, key)
        return Outcome(succeeded=1)


class DeleteHandler(TransactionalHandler):
    """Deletes one record. args: dataset_id, contract_version, key."""

    type = DELETE

    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        contract = self._targets.present(connection, task).contract
        key = _key(contract, task)
        if not repository.delete_by_key(connection, contract, key):
            raise _unknown(contract, key)
        return Outcome(succeeded=1, result={"deleted": 1})


class DeleteWhereHandler(TransactionalHandler):
    """Deletes what a filter finds. args: dataset_id, contract_version; payload: ``{"where": …}``."""

    type = DELETE_WHERE

    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        contract = self._targets.present(connection, task).contract
        # However many records the filter finds: the time limit of the worker ends it.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        deleted = repository.delete_where(connection, contract, from_json(task.payload or b"")["where"])
        return Outcome(result={"deleted": deleted})


def _key(contract: Contract, task: ChunkTask) -> tuple[Any, ...]:
    pairs = zip(contract.key_fields, task.args["key"], strict=True)
    return tuple(TYPES[field.type].parse(field, value) for field, value in pairs)


def _unknown(contract: Contract, key: tuple[Any, ...]) -> UnknownRecord:
    return UnknownRecord(f"The dataset {contract.name} has no record with the key {show_key(contract, key)!r}")
