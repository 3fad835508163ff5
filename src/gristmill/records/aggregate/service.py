"""Aggregates of one dataset: reads the request, runs its statement, and has the answer written."""

from functools import partial

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.core.config import Settings
from gristmill.core.database import Database, read_one_moment
from gristmill.core.errors import Violation
from gristmill.datasets.applied import AppliedDatasets
from gristmill.datasets.ddl import record_table
from gristmill.datasets.lookup import DatasetLookup
from gristmill.datasets.parents.above import attach_above
from gristmill.datasets.types import TYPES
from gristmill.kit.zone_changes import Offsets
from gristmill.records.aggregate import repository
from gristmill.records.aggregate.answer import Answer
from gristmill.records.aggregate.base import nothing
from gristmill.records.aggregate.bucket_sql import zoned_text
from gristmill.records.aggregate.checks import read_plan
from gristmill.records.aggregate.errors import TooManyRows
from gristmill.records.aggregate.formats import FORMATS, Format
from gristmill.records.aggregate.relation import Column
from gristmill.records.aggregate.schemas import AggregateRequest
from gristmill.records.aggregate.statement import Statement
from gristmill.records.bodies import read_body
from gristmill.records.spool import Spool


class RecordAggregates:
    """Computes aggregates; every answer is of one moment."""

    def __init__(self, settings: Settings, database: Database, datasets: DatasetLookup, spool: Spool) -> None:
        self._most = settings.aggregate_max_rows
        self._database = database
        self._datasets = AppliedDatasets(datasets)
        self._spool = spool

    def answer(self, name: str, raw: bytes, format: str) -> Answer:
        """Return the answer to ``raw``, an AggregateRequest, of the dataset ``name``; the caller closes it.

        format: one of FORMATS. Raises Malformed, Invalid, UnknownDataset, DatasetFailed, Unavailable.
        """
        request = read_body(AggregateRequest, raw)
        with self._database.autocommit() as connection, self._datasets.reading(connection, name):
            # A change that has failed is settled by whoever reads first, which a read-only transaction cannot.
            pass
        with self._database.transaction() as connection, repository.explained(name):
            read_one_moment(connection)
            with self._datasets.reading(connection, name) as found:
                plan = read_plan(request, attach_above(connection, found.dataset.contract, request.where))
                whole = record_table(found.dataset.contract)
                table: sa.FromClause = whole if found.has_table else nothing(whole)
                statement = Statement(connection, plan, table, self._most)
                return self._written(connection, statement, FORMATS[format](statement.rows.columns, plan.zone))

    def _written(self, connection: Connection, statement: Statement, format: Format) -> Answer:
        rows = statement.rows
        shown = [_shown(connection, column, format, statement.offsets) for column in rows.columns]
        copy = format.copy(shown, partial(rows.select, rest=f"{rows.order_by()} LIMIT {statement.limit}"))
        answer = Answer(self._spool, format)
        try:
            answer.rows = repository.copy_rows(connection, copy, answer)
            if answer.rows > self._most:
                reason = f"The answer has more than {self._most} rows (aggregate_max_rows)"
                more = "take longer buckets, a filter, or a limit"
                raise TooManyRows(f"{reason}: {more}", [Violation("/limit", "too_many_rows", reason, field="limit")])
        except BaseException:
            answer.close()
            raise
        return answer


def _shown(connection: Connection, column: Column, format: Format, offsets: Offsets) -> str:
    """Return the SQL of what is written of a column."""
    kind = TYPES[column.field.type]
    if column.edge and format.text_edges and column.field.type == "timestamp":
        return zoned_text(column.label, offsets)
    expression = format.expression(kind, sa.literal_column(column.label, kind.column(column.field)))
    return repository.render(connection, expression)
