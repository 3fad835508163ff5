"""Views of one dataset: rows are read in one snapshot, then pass the steps of the view without a connection held."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection

from gristmill.core.config import Settings
from gristmill.core.database import Database, read_one_moment
from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.applied import AppliedDatasets
from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import batch_of, record_table
from gristmill.datasets.describe import shorten
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.parents.above import attach_above
from gristmill.datasets.step_types import bound_types
from gristmill.datasets.types import TYPES
from gristmill.datasets.views import bind_view
from gristmill.jobs.repository.read import newest_batch
from gristmill.records.arrow_rows import read_rows
from gristmill.records.read.pages import PageQuery, conditions_of
from gristmill.records.views.errors import UnknownBatch, UnknownView, ViewTooLarge
from gristmill.records.views.repository import (
    Conditions,
    measure_rows,
    newest_standing,
    read_view_rows,
)
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.run import run, whole
from gristmill.transforms.spec import Column, Step, StepContext, Types


@dataclass(frozen=True, slots=True)
class Viewed:
    """The rows of a view. columns: those of ``table``. batch: of the newest batch its job, how
    many rows that wrote, and how many of them do not stand any more; None over a window, and where no job is known."""

    columns: Sequence[Column]
    table: pa.Table
    types: Types
    batch: dict[str, Any] | None


class RecordViews:
    """Reads views. Raises UnknownDataset for a name that no dataset has."""

    def __init__(self, settings: Settings, database: Database, datasets: DatasetLookup, steps: StepRegistry) -> None:
        self._database = database
        self._datasets = AppliedDatasets(datasets)
        self._most_rows, self._most_bytes = settings.views_max_rows, settings.views_max_bytes
        self._bind = lru_cache(maxsize=1000)(lambda contract, view: bind_view(contract, view, steps))

    def read(self, name: str, view: str, query: PageQuery, batch: uuid.UUID | None = None) -> Viewed:
        """Return the rows of the view over the newest batch, that of the job ``batch``, or what ``query`` selects.

        Raises UnknownView, UnknownBatch, Invalid, ViewTooLarge.
        """
        if batch is not None and (query.start, query.end, query.where) != (None, None, None):
            reason = "a batch is taken whole: give batch, or start, end and where"
            raise Invalid(reason, [Violation("/query/batch", "not_applicable", reason, field="batch")])
        contract, rows, said = self._read(name, view, query, batch)
        return self._made(contract, view, rows, said)

    def _read(
        self, name: str, view: str, query: PageQuery, job: uuid.UUID | None
    ) -> tuple[Contract, pa.Table, dict[str, Any] | None]:
        with self._database.transaction() as connection:
            read_one_moment(connection)
            with self._datasets.reading(connection, name) as found:
                contract = found.dataset.contract
                self._steps(contract, view)
                filtered = attach_above(connection, contract, query.where)
                conditions: Conditions = conditions_of(filtered, query, record_table(contract))
                if not found.has_table:
                    return contract, read_rows(contract.fields, b""), None
                batch = None
                if query.start is None and query.end is None and query.where is None:
                    batch, number = _batch(connection, found.dataset, job)
                    conditions = [batch_of(record_table(contract)) == number]
                count, size = measure_rows(connection, contract, conditions, self._most_rows)
                self._check(view, count, size)
                rows = read_view_rows(connection, contract, conditions)
                if batch is not None:
                    batch["superseded"] = batch["rows"] - rows.num_rows
        return contract, rows, batch

    def _check(self, view: str, count: int, size: int) -> None:
        if count > self._most_rows:
            raise ViewTooLarge(
                f"The view {view} would be made of {count} records: at most {self._most_rows} are possible"
                " (views.max_rows); choose a smaller window, or a filter",
                records=count,
                max_records=self._most_rows,
            )
        if size > self._most_bytes:
            raise ViewTooLarge(
                f"The view {view} would be made of {count} records of about {size} bytes: at most {self._most_bytes}"
                " are possible (views.max_bytes); choose a smaller window, or a filter",
                max_bytes=self._most_bytes,
            )

    def _steps(self, contract: Contract, view: str) -> list[Step]:
        if view not in contract.views.root:
            valid = ", ".join(sorted(contract.views.root)) or "it has none"
            raise UnknownView(f"The dataset {contract.name} has no view {shorten(view)}; its views: {valid}")
        steps: list[Step] = self._bind(contract, view)
        return steps

    def _made(self, contract: Contract, view: str, rows: pa.Table, batch: dict[str, Any] | None) -> Viewed:
        context = StepContext(most_bytes=2 * self._most_bytes)
        made = run(self._steps(contract, view), as_steps_see(contract, rows), context)
        if made.failed:
            failed = made.failed[0]
            assert failed.step is not None
            step, op = failed.step
            record = rows.slice(failed.record, 1).select(contract.key or rows.column_names[:1]).to_pylist()[0]
            reason = f"step {step} ({op}) of the view {view}: {failed.reason}, in the record {shorten(record)}"
            raise Invalid(reason, [Violation("", failed.code, reason, field=failed.field)])
        assert made.columns is not None
        return Viewed([*made.columns.values()], made.table, bound_types(contract), batch)


def as_steps_see(contract: Contract, rows: pa.Table) -> pa.Table:
    """Return exported columns as the columns of payloads, which steps know."""
    columns = {}
    for field in contract.fields:
        column, kind = rows.column(field.name), TYPES[field.type]
        if column.type != kind.arrow(field):
            plain = field.model_copy(update={**kind.widest, "minimum": None, "maximum": None, "enum": None})
            values, _ = kind.check_column(plain, whole(column))
            column = pa.chunked_array([values])
        columns[field.name] = column
    return pa.table(columns)


def _batch(
    connection: Connection, dataset: Dataset, wanted: uuid.UUID | None
) -> tuple[dict[str, Any] | None, int | None]:
    """Return what is said of the newest batch, or of that of a job, and its number. Raises UnknownBatch."""
    job = newest_batch(connection, dataset.scope, dataset.id, wanted)
    if job is None and wanted is not None:
        raise UnknownBatch(f"No job {wanted} has brought records to {dataset.name}, or it has not succeeded")
    if job is None:
        # Its job has been deleted for its age, or the records were copied from another dataset.
        return None, newest_standing(connection, dataset.contract)
    written = (job["result"] or {}).get("rows", job["records_succeeded"])
    return {"job": str(job["id"]), "finished_at": job["finished_at"].isoformat(), "rows": written}, job["seq"]
