"""Making, finding and revoking API keys."""

import hashlib
import re
import secrets
from typing import Any

from gristmill.access import repository
from gristmill.core.database import Database
from gristmill.core.errors import Conflict, Invalid, NotFound, Violation
from gristmill.core.permissions import PERMISSIONS
from gristmill.kit.caches import SharedCache
from gristmill.kit.ids import uuid7

PREFIX = "gm_"


def create_key(database: Database, name: str, scope: str, token: str | None = None) -> str:
    """Store a new key and return it: the only time that it is seen. Raises Invalid, Conflict.

    token: a key made elsewhere, of at least 20 characters; without it a random one of 256 bits is made.
    """
    if scope not in PERMISSIONS:
        raise _invalid("scope", scope, f"one of {', '.join(PERMISSIONS)}")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,63}", name):
        raise _invalid("name", name, "1 to 63 letters, digits, '_', '.', '-'")
    if token is not None and not re.fullmatch(r"[\x21-\x7e]{20,200}", token):
        # Only a setting brings one; its value is a secret.
        reason = "api.bootstrap_key is not valid: give 20 to 200 printable ASCII characters without spaces"
        raise Invalid(reason, [Violation("/api_bootstrap_key", "bad_parameter", reason, field="api_bootstrap_key")])
    token = token or PREFIX + secrets.token_urlsafe(32)
    with database.transaction() as connection:
        if not repository.insert_key(connection, uuid7(), name, _hash(token), scope):
            raise Conflict(f"There is a key named {name!r} already; revoke it first or choose another name")
    return token


def ensure_key(database: Database, name: str, scope: str, token: str) -> None:
    """Make sure that ``token`` is valid: for keys that a deployment sets in its environment."""
    with database.transaction() as connection:
        if repository.find_key(connection, _hash(token)) is not None:
            return
        repository.revoke_key(connection, name)
    create_key(database, name, scope, token)


def list_keys(database: Database) -> list[dict[str, Any]]:
    """Return name, scope, created_at and revoked_at of every key."""
    with database.autocommit() as connection:
        return repository.list_keys(connection)


def revoke_key(database: Database, name: str) -> None:
    """Revoke the key: within seconds it is refused. Raises NotFound."""
    with database.transaction() as connection:
        if not repository.revoke_key(connection, name):
            raise NotFound(f"There is no key named {name!r} in use")


class KeyRing:
    """Finds keys for the API; what it found, or did not find, is remembered for a few seconds."""

    def __init__(self, database: Database, *, remember: float = 5.0) -> None:
        self._database = database
        # By the key's hash: a tuple of what was found, as None is an answer too.
        self._known: SharedCache[str, tuple[tuple[str, str] | None]] = SharedCache(10_000, remember)

    def recall(self, token: str) -> tuple[bool, tuple[str, str] | None]:
        """Return (known, (name, scope) or None) from memory alone."""
        entry = self._known.get(_hash(token))
        return (False, None) if entry is None else (True, entry[0])

    def find(self, token: str) -> tuple[str, str] | None:
        """Return (name, scope) of a valid key, else None."""
        with self._database.autocommit() as connection:
            found = repository.find_key(connection, _hash(token))
        self._known.put(_hash(token), (found,))
        return found

    def any_key(self) -> bool:
        with self._database.autocommit() as connection:
            return repository.any_key(connection)


def _hash(token: str) -> str:
    # The key is 256 random bits: a slow password hash would protect nothing and cost every request.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _invalid(field: str, value: str, valid: str) -> Invalid:
    reason = f"{field} {value[:80]!r} is not valid: give {valid}"
    return Invalid(reason, [Violation(pointer=f"/{field}", code="bad_value", reason=reason, field=field)])
