"""SQL of API keys, and of the role that reads by SQL."""

import uuid
from datetime import datetime
from typing import Any

from psycopg2.extensions import encrypt_password
from sqlalchemy import Connection

from gristmill.core.database import DATA_SCHEMA
from gristmill.kit.identifiers import quote

_INSERT = """
INSERT INTO gristmill.api_keys (id, name, hash, scope) VALUES (%(id)s, %(name)s, %(hash)s, %(scope)s)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING RETURNING id
"""
_FIND = "SELECT name, scope FROM gristmill.api_keys WHERE hash = %(hash)s AND revoked_at IS NULL"
_SCOPE = """
SELECT scope FROM gristmill.api_keys
WHERE name = %(name)s AND revoked_at IS NULL AND created_at <= %(since)s
"""
_LIST = "SELECT name, scope, created_at, revoked_at FROM gristmill.api_keys ORDER BY created_at, name"
_REVOKE = "UPDATE gristmill.api_keys SET revoked_at = now() WHERE name = %(name)s AND revoked_at IS NULL"
_ANY = "SELECT EXISTS (SELECT FROM gristmill.api_keys WHERE revoked_at IS NULL)"

# So that readers leave connections to everybody else.
READER_CONNECTIONS = 20
_HAS_ROLE = "SELECT 1 FROM pg_roles WHERE rolname = %(role)s"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('gristmill reader ' || %(role)s, 0))"


def insert_key(connection: Connection, id_: uuid.UUID, name: str, hash_: str, scope: str) -> bool:
    """Insert a key; False when a key of this name is in use."""
    parameters = {"id": str(id_), "name": name, "hash": hash_, "scope": scope}
    return connection.exec_driver_sql(_INSERT, parameters).first() is not None


def find_key(connection: Connection, hash_: str) -> tuple[str, str] | None:
    """Return (name, scope) of the key with this hash, unless it was revoked."""
    row = connection.exec_driver_sql(_FIND, {"hash": hash_}).first()
    return None if row is None else (row[0], row[1])


def scope_of(connection: Connection, name: str, since: datetime) -> str | None:
    """Return the scope of the key called ``name`` if it was in use at ``since`` and has not been revoked."""
    row = connection.exec_driver_sql(_SCOPE, {"name": name, "since": since}).first()
    return None if row is None else str(row[0])


def list_keys(connection: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.exec_driver_sql(_LIST).mappings()]


def revoke_key(connection: Connection, name: str) -> bool:
    return bool(connection.exec_driver_sql(_REVOKE, {"name": name}).rowcount)


def any_key(connection: Connection) -> bool:
    return bool(connection.exec_driver_sql(_ANY).scalar())


def grant_reader(connection: Connection, role: str, database: str, password: str | None) -> None:
    """Make the role that reads the tables of datasets if it is not there, and set what it may do and its password."""
    # Two at once would change the same rows of Postgres' catalogue.
    connection.exec_driver_sql(_LOCK, {"role": role})
    create, *others = reader_statements(role, database)
    if connection.exec_driver_sql(_HAS_ROLE, {"role": role}).first() is None:
        connection.exec_driver_sql(create)
    for statement in others:
        connection.exec_driver_sql(statement)
    secret = "NULL"
    if password is not None:
        # Encrypted here, so that no log of statements has it.
        raw = connection.connection.driver_connection
        secret = f"'{encrypt_password(password, role, raw, 'scram-sha-256')}'"
    connection.exec_driver_sql(f"ALTER ROLE {quote(role)} PASSWORD {secret}")


def reader_statements(role: str, database: str, owner: str | None = None) -> list[str]:
    """Return the SQL that makes a role which sees the schema of the data alone.

    owner: the role that makes the tables; None for whoever runs the statements.
    """
    name, made_by = quote(role), "" if owner is None else f" FOR ROLE {quote(owner)}"
    settings = {
        "default_transaction_read_only": "on",
        "search_path": f"{DATA_SCHEMA}, public",
        # Whoever stays in a transaction keeps changes of datasets waiting.
        "idle_in_transaction_session_timeout": "'10min'",
    }
    return [
        f"CREATE ROLE {name} LOGIN",
        f"ALTER ROLE {name} LOGIN NOCREATEDB NOCREATEROLE NOINHERIT CONNECTION LIMIT {READER_CONNECTIONS}",
        *(f"ALTER ROLE {name} IN DATABASE {quote(database)} SET {key} TO {value}" for key, value in settings.items()),
        f"GRANT CONNECT ON DATABASE {quote(database)} TO {name}",
        f"GRANT USAGE ON SCHEMA {quote(DATA_SCHEMA)} TO {name}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {quote(DATA_SCHEMA)} TO {name}",
        f"ALTER DEFAULT PRIVILEGES{made_by} IN SCHEMA {quote(DATA_SCHEMA)} GRANT SELECT ON TABLES TO {name}",
    ]
