"""SQL of views: the rows that one is made of, as one Arrow table."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.core.copy import copy_query
from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import batch_of, record_table
from gristmill.records.arrow_rows import read_rows, written_columns
from gristmill.records.row_bytes import row_bytes

Conditions = Sequence[sa.ColumnElement[bool]]


def measure_rows(connection: Connection, contract: Contract, conditions: Conditions, most: int) -> tuple[int, int]:
    """Return how many rows there are, and about how many bytes they have as text; of more than ``most`` the count."""
    table = record_table(contract)
    size = row_bytes(contract, [field.name for field in contract.fields], table)
    some = sa.select(size.label("bytes")).where(*conditions).limit(most + 1).subquery()
    count, total = connection.execute(sa.select(sa.func.count(), sa.func.sum(some.c.bytes)).select_from(some)).one()
    if count > most:
        count = connection.execute(sa.select(sa.func.count()).select_from(table).where(*conditions)).scalar_one()
    return int(count), int(total or 0)


def read_view_rows(connection: Connection, contract: Contract, conditions: Conditions) -> pa.Table:
    """Return the fields of the rows, ordered by time, then by key, or without a key by submission."""
    table = record_table(contract)
    time = [] if contract.time_field is None else [table.c[contract.time_field].asc().nulls_last()]
    rest = [table.c[name] for name in contract.key or ("_seq", "_ord")]
    columns: list[Any] = written_columns(contract.fields, table)
    select = sa.select(*columns).where(*conditions).order_by(*time, *rest)
    copied = copy_query(connection, select, "COPY ({}) TO STDOUT (FORMAT csv)")
    return read_rows(contract.fields, copied)


def newest_standing(connection: Connection, contract: Contract) -> int | None:
    """Return the number of the newest batch that has rows in the table."""
    table = record_table(contract)
    newest = sa.select(batch_of(table)).order_by(batch_of(table).desc()).limit(1)
    found: int | None = connection.execute(newest).scalar()
    return found
