"""Reads of stored records: by key, the newest, and pages over a window and a filter."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic_core import ValidationError
from sqlalchemy import Connection

from gristmill.core.errors import Invalid, Violation
from gristmill.core.page_tokens import read_page_token
from gristmill.datasets.contract_parser import Contract, FieldSpec
from gristmill.datasets.ddl import record_table
from gristmill.datasets.types import TYPES
from gristmill.datasets.where import compile_where
from gristmill.kit.pagination import encode_page_token
from gristmill.records.etags import LastWrite
from gristmill.records.read.keyset import (
    SUBMISSION,
    Term,
    after,
    order_by,
    parse_order,
    read_values,
    show_values,
)
from gristmill.records.read.shape import Record, RecordShape, check_fields, check_zone

MAX_PAGE = 1000
# A token travels in a URL, and servers refuse those of more than about 64 KiB.
MAX_TOKEN = 32_000


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What to list.

    start, end: inclusive bounds of the time field, as text. where: parsed JSON, None for all records. order: as a URL
    has it. fields: names of what to show, None for all. total: count the matching records too. zone: as of RecordShape.
    also: names of fields that are read and not shown. at: where these members stand in the request.
    """

    start: str | None = None
    end: str | None = None
    where: Any = None
    order: str | None = None
    page_size: int = 100
    page_token: str | None = None
    embedding: bool = False
    fields: Sequence[str] | None = None
    total: bool = False
    zone: str | None = None
    also: Sequence[str] = ()
    at: str = "/query"

    def identity(self, dataset_id: object) -> str:
        """Return the text that a page token is bound to: everything but size and place of the page."""
        return json.dumps([str(dataset_id), self.start, self.end, self.where, self.order], sort_keys=True)


@dataclass(frozen=True, slots=True)
class Page:
    """total: how many records match on all pages, None where nobody asked. rows: those of the records."""

    records: list[Record]
    next_page_token: str | None
    total: int | None = None
    rows: Sequence[Any] = ()

    def as_json(self) -> dict[str, Any]:
        total = {} if self.total is None else {"total": self.total}
        return {"records": self.records, "next_page_token": self.next_page_token, **total}


def read_one(
    connection: Connection,
    contract: Contract,
    key: tuple[Any, ...],
    embedding: bool = False,
    zone: str | None = None,
    also: Sequence[str] = (),
) -> tuple[Record, LastWrite, Any] | None:
    """Return the record with this key as JSON, which write it is of, and its row; or None."""
    shape = RecordShape(contract, embedding, zone=check_zone(zone, "/query/zone"), also=also)
    written = [shape.table.c[name] for name in SUBMISSION]
    statement = sa.select(*shape.columns, *written).where(key_is(shape.table, contract, key))
    row = connection.execute(statement).first()
    return None if row is None else (shape.to_json(row), LastWrite(row[-2], row[-1]), row)


def read_value(connection: Connection, contract: Contract, key: tuple[Any, ...], field: str) -> Any:
    """Return a row with one column, the field of the record with this key; None where there is no record."""
    table = record_table(contract)
    return connection.execute(sa.select(table.c[field]).where(key_is(table, contract, key))).first()


def key_is(table: sa.Table, contract: Contract, key: tuple[Any, ...]) -> sa.ColumnElement[bool]:
    """Return the condition that picks the record with this key."""
    return sa.and_(*(table.c[name] == value for name, value in zip(contract.key, key, strict=True)))


def read_latest(
    connection: Connection,
    contract: Contract,
    count: int,
    embedding: bool = False,
    zone: str | None = None,
    also: Sequence[str] = (),
) -> Page:
    """Return the newest records, newest first: by the time field, or without one in the order of submission.

    Records that have no time are not among them.
    """
    shape = RecordShape(contract, embedding, zone=check_zone(zone, "/query/zone"), also=also)
    statement = sa.select(*shape.columns).limit(count)
    if contract.time_field is None:
        terms: tuple[Term, ...] = tuple(Term(name, descending=True) for name in SUBMISSION)
    else:
        terms = parse_order(None, contract, [Term(contract.time_field, descending=True)])
        statement = statement.where(shape.table.c[contract.time_field].is_not(None))
    statement = statement.order_by(*order_by(terms, shape.table))
    rows = connection.execute(statement).all()
    return Page([shape.to_json(row) for row in rows], None, rows=rows)


def read_page(
    connection: Connection, contract: Contract, query: PageQuery, identity: str, has_table: bool = True
) -> Page:
    """Return one page of the records that ``query`` matches.

    A record that is not written to while a client walks the pages is listed exactly once; one that is upserted may be
    listed where it was, where it is, or both. Without a table the query is checked and nothing is found.
    Raises Invalid for bad bounds, filters and orders, Malformed for tokens.
    """
    names = check_fields(query.fields, contract, f"{query.at}/fields")
    zone = check_zone(query.zone, f"{query.at}/zone")
    shape = RecordShape(contract, query.embedding, names, zone, query.also)
    table = shape.table
    conditions = conditions_of(contract, query, table)
    windowed = query.start is not None or query.end is not None
    default = [Term(contract.time_field)] if windowed and contract.time_field else []
    terms = parse_order(query.order, contract, default, f"{query.at}/order")
    total = _count(connection, table, conditions) if query.total and has_table else 0 if query.total else None
    if windowed:
        # The bounds let no row without a time through, and an order without nulls is one range of an index.
        terms = tuple(Term(t.column, t.descending) if t.column == contract.time_field else t for t in terms)
    if query.page_token is not None:
        shown = read_page_token(query.page_token, identity, pointer=f"{query.at}/page_token")
        conditions.append(after(terms, read_values(terms, shown, contract), table))
    if not has_table:
        return Page([], None, total)
    extra = [table.c[term.column] for term in terms if term.column not in shape.selected]
    statement = sa.select(*shape.columns, *extra).where(*conditions).order_by(*order_by(terms, table))
    rows = connection.execute(statement.limit(query.page_size + 1)).all()
    token = None
    if len(rows) > query.page_size:
        rows = rows[: query.page_size]
        token = encode_page_token(show_values(terms, rows[-1]._mapping, contract), identity)
        if len(token) > MAX_TOKEN:
            names = ", ".join(term.column for term in terms)
            reason = f"The values of {names} are too long to continue a page from: order by shorter fields"
            raise Invalid(reason, [Violation(f"{query.at}/order", "order_too_long", reason, field="order")])
    return Page([shape.to_json(row) for row in rows], token, total, rows)


def read_count(connection: Connection, contract: Contract, query: PageQuery, has_table: bool = True) -> int:
    """Return how many records ``query`` matches. Raises Invalid for bad bounds and filters."""
    table = record_table(contract)
    conditions = conditions_of(contract, query, table)
    return _count(connection, table, conditions) if has_table else 0


def _count(connection: Connection, table: sa.Table, conditions: Sequence[sa.ColumnElement[bool]]) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(*conditions)).scalar_one())


def conditions_of(contract: Contract, query: PageQuery, table: sa.Table) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of the window and of the filter. Raises Invalid."""
    conditions = [*window(contract, query, table)]
    if query.where is not None:
        conditions.append(compile_where(query.where, contract, table))
    return conditions


def window(contract: Contract, query: PageQuery, table: sa.Table) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of the bounds of ``query``. Raises Invalid, also where there is no time field."""
    given = {name: text for name, text in (("start", query.start), ("end", query.end)) if text is not None}
    if not given:
        return []
    if contract.time_field is None:
        name = next(iter(given))
        reason = f"{name} needs a time field, and the contract of {contract.name} names none: filter with where instead"
        raise Invalid(reason, [Violation(f"{query.at}/{name}", "no_time_field", reason, field=name)])
    field = contract.field(contract.time_field)
    column = table.c[field.name]
    violations: list[Violation] = []
    conditions: list[sa.ColumnElement[bool]] = []
    for name, text in given.items():
        value = _moment(field, name, text, query.at, violations)
        if value is not None:
            conditions.append(column >= value if name == "start" else column <= value)
    if violations:
        raise Invalid(f"The window is not valid: {violations[0].reason}", violations)
    return conditions


def _moment(field: FieldSpec, name: str, text: str, at: str, violations: list[Violation]) -> Any:
    plain = FieldSpec(name=field.name, type=field.type, zone=field.zone)
    kind = TYPES[field.type]
    try:
        return kind.parse(plain, kind.from_query(text))
    except ValidationError as error:
        code, reason = kind.explain(plain, error.errors()[0])
        violations.append(Violation(f"{at}/{name}", code, f"{name}: {reason}", field=name))
        return None
