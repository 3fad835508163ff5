"""SQL of nested reads: the records of one relation that belong to records of a level above, or below."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from gristmill.datasets.contract import Contract
from gristmill.datasets.types import TYPES
from gristmill.records.read.keyset import SUBMISSION
from gristmill.records.read.shape import RecordShape
from gristmill.records.row_bytes import row_bytes


def read_related(
    connection: Connection, contract: Contract, shape: RecordShape, field: str, keys: Sequence[Any], limit: int
) -> Sequence[Sequence[Any]]:
    """Return the records whose ``field`` has one of these values, in the order of their keys, at most ``limit``.

    keys: distinct canonical values. Which ones are left out beyond the limit is not said. The rows are those of
    ``shape``.
    """
    some, order = _some(contract, shape, field, keys, limit)
    result = connection.execute(sa.select(*(some.c[column.name] for column in shape.columns)).order_by(*order))
    if _is_converted(shape, result.cursor.description, connection.dialect):
        return result.all()
    # As psycopg2 has them: making rows of SQLAlchemy takes as long as reading them.
    rows: Sequence[Sequence[Any]] = result.cursor.fetchall()
    result.close()
    return rows


def read_lists(
    connection: Connection, contract: Contract, shape: RecordShape, field: str, keys: Sequence[Any], limit: int
) -> list[tuple[Any, int, str]]:
    """Return what ``read_related`` does as a row for each value: it, how many records have it, and their JSON list."""
    some, order = _some(contract, shape, field, keys, limit)
    record = sa.select(*shape.members(some)).correlate(some).lateral("record")
    listed = sa.cast(sa.func.json_agg(aggregate_order_by(record.table_valued(), *order)), sa.Text)
    groups = sa.select(some.c[field], sa.func.count(), listed).select_from(some.join(record, sa.true()))
    return [(key, count, text) for key, count, text in connection.execute(groups.group_by(some.c[field]))]


def _is_converted(shape: RecordShape, described: Sequence[Sequence[Any]], dialect: sa.Dialect) -> bool:
    """Say whether SQLAlchemy makes something else of values that psycopg2 reads. described: the columns of a cursor."""
    types = [column.type.dialect_impl(dialect) for column in shape.columns]
    return any(
        type_.result_processor(dialect, column[1]) is not None for type_, column in zip(types, described, strict=True)
    )


def count_related(
    connection: Connection, contract: Contract, shape: RecordShape, field: str, keys: Sequence[Any]
) -> int:
    """Return how many records ``read_related`` would find without a limit."""
    statement = sa.select(sa.func.count()).select_from(_joined(contract, shape, field, keys))
    return int(connection.execute(statement).scalar_one())


def measure_related(
    connection: Connection, contract: Contract, shape: RecordShape, field: str, places: Mapping[Any, int], limit: int
) -> int:
    """Return about how many bytes up to ``limit`` of these records have. places: how often those of a value count."""
    size = row_bytes(contract, shape.names, shape.table)
    rows = _joined(contract, shape, field, list(places), list(places.values()))
    weighed = sa.select((size * sa.column("places")).label("size")).select_from(rows).limit(limit).subquery()
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(weighed.c.size), 0))).scalar_one())


def _some(
    contract: Contract, shape: RecordShape, field: str, keys: Sequence[Any], limit: int
) -> tuple[sa.Subquery, list[sa.ColumnElement[Any]]]:
    """Return the records as a subquery, and what they are ordered by."""
    order = [shape.table.c[name] for name in contract.key or SUBMISSION]
    more = [column for column in order if column.name not in shape.names]
    # Limited before it is sorted: no plan may read the table in its order instead of looking for a few records.
    some = sa.select(*shape.columns, *more).select_from(_joined(contract, shape, field, keys)).limit(limit).subquery()
    return some, [some.c[column.name] for column in order]


def _joined(
    contract: Contract, shape: RecordShape, field: str, keys: Sequence[Any], places: Sequence[int] | None = None
) -> sa.FromClause:
    kind, column = TYPES[contract.field(field).type], shape.table.c[field]
    arrays = {"key": sa.cast([kind.parameter(key) for key in keys], ARRAY(column.type))}
    if places is not None:
        arrays["places"] = sa.cast(places, ARRAY(sa.BigInteger))
    # A list that is compared with = ANY would be planned value by value.
    rows = sa.func.unnest(*arrays.values()).table_valued(*arrays).render_derived(name="listed")
    return rows.join(shape.table, column == rows.c.key)
