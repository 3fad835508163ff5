"""The worker's way of a chunk: its payload passes the steps in their order and is validated after the last one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from gristmill.datasets.contract import Contract
from gristmill.datasets.types import TYPES
from gristmill.jobs.handlers import ChunkTask, Outcome
from gristmill.records.apply.output import Unfit, failures, of_record, validate_output
from gristmill.records.apply.upsert import WriteCounts, raise_if_repeated, split_places
from gristmill.records.batch import Batch, BatchContext, BatchStep
from gristmill.records.columns import ORD_COLUMN
from gristmill.records.errors import RecordUnfit
from gristmill.records.reject import Reject
from gristmill.records.rejects.raw import raw_record
from gristmill.records.targets import Targets
from gristmill.records.transform import Pipelines
from gristmill.records.validation.rows import output_validator_of, validator_of
from gristmill.transforms.run import MergedUnfit, number_outputs
from gristmill.transforms.spec import Indexes

# Chunks of more records ask between their steps whether they are to end.
_CHECKED_FROM = 1000


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be written of a chunk.

    table: columns of the dataset's table, and ``_ord`` where the places of the rows are not those of the payload.
    records: of the payload that have rows. dropped: that a filter took. rejects: that do not fit.
    piped: the contract has a pipeline, so that rows and records are counted apart. merged: a row may be made of several
    records.
    """

    table: pa.Table
    records: int
    dropped: int = 0
    rejects: Sequence[Reject] = ()
    piped: bool = False
    merged: bool = False

    def outcome(self, contract: Contract, counts: WriteCounts) -> Outcome:
        """Return the counts of the chunk: records, in which each record of the payload is counted once."""
        if not self.piped:
            return Outcome(succeeded=counts.succeeded, superseded=counts.superseded, rejected=len(self.rejects))
        # Without a key every row is written. With one, which no step changes, a record has one row that counts. Where
        # several share a row, of rows that were not written at least one record each was superseded.
        succeeded = counts.succeeded if contract.key else self.records
        if contract.key and self.merged and counts.succeeded:
            succeeded = self.records - (self.table.num_rows - counts.succeeded)
        return Outcome(
            succeeded=succeeded,
            superseded=self.records - succeeded,
            rejected=len(self.rejects),
            dropped=self.dropped,
            rows=counts.succeeded,
        )


class BatchPipeline:
    """The ordered steps of a worker."""

    def __init__(self, targets: Targets, pipelines: Pipelines, steps: Sequence[BatchStep]) -> None:
        self._targets = targets
        self._pipelines = pipelines
        self._steps = steps

    def prepare(self, task: ChunkTask, payload: pa.Table) -> Prepared:
        """Return what ``payload`` becomes.

        Raises RecordUnfit with record, step and reason, unless the job quarantines what does not fit.
        """
        context = BatchContext(
            self._targets.submitted(task), task.check if payload.num_rows > _CHECKED_FROM else lambda: None
        )
        contract = context.contract
        if any(TYPES[field.type].most_of_a_chunk for field in (*contract.fields, *contract.input_fields)):
            context = replace(context, check=task.check)
        if payload.num_rows == 0:
            return Prepared(self._run(Batch(payload), context).table, 0, piped=contract.has_pipeline)
        if not contract.has_pipeline:
            return self._without_pipeline(task, payload, context)
        fields, places = split_places(payload, task.first_record)
        ords: Indexes = places.to_numpy()
        try:
            batch = self._run(Batch(fields, np.arange(fields.num_rows)), context)
        except MergedUnfit as error:
            place = int(ords[error.records[0]])
            raise RecordUnfit(error.reason(place), [error.violation(place)], record=place) from error
        table, origins, unfit = validate_output(output_validator_of(contract), batch)
        rejects = _rejects(task, contract, fields, ords, unfit)
        # Of records that share a row none can go on without the others.
        shared = batch.merged is not None and batch.origins is not None and np.isin(list(unfit), batch.origins).any()
        if rejects and (shared or task.args.get("on_error") != "quarantine"):
            raise refusal(rejects)
        steps = self._pipelines.steps(contract)
        if task.args.get("on_conflict") == "fail" and contract.key:
            # No two rows have one key, so their order does not matter; refusals name the record.
            numbers = ords[origins]
            raise_if_repeated(contract, table, numbers.tolist())
        elif all(step.per_record for step in steps):
            numbers = number_outputs(origins, ords, any(step.kind.multiplies for step in steps))
        else:
            # The batch is the whole job, and a step may have put its rows into another order.
            numbers = np.arange(len(origins))
        written = len(np.unique(origins)) if batch.merged is None else len(batch.merged)
        dropped = fields.num_rows - written - len(rejects)
        table = table.append_column(ORD_COLUMN, pa.array(numbers))
        return Prepared(table, written, dropped, rejects, True, batch.merged is not None)

    def _without_pipeline(self, task: ChunkTask, payload: pa.Table, context: BatchContext) -> Prepared:
        """Return what is written of records that are rows as they were sent, once they are embedded."""
        batch = self._run(Batch(payload), context)
        if not batch.failed:
            return Prepared(batch.table, payload.num_rows)
        fields, places = split_places(payload, task.first_record)
        rejects = _rejects(task, context.contract, fields, places.to_numpy(), failures(batch))
        if task.args.get("on_error") != "quarantine":
            raise refusal(rejects)
        # The records that stay keep their places.
        assert batch.origins is not None
        table = split_places(batch.table, task.first_record)[0]
        table = table.append_column(ORD_COLUMN, places.take(pa.array(batch.origins)))
        return Prepared(table, table.num_rows, rejects=rejects)

    def _run(self, batch: Batch, context: BatchContext) -> Batch:
        for step in self._steps:
            if not batch.table.num_rows:
                break
            context.check()
            batch = step(batch, context)
        return batch


def _rejects(task: ChunkTask, contract: Contract, fields: pa.Table, ords: Indexes, unfit: Unfit) -> list[Reject]:
    """Return the records of a payload that do not fit. ords: their places in the request."""
    rejects = []
    for record, found in sorted(unfit.items()):
        raw = raw_record(validator_of(contract), fields, record, task.args)
        place = int(ords[record])
        rejects.append(Reject(place, None, raw, of_record(place, found)))
    return rejects


def refusal(rejects: Sequence[Reject]) -> RecordUnfit:
    violations = [violation for reject in rejects for violation in reject.violations]
    first = violations[0]
    detail = f"Record {first.record}: {first.field or first.code}: {first.reason}"
    if len(rejects) > 1:
        detail += f"; {len(rejects)} records of the chunk do not fit"
    return RecordUnfit(detail, violations, record=first.record)
