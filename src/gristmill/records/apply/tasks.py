"""The handlers of ingest jobs and of merges: rows and the chunk's ``done`` go into one commit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Violation
from gristmill.datasets.contract import EMBEDDING_COLUMN, Contract
from gristmill.datasets.lookup import Dataset
from gristmill.jobs.errors import OutOfDate
from gristmill.jobs.handlers import ChunkTask, Outcome, Pair, SharingHandler, TransactionalHandler
from gristmill.jobs.repository.read import failed_before
from gristmill.records.apply.groups import group_parts
from gristmill.records.apply.merge import Merged, merge, needs_vector, payload_keys, unfit_records
from gristmill.records.apply.output import Unfit, failures, of_record
from gristmill.records.apply.pipeline import BatchPipeline, Prepared, refusal
from gristmill.records.apply.repository import lock_writes, read_stored
from gristmill.records.apply.sift import sift
from gristmill.records.apply.upsert import Mode, Part, raise_if_existing, split_places, upsert
from gristmill.records.batch import Batch, BatchContext
from gristmill.records.columns import ORD_COLUMN
from gristmill.records.embedding import EmbeddingStep
from gristmill.records.errors import EarlierChunkFailed
from gristmill.records.etags import LastWrite
from gristmill.records.key_list import Key
from gristmill.records.parents.keys import Rows
from gristmill.records.parents.written import WrittenRecords
from gristmill.records.payload import decode
from gristmill.records.reject import Reject
from gristmill.records.rejects.raw import raw_record
from gristmill.records.rejects.repository import store_rejects
from gristmill.records.targets import Targets
from gristmill.records.validation.rows import partial_validator_of

INGEST, MERGE = "records.ingest", "records.merge"


class IngestHandler(SharingHandler):
    """Upserts a chunk of records, or small ones of several jobs. args: dataset_id, contract_version, on_conflict,
    on_error.
    """

    type = INGEST

    def __init__(self, targets: Targets, pipeline: BatchPipeline, written: WrittenRecords) -> None:
        self._targets = targets
        self._pipeline = pipeline
        self._written = written

    def prepare(self, task: ChunkTask) -> Prepared:
        return self._pipeline.prepare(task, decode(task.payload or b""))

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
        task, _ = group[0]
        dataset = self._targets.present(connection, task)
        contract = dataset.contract
        if contract.parents or dataset.hierarchy:
            group = [(one, self._sifted(connection, dataset, one, prepared)) for one, prepared in group]
        mode: Mode = task.args.get("on_conflict", "replace")
        counts = upsert(connection, contract, _parts(group), mode)
        self._written.check(connection, dataset, _rows(contract, group), mode == "skip")
        for member, prepared in group:
            store_rejects(connection, member.job_id, prepared.rejects)
        return [prepared.outcome(contract, one) for (_, prepared), one in zip(group, counts, strict=True)]

    def apply_run(self, connection: Connection, run: Sequence[Pair]) -> list[Outcome] | None:
        """Write new records of several jobs. They only add to what is there: if all of it fits in the end, each did.

        Records that others of the run have, or that are there, have to be written one after the other.
        """
        task, _ = run[0]
        target = (task.args["dataset_id"], task.args["contract_version"])
        dataset = self._targets.present(connection, task)
        contract, parts = dataset.contract, _parts(run)
        for one, _ in run:
            same = (one.args["dataset_id"], one.args["contract_version"]) == target
            if not same or one.args.get("on_error") == "quarantine":
                return None
        if len(group_parts(contract, parts)) > 1:
            return None
        if contract.key:
            raise_if_existing(connection, contract, pa.concat_tables([part.table for part in parts]), 0)
        counts = upsert(connection, contract, parts)
        self._written.check(connection, dataset, _rows(contract, run))
        return [prepared.outcome(contract, one) for (_, prepared), one in zip(run, counts, strict=True)]

    def _sifted(self, connection: Connection, dataset: Dataset, task: ChunkTask, prepared: Prepared) -> Prepared:
        return sift(connection, self._written, dataset, self._targets.submitted(task), task, prepared)


@dataclass(frozen=True, slots=True)
class PreparedMerge:
    """What is to be written of a chunk, and from which records it was made.

    version: of the contract. folded: records that a later one of the chunk with their key is laid over.
    """

    prepared: Prepared
    version: int
    keys: Sequence[Key]
    written: Mapping[Key, LastWrite]
    folded: int


class MergeHandler(TransactionalHandler):
    """Lays the fields that a chunk of partial records gives over the records that are there; the chunks run in turn.

    args: dataset_id, contract_version, on_error. What the records become is worked out before they are locked, and
    again where one of them was written to since.
    """

    type = MERGE

    def __init__(
        self,
        database: Database,
        targets: Targets,
        pipeline: BatchPipeline,
        embedding: EmbeddingStep,
        written: WrittenRecords,
    ) -> None:
        self._database = database
        self._written = written
        self._targets = targets
        self._pipeline = pipeline
        self._embedding = embedding

    def prepare(self, task: ChunkTask) -> PreparedMerge:
        payload, places = split_places(decode(task.payload or b""), task.first_record)
        submitted = self._targets.submitted(task).contract
        with self._database.autocommit() as connection:
            dataset = self._targets.present(connection, task)
            keys = payload_keys(dataset.contract, payload)
            stored = read_stored(connection, dataset.contract, keys)
        sent = [column.name for column in submitted.input_columns]
        merged = merge(dataset.contract, sent, payload, stored)
        rejects: list[Reject] = []
        unfit = unfit_records(dataset.contract, merged, sent)
        if unfit:
            fits, rejects = self._fitting(task, payload, places, merged, unfit)
            merged = merged.filter(fits)
        ords = pa.array(places.to_numpy()[merged.last])
        if dataset.contract.has_pipeline:
            table = merged.table.select(sent).append_column(ORD_COLUMN, ords)
            prepared = self._pipeline.prepare(task, table)
            prepared = replace(prepared, rejects=[*prepared.rejects, *rejects])
        else:
            table, unfit = self._embedded(dataset, merged, task.check)
            if unfit:
                fits, more = self._fitting(task, payload, places, merged, unfit)
                table, ords = table.filter(pa.array(fits)), ords.filter(pa.array(fits))
                merged, rejects = merged.filter(fits), sorted([*rejects, *more], key=lambda reject: reject.record)
            table = table.append_column(ORD_COLUMN, ords)
            prepared = Prepared(table, table.num_rows, rejects=rejects)
        folded = payload.num_rows - len(rejects) - len(merged.keys)
        written = {key: one.written for key, one in stored.items()}
        return PreparedMerge(prepared, dataset.version, sorted(keys), written, folded)

    def apply(self, connection: Connection, task: ChunkTask, prepared: PreparedMerge) -> Outcome:
        dataset = self._targets.present(connection, task)
        if task.number and failed_before(connection, task.job_id, task.number):
            raise EarlierChunkFailed("A chunk before this one has failed: the records of a merge are applied in order")
        found = lock_writes(connection, dataset.contract, prepared.keys)
        if found != prepared.written or dataset.version != prepared.version:
            raise OutOfDate("records have been written to since")
        ready = prepared.prepared
        (counts,) = upsert(connection, dataset.contract, [Part(ready.table, task.seq, task.first_record)])
        self._written.check(connection, dataset, _rows(dataset.contract, [(task, ready)]))
        store_rejects(connection, task.job_id, ready.rejects)
        outcome = replace(ready, rejects=()).outcome(dataset.contract, counts)
        superseded = outcome.superseded + prepared.folded
        return replace(outcome, superseded=superseded, rejected=len(ready.rejects))

    def _fitting(
        self,
        task: ChunkTask,
        payload: pa.Table,
        places: pa.Array,
        merged: Merged,
        unfit: Unfit,
    ) -> tuple[npt.NDArray[np.bool_], list[Reject]]:
        """Return which rows can be written, and the rejects. unfit: what is wrong, by row. Raises RecordUnfit."""
        ords = places.to_numpy()
        validator = partial_validator_of(self._targets.submitted(task).contract)
        rejects = []
        for row, found in unfit.items():
            for place in merged.members[row]:
                record = int(ords[place])
                raw = raw_record(validator, payload, place, task.args)
                rejects.append(Reject(record, None, raw, of_record(record, found)))
        rejects.sort(key=lambda reject: reject.record)
        if task.args.get("on_error") != "quarantine":
            raise refusal(rejects)
        fits = np.ones(len(merged.keys), np.bool_)
        fits[list(unfit)] = False
        return fits, rejects

    def _embedded(
        self, dataset: Dataset, merged: Merged, check: Callable[[], None]
    ) -> tuple[pa.Table, dict[int, list[Violation]]]:
        """Return the rows with new vectors where what those are made of may have changed, and those that are unfit."""
        rows = np.flatnonzero(needs_vector(dataset.contract, merged))
        if not len(rows):
            return merged.table, {}
        table = merged.table.drop_columns([EMBEDDING_COLUMN])
        batch = self._embedding(Batch(table.take(pa.array(rows)), np.arange(len(rows))), BatchContext(dataset, check))
        made = batch.table.column(EMBEDDING_COLUMN)
        before = merged.table.column(EMBEDDING_COLUMN)
        # What Postgres gave back has the type of the column, which may be narrower than what the embedder gives.
        both = pa.chunked_array([*before.chunks, *made.cast(before.type).chunks], type=before.type)
        source = np.arange(len(merged.keys))
        assert batch.origins is not None
        source[rows[batch.origins]] = len(source) + np.arange(len(batch.origins))
        unfit = {int(rows[record]): found for record, found in failures(batch).items()}
        return table.append_column(EMBEDDING_COLUMN, both.take(pa.array(source))), unfit


def _rows(contract: Contract, pairs: Sequence[Pair]) -> list[Rows]:
    placed = not contract.has_pipeline
    return [Rows(prepared.table, task.first_record, task.seq, placed) for task, prepared in pairs]


def _parts(pairs: Sequence[Pair]) -> list[Part]:
    return [Part(prepared.table, task.seq, task.first_record) for task, prepared in pairs]
