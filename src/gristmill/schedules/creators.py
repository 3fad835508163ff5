"""Whom a schedule runs as: the principal that created it, for as long as that one's key is valid."""

from datetime import datetime

from sqlalchemy import Connection

from gristmill.access.repository import scope_of
from gristmill.core.permissions import PERMISSIONS, Permission
from gristmill.schedules.errors import CreatorRevoked

_KEY = "key:"


def check_creator(
    connection: Connection, name: str, principal: str, since: datetime, needed: Permission, what: str
) -> None:
    """Raise CreatorRevoked where ``principal`` may not submit what the schedule ``name`` does any more.

    since: when it came to be the schedule's; a key made later under the same name is another one. needed: by the job
    type. Who needs no key has no key to be revoked.
    """
    if not principal.startswith(_KEY):
        return
    scope = scope_of(connection, principal.removeprefix(_KEY), since)
    if scope is None:
        raise CreatorRevoked(
            f"The schedule {name} runs as {principal}, and that key is revoked: resume it with another key,"
            " which it runs as from then on"
        )
    if PERMISSIONS.index(scope) < PERMISSIONS.index(needed):
        raise CreatorRevoked(f"{what} needs a key of scope {needed}; {principal} has {scope}")
