"""SQL about the ids of the records of one dataset: how many, up to where, how many were replaced."""

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.core.database import DATA_SCHEMA, data_relation

_LAST_ID = """
SELECT pg_sequence_last_value(pg_get_serial_sequence(%(table)s, '_id')::regclass)
"""
# Rows that were replaced or deleted since Postgres' statistics began: tells that segments may hold dead ones.
_CHANGES = """
SELECT coalesce(n_tup_upd + n_tup_del, 0) FROM pg_stat_user_tables WHERE relid = to_regclass(%(table)s)
"""


def count_records(connection: Connection, table: str, lo: int, hi: int | None = None, limit: int | None = None) -> int:
    """Count the records with ``lo <= _id < hi``, by the index on ``_id`` alone; stop at ``limit``."""
    column = sa.column("_id", sa.BigInteger)
    picked = sa.select(sa.literal(1)).select_from(sa.table(table, column, schema=DATA_SCHEMA)).where(column >= lo)
    if hi is not None:
        picked = picked.where(column < hi)
    counted = picked.limit(limit).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(counted)).scalar_one())


def id_after(connection: Connection, table: str, start: int, rows: int) -> int | None:
    """Return the ``_id`` of the record after the first ``rows`` from ``start`` on; None if there are no more."""
    column = sa.column("_id", sa.BigInteger)
    picked = sa.select(column).select_from(sa.table(table, column, schema=DATA_SCHEMA)).where(column >= start)
    found: int | None = connection.execute(picked.order_by(column).offset(rows).limit(1)).scalar()
    return found


def highest_id(connection: Connection, table: str) -> int:
    """Return the highest ``_id`` that is visible now; 0 in an empty table."""
    column = sa.column("_id", sa.BigInteger)
    highest = sa.select(sa.func.max(column)).select_from(sa.table(table, column, schema=DATA_SCHEMA))
    return connection.execute(highest).scalar() or 0


def last_drawn_id(connection: Connection, table: str) -> int:
    """Return the last ``_id`` that any transaction has drawn, committed or not; 0 if none was."""
    drawn: int | None = connection.exec_driver_sql(_LAST_ID, {"table": data_relation(table)}).scalar()
    return drawn or 0


def changes(connection: Connection, table: str) -> int:
    """Return how many records of the table were replaced or deleted, as far as Postgres has counted."""
    return int(connection.exec_driver_sql(_CHANGES, {"table": data_relation(table)}).scalar() or 0)
