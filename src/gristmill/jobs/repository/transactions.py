"""SQL about the transaction that a function of a plugin writes in: its limits, and which one it is."""

from sqlalchemy import Connection

# Top-level id of the transaction: savepoints do not change it, and whatever begins another transaction does.
_BEGIN = """
SET LOCAL statement_timeout TO {statement}; SET LOCAL idle_in_transaction_session_timeout TO {idle};
SELECT pg_current_xact_id()::text
"""
_END = """
SET LOCAL statement_timeout TO DEFAULT; SET LOCAL idle_in_transaction_session_timeout TO DEFAULT;
SELECT pg_current_xact_id()::text
"""


def begin(connection: Connection, statement: float, idle: float) -> str:
    """Let a statement, and a pause between two, take so many seconds; return the id of the transaction."""
    sql = _BEGIN.format(statement=int(statement * 1000), idle=int(idle * 1000))
    return str(connection.exec_driver_sql(sql).scalar_one())


def end(connection: Connection) -> str:
    """Set the usual limits again; return the id of the transaction that the connection is in."""
    return str(connection.exec_driver_sql(_END).scalar_one())
