"""SQL of the rows by which processes show that they are alive."""

from sqlalchemy import Connection

_BEAT = """
INSERT INTO gristmill.processes (name, kind, queue, slots) VALUES (%(name)s, %(kind)s, %(queue)s, %(slots)s)
ON CONFLICT (name) DO UPDATE SET beat_at = clock_timestamp(), slots = EXCLUDED.slots
"""
_GONE = "DELETE FROM gristmill.processes WHERE name = %(name)s"


def beat_process(connection: Connection, name: str, kind: str, queue: str | None, slots: int) -> None:
    """Say that the process is alive and how many chunks it can run at once."""
    connection.exec_driver_sql(_BEAT, {"name": name, "kind": kind, "queue": queue, "slots": slots})


def remove_process(connection: Connection, name: str) -> None:
    connection.exec_driver_sql(_GONE, {"name": name})
