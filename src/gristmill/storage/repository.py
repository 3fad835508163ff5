"""SQL of the storage's mark: read at each look, written once."""

import uuid

from sqlalchemy import Connection

_FIND = "SELECT id FROM gristmill.file_storage"
# Two processes that start together would each mark what they see.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('gristmill.file_storage', 0))"
_INSERT = "INSERT INTO gristmill.file_storage (id, place) VALUES (%(id)s, %(place)s)"


def find_mark(connection: Connection) -> uuid.UUID | None:
    """Return the id of the storage of this installation, None before it has one."""
    found: uuid.UUID | None = connection.exec_driver_sql(_FIND).scalar()
    return found


def lock_mark(connection: Connection) -> None:
    """Let nobody else mark a storage until the transaction ends."""
    connection.exec_driver_sql(_LOCK)


def insert_mark(connection: Connection, mark: uuid.UUID, place: str) -> None:
    connection.exec_driver_sql(_INSERT, {"id": str(mark), "place": place})
