"""The few questions that a stack has for its Postgres."""

import contextlib

import psycopg2
from psycopg2 import sql

# Processes write their row every 10 s; one that missed three is not well, even if it runs.
_BEATING = """
SELECT count(*) FROM gristmill.processes
WHERE name LIKE %s AND beat_at > clock_timestamp() - interval '35 seconds'
"""


def ensure_database(url: str, database: str) -> None:
    """Create the database if it is missing. ``url`` names another one of the same server."""
    connection = psycopg2.connect(url, connect_timeout=5)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    finally:
        connection.close()


def answers(url: str) -> bool:
    """True if a session can be opened."""
    with contextlib.suppress(psycopg2.OperationalError):
        psycopg2.connect(url, connect_timeout=2).close()
        return True
    return False


def is_beating(url: str, pid: int) -> bool:
    """True if the dispatcher, worker or source runner with this process id has said lately that it is at work."""
    with contextlib.suppress(psycopg2.Error):
        connection = psycopg2.connect(url, connect_timeout=2)
        try:
            with connection.cursor() as cursor:
                cursor.execute(_BEATING, (f"%:{pid}",))
                found = cursor.fetchone()
                return bool(found and found[0])
        finally:
            connection.close()
    return False
