"""SQL of recomputing: slices of the table in the order of ``_id``, and what is written of each."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.core.database import data_relation
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.ddl import IN_ITS_BATCH, record_table
from gristmill.datasets.parents.above import attach_above
from gristmill.datasets.types import TYPES
from gristmill.datasets.where import compile_where
from gristmill.kit.identifiers import quote
from gristmill.records.apply.copy_binary import copy_table
from gristmill.records.columns import to_table
from gristmill.records.row_bytes import row_bytes

# Rows of a slice, and bytes of what is read of them.
SLICE_ROWS = 5000
SLICE_BYTES = 4 * 1024 * 1024
# The ``_id`` that a row had when it was read.
ID_COLUMN = FieldSpec(name="_id", type="integer")
_STAGE = "gristmill_recomputed"


def read_slices(
    connection: Connection, contract: Contract, names: Sequence[str], where: Any
) -> Iterator[tuple[pa.Table, float]]:
    """Yield the records that the filter finds, in slices: the columns ``names`` and ``_id``; and the share that is
    done. What is written of a slice gets an ``_id`` behind all of them, and is not met again."""
    table = record_table(contract)
    first, last = connection.execute(sa.select(sa.func.min(table.c["_id"]), sa.func.max(table.c["_id"]))).one()
    condition = compile_where(where, attach_above(connection, contract, where), table)
    fields = [*(contract.column(name) for name in names), ID_COLUMN]
    after = None if first is None else first - 1
    while after is not None and after < last:
        end = _end(connection, contract, names, table, (after, last))
        if end is None:
            return
        shown = [table.c[field.name] for field in fields]
        found = connection.execute(sa.select(*shown).where(table.c["_id"] > after, table.c["_id"] <= end, condition))
        rows = [dict(zip((field.name for field in fields), row, strict=True)) for row in found]
        after = end
        yield to_table(fields, rows), min(1.0, (after - first + 1) / (last - first + 1))


def _end(
    connection: Connection, contract: Contract, names: Sequence[str], table: sa.Table, between: tuple[int, int]
) -> int | None:
    """Return the last ``_id`` of the slice that begins after the first of two; None if there is nothing left."""
    after, last = between
    ids = table.c["_id"]
    rows = sa.select(ids, row_bytes(contract, names, table).label("_bytes")).where(ids > after, ids <= last)
    part = rows.order_by(ids).limit(SLICE_ROWS).subquery()
    total = sa.func.sum(part.c["_bytes"]).over(order_by=part.c["_id"], rows=(None, 0)).label("total")
    place = sa.func.row_number().over(order_by=part.c["_id"]).label("place")
    sums = sa.select(part.c["_id"], total, place).subquery()
    fits = sa.or_(sums.c.place == 1, sums.c.total <= SLICE_BYTES)
    found: int | None = connection.execute(sa.select(sa.func.max(sums.c["_id"])).where(fits)).scalar()
    return found


def write(connection: Connection, contract: Contract, table: pa.Table, seq: int) -> int:
    """Set the columns of ``table`` in the rows whose ``_id`` it names; return how many there were.

    All calls of one transaction give the same columns.
    seq: the number of the job. Records without a key keep their places in the order of submission.
    """
    fields = [ID_COLUMN if name == ID_COLUMN.name else contract.column(name) for name in table.column_names]
    stage = ", ".join(f"{quote(field.name)} {TYPES[field.type].staging(field)}" for field in fields)
    # One for all slices: each table that is dropped keeps its locks until the transaction ends.
    connection.exec_driver_sql(f"CREATE TEMP TABLE IF NOT EXISTS {_STAGE} ({stage}) ON COMMIT DROP")
    connection.exec_driver_sql(f"TRUNCATE {_STAGE}")
    names = ", ".join(quote(field.name) for field in fields)
    copy_table(connection, f"COPY {_STAGE} ({names}) FROM STDIN (FORMAT binary)", table, fields)
    values = [
        f"{quote(one.name)} = s.{quote(one.name)}{TYPES[one.type].cast}" for one in fields if one is not ID_COLUMN
    ]
    written = [IN_ITS_BATCH, "_seq = %(seq)s", "_ord = 0"] if contract.key else []
    # A new _id takes the row out of every sealed range, so that no vector index is touched.
    assignments = ", ".join([*values, *written, "_id = DEFAULT"])
    query = f"UPDATE {data_relation(contract.name)} AS t SET {assignments} FROM {_STAGE} AS s WHERE t._id = s._id"  # noqa: S608
    return connection.exec_driver_sql(query, {"seq": seq}).rowcount
