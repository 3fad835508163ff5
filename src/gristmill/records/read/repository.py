"""Reads of a dataset's table that are no pages: many records by their keys, distinct values with their counts."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import JSONB

from gristmill.datasets.contract_parser import Contract
from gristmill.datasets.keys import show_key
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.json import dump_json
from gristmill.records.key_list import Key, listed_keys
from gristmill.records.read.distinct import Values
from gristmill.records.read.shape import Record, RecordShape

Condition = sa.ColumnElement[bool]


def read_many(
    connection: Connection, contract: Contract, keys: Sequence[Key], shape: RecordShape
) -> tuple[list[Record], list[Any], Sequence[Any]]:
    """Return the records in the order of their keys; the keys, as JSON, that no record has; the rows of the records."""
    if not keys:
        return [], [], []
    listed, same = listed_keys(contract, shape.table, keys)
    statement = sa.select(*shape.columns, listed.c.place).select_from(listed.join(shape.table, same))
    rows = connection.execute(statement.order_by(listed.c.place)).all()
    found = {row[-1] for row in rows}
    missing = [show_key(contract, key) for place, key in enumerate(keys, 1) if place not in found]
    return [shape.to_json(row) for row in rows], missing, rows


def read_distinct(
    connection: Connection,
    values: Values,
    table: sa.Table,
    conditions: Sequence[Condition],
    order: str,
    limit: int,
    last: Sequence[Any] | None,
) -> list[Any]:
    """Return up to ``limit`` rows (value, count): most frequent first, or by value; null comes last among equals.

    last: value and count of the row before the first one, the value canonical.
    """
    groups = (
        sa.select(values.expression.label("value"), sa.func.count().label("records"))
        .select_from(table)
        .where(*conditions)
        .group_by(values.expression)
        .subquery()
    )
    value, records = groups.c.value, groups.c.records
    statement = sa.select(value, records)
    if last is not None:
        beyond = _beyond(value, values, last[0])
        if order == "count":
            beyond = sa.or_(records < last[1], sa.and_(records == last[1], beyond))
        statement = statement.where(beyond)
    by = [records.desc(), value.asc()] if order == "count" else [value.asc()]
    return list(connection.execute(statement.order_by(*by).limit(limit)))


def _beyond(value: sa.ColumnElement[Any], values: Values, last: Any) -> Condition:
    """Return the condition of the values that come after ``last``."""
    if last is None:
        return sa.false()
    if TYPES[values.field.type].nests:
        bound: sa.ColumnElement[Any] = sa.cast(sa.literal(dump_json(last), sa.Text()), JSONB())
    else:
        bound = sa.literal(last, value.type)
    return sa.or_(value > bound, value.is_(None))
