"""Handler of ``dataset.recompute``."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import from_json
from sqlalchemy import Connection

from gristmill.core.database import set_time_limit
from gristmill.datasets.contract import EMBEDDING_COLUMN, Contract
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.parents.changed import check_records
from gristmill.datasets.parents.relations import Relations
from gristmill.datasets.types import TYPES
from gristmill.jobs.handlers import ChunkTask, Outcome, TransactionalHandler
from gristmill.records.apply.output import validate_output
from gristmill.records.batch import Batch, BatchContext
from gristmill.records.changes.plan import Plan, plan_fields
from gristmill.records.changes.recompute import embedding_sources
from gristmill.records.columns import as_stored
from gristmill.records.embedding import EmbeddingStep
from gristmill.records.errors import RecordUnfit
from gristmill.records.recompute import repository
from gristmill.records.recompute.repository import ID_COLUMN
from gristmill.records.targets import Targets
from gristmill.records.transform import Pipelines
from gristmill.records.validation.rows import RecordValidator
from gristmill.transforms.run import run, whole
from gristmill.transforms.spec import StepContext

RECOMPUTE = "dataset.recompute"


class RecomputeHandler(TransactionalHandler):
    """Makes computed fields anew, in one transaction. args: dataset_id, contract_version, fields, where.

    Vectors are made anew where what the embedder reads has changed. A record whose values stay as they are is not
    written.
    """

    type = RECOMPUTE
    queue = "long"

    def __init__(self, targets: Targets, pipelines: Pipelines, embedding: EmbeddingStep, relations: Relations) -> None:
        self._targets = targets
        self._relations = relations
        self._pipelines = pipelines
        self._embedding = embedding

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        dataset = self._targets.present(connection, task)
        contract = dataset.contract
        plan = plan_fields(contract, self._pipelines.steps(contract), task.args["fields"])
        fields = sorted(plan.writes)
        embeds = bool(embedding_sources(contract) & set(fields))
        names = sorted(plan.reads.union(fields, contract.key, embedding_sources(contract) if embeds else ()))
        # However many records there are: the time limit of the worker ends it.
        set_time_limit(connection, 0)
        read = changed = 0
        for table, share in repository.read_slices(connection, contract, names, task.args["where"]):
            made = _recomputed(contract, plan, fields, table, task.check)
            different = _differs(contract, table, made, fields)
            read += table.num_rows
            if different.any():
                rows = made.filter(pa.array(different))
                if embeds:
                    rows = self._embedded(dataset, rows, table.filter(pa.array(different)), task)
                columns = [name for name in rows.column_names if name in {*fields, ID_COLUMN.name, EMBEDDING_COLUMN}]
                changed += repository.write(
                    connection, contract, _as_stored_rows(contract, rows.select(columns)), task.seq
                )
            task.report(share)
            task.check()
        if changed:
            check_records(connection, self._relations, dataset, {}, fields, task.seq)
        set_time_limit(connection, None)
        return Outcome(result={"records": read, "changed": changed})

    def _embedded(self, dataset: Dataset, rows: pa.Table, before: pa.Table, task: ChunkTask) -> pa.Table:
        for name in sorted(embedding_sources(dataset.contract) - set(rows.column_names)):
            rows = rows.append_column(name, before.column(name))
        batch = self._embedding(Batch(rows), BatchContext(dataset, task.check))
        for failed in batch.failed:
            raise RecordUnfit(f"{_name(dataset.contract, before, failed.record)}: {failed.reason}", field=failed.field)
        return batch.table


def _as_stored_rows(contract: Contract, rows: pa.Table) -> pa.Table:
    """Return rows as the columns of the table hold them, ``_id`` as it is."""
    ids = rows.column(ID_COLUMN.name)
    return as_stored(contract, rows.drop_columns([ID_COLUMN.name])).append_column(ID_COLUMN.name, ids)


def _recomputed(
    contract: Contract, plan: Plan, fields: list[str], table: pa.Table, check: Callable[[], None]
) -> pa.Table:
    """Return the fields as the steps make them of stored records, and ``_id``. Raises RecordUnfit."""
    # With _id, as a table without a column has no rows.
    frame = table.select([ID_COLUMN.name, *sorted(plan.reads)])
    made = run(plan.steps, frame, StepContext(check), wanted={name: plan.columns[name] for name in fields})
    for failed in made.failed:
        raise RecordUnfit(f"{_name(contract, table, failed.record)}: {failed.full_reason}", field=failed.field)
    validator = RecordValidator(contract, [contract.field(name) for name in fields])
    output, _, unfit = validate_output(validator, Batch(made.table.select(fields), np.arange(table.num_rows)))
    for row, violations in sorted(unfit.items()):
        raise RecordUnfit(f"{_name(contract, table, row)}: {violations[0].reason}", field=violations[0].field)
    return output.select(fields).append_column(ID_COLUMN.name, table.column(ID_COLUMN.name))


def _differs(
    contract: Contract, before: pa.Table, after: pa.Table, fields: list[str]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return for each row whether a field holds something else, be it another number of zeros."""
    found = np.zeros(before.num_rows, np.bool_)
    for name in fields:
        old, new = whole(before.column(name)), whole(after.column(name))
        if pa.types.is_nested(old.type) or TYPES[contract.field(name).type].nests:
            pairs = zip(_texts(old), _texts(new), strict=True)
            found |= np.array([one != other for one, other in pairs], np.bool_)
            continue
        if pa.types.is_floating(old.type):
            # By their bits: 0.0 and -0.0 are two values.
            old, new = (one.view(pa.int64()) for one in (old, new))
        unequal = pc.fill_null(pc.not_equal(old, new), False)
        found |= pc.or_(unequal, pc.xor(old.is_null(), new.is_null())).to_numpy(zero_copy_only=False)
    return found


def _texts(column: pa.Array) -> list[str]:
    """Return values as texts that are equal where the values are: Postgres orders the members of objects anew."""
    values = column.to_pylist()
    if pa.types.is_string(column.type):
        values = [None if value is None else from_json(value) for value in values]
    return [json.dumps(value, sort_keys=True) for value in values]


def _name(contract: Contract, table: pa.Table, row: int) -> str:
    if not contract.key:
        return "A record"
    values = [
        TYPES[one.type].to_json(TYPES[one.type].from_arrow(one, table.column(one.name)[row]))
        for one in contract.key_fields
    ]
    return f"The record {', '.join(map(str, values))}"
