"""An export's rows, cut into pages: which rows, in which order, and where each page ends.

The order is one that no write moves a record in: by key, or by submission where there is none. So whatever is written
while the pages are read one after the other, no record can be met twice, and one that is there all the time is met.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.contract_parser import Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.where import compile_where
from gristmill.records.read.keyset import SUBMISSION, Term, after, order_by
from gristmill.records.read.pages import PageQuery, window
from gristmill.records.read.shape import RecordShape, check_fields
from gristmill.records.row_bytes import row_bytes

PAGE_ROWS = 5000
# Bytes that the values of a page have together; a record that is larger than that is a page of its own.
PAGE_BYTES = 4 * 1024 * 1024
# Rows that a page looks at where looking for matches alone would take too long.
SCANNED_ROWS = 50_000

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """What to export. start, end, where: as in PageQuery. fields: names, None for all."""

    start: str | None = None
    end: str | None = None
    where: Any = None
    fields: Sequence[str] | None = None
    embedding: bool = False


class Scan:
    """The rows that ``query`` selects. Raises Invalid for unknown fields, bad bounds and bad filters.

    names: the exported columns in their order.
    bounded: look at a fixed number of rows for each page, however few match. Without it Postgres looks for a page full
    of matches with a plan of its own choice, which may take too long where matches are rare.
    """

    def __init__(self, contract: Contract, query: ExportQuery) -> None:
        self.contract = contract
        self.table = record_table(contract)
        names = check_fields(query.fields, contract, "/query/fields")
        self.names = RecordShape(contract, query.embedding, names).names
        self.bounded = False
        limits = window(contract, PageQuery(start=query.start, end=query.end), self.table)
        self._terms = tuple(Term(name) for name in _order(contract, bool(limits)))
        self._filters: list[sa.ColumnElement[bool]] = []
        self._range: list[sa.ColumnElement[bool]] = []
        (self._range if self._terms[0].column == contract.time_field else self._filters).extend(limits)
        if query.where is not None:
            self._filters.append(compile_where(query.where, contract, self.table))

    @property
    def filtered(self) -> bool:
        return bool(self._filters)

    @property
    def selective(self) -> bool:
        return bool(self._filters or self._range)

    def find_end(self, connection: Connection, last: Values | None) -> tuple[Values, int] | None:
        """Return where the page after ``last`` ends, and how many rows it has; None when there is nothing left."""
        table, terms = self.table, self._terms
        columns = [table.c[term.column] for term in terms]
        hit = sa.and_(sa.true(), *self._filters) if self.bounded else sa.true()
        limit = SCANNED_ROWS if self.bounded else PAGE_ROWS
        conditions = [*self._range, *([] if self.bounded else self._filters), *self._after(last)]
        found = sa.select(*columns, hit.label("_hit"), row_bytes(self.contract, self.names, table).label("_bytes"))
        rows = found.where(*conditions).order_by(*order_by(terms, table)).limit(limit).subquery()
        order = [rows.c[term.column] for term in terms]

        def running(value: Any) -> Any:
            return sa.func.sum(sa.case((rows.c["_hit"], value), else_=0)).over(order_by=order, rows=(None, 0))

        sums = sa.select(
            *order,
            sa.func.row_number().over(order_by=order).label("_place"),
            running(1).label("_hits"),
            running(rows.c["_bytes"]).label("_total"),
        ).subquery()
        fits = sa.and_(sums.c["_hits"] <= PAGE_ROWS, sums.c["_total"] <= PAGE_BYTES)
        ends = sa.select(*(sums.c[term.column] for term in terms), sums.c["_hits"])
        ends = ends.where(sa.or_(sums.c["_place"] == 1, fits)).order_by(sums.c["_place"].desc()).limit(1)
        row = connection.execute(ends).first()
        return None if row is None else (tuple(row[:-1]), int(row[-1]))

    def select(self, shown: Sequence[sa.ColumnElement[Any]], last: Values | None, end: Values) -> sa.Select[Any]:
        """Return the query of ``shown`` for the rows of the page after ``last`` up to ``end``."""
        columns = [self.table.c[term.column] for term in self._terms]
        bounds = [sa.literal(value, column.type) for column, value in zip(columns, end, strict=True)]
        upto = sa.tuple_(*columns) <= sa.tuple_(*bounds)
        conditions = [*self._range, *self._filters, *self._after(last), upto]
        return sa.select(*shown).where(*conditions).order_by(*order_by(self._terms, self.table))

    def _after(self, last: Values | None) -> list[sa.ColumnElement[bool]]:
        return [] if last is None else [after(self._terms, last, self.table)]


def _order(contract: Contract, windowed: bool) -> tuple[str, ...]:
    """Return the columns that the pages are ordered by.

    A window is read by the index on time, but only where an upsert cannot change a record's time: else a record could
    move ahead of the page and be met again.
    """
    key = contract.key or SUBMISSION
    time = contract.time_field
    if windowed and time is not None and (not contract.key or time in contract.key):
        return (time, *(part for part in key if part != time))
    return tuple(key)
