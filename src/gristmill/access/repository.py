"""SQL of API keys."""

import uuid
from typing import Any

from sqlalchemy import Connection

_INSERT = """
INSERT INTO gristmill.api_keys (id, name, hash, scope) VALUES (%(id)s, %(name)s, %(hash)s, %(scope)s)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING RETURNING id
"""
_FIND = "SELECT name, scope FROM gristmill.api_keys WHERE hash = %(hash)s AND revoked_at IS NULL"
_LIST = "SELECT name, scope, created_at, revoked_at FROM gristmill.api_keys ORDER BY created_at, name"
_REVOKE = "UPDATE gristmill.api_keys SET revoked_at = now() WHERE name = %(name)s AND revoked_at IS NULL"
_ANY = "SELECT EXISTS (SELECT FROM gristmill.api_keys WHERE revoked_at IS NULL)"


def insert_key(connection: Connection, id_: uuid.UUID, name: str, hash_: str, scope: str) -> bool:
    """Insert a key; False when a key of this name is in use."""
    parameters = {"id": str(id_), "name": name, "hash": hash_, "scope": scope}
    return connection.exec_driver_sql(_INSERT, parameters).first() is not None


def find_key(connection: Connection, hash_: str) -> tuple[str, str] | None:
    """Return (name, scope) of the key with this hash, unless it was revoked."""
    row = connection.exec_driver_sql(_FIND, {"hash": hash_}).first()
    return None if row is None else (row[0], row[1])


def list_keys(connection: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.exec_driver_sql(_LIST).mappings()]


def revoke_key(connection: Connection, name: str) -> bool:
    return bool(connection.exec_driver_sql(_REVOKE, {"name": name}).rowcount)


def any_key(connection: Connection) -> bool:
    return bool(connection.exec_driver_sql(_ANY).scalar())
