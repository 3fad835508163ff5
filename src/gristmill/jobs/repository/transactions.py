"""SQL about the transaction that a function of a plugin writes in: its limits, and which one it is."""

from sqlalchemy import Connection

# Top-level id of the transaction: savepoints do not change it, and whatever begins another transaction does.
_BEGIN = """
SET LOCAL statement_timeout TO {milliseconds}; SET LOCAL idle_in_transaction_session_timeout TO {milliseconds};
SELECT pg_current_xact_id()::text
"""
_END = """
SET LOCAL statement_timeout TO DEFAULT; SET LOCAL idle_in_transaction_session_timeout TO DEFAULT;
SELECT pg_current_xact_id()::text
"""


def begin(connection: Connection, seconds: float) -> str:
    """Let statements, and pauses between them, take so long; return the id of the transaction."""
    return str(connection.exec_driver_sql(_BEGIN.format(milliseconds=int(seconds * 1000))).scalar_one())


def end(connection: Connection) -> str:
    """Set the usual limits again; return the id of the transaction that the connection is in."""
    return str(connection.exec_driver_sql(_END).scalar_one())
