"""Links that need no key: signed for one file and a time, for tools that only take an address."""

import base64
import hashlib
import hmac
import re
import time

from gristmill.records.export.stored.errors import BadLink
from gristmill.records.export.stored.repository import StoredExport

_SIGNATURE = re.compile(r"[A-Za-z0-9_-]{43}")
_EXPIRES = re.compile(r"[0-9]{1,12}")


def link_query(row: StoredExport, expires: int) -> str:
    """Return the query that opens the file until ``expires`` (seconds since 1970)."""
    return f"expires={expires}&signature={_sign(row, expires)}"


def check_link(row: StoredExport, expires: str, signature: str) -> None:
    """Raise BadLink unless the query is one that ``link_query`` made for this file, and its time is not over."""
    if not _EXPIRES.fullmatch(expires) or not _SIGNATURE.fullmatch(signature):
        raise BadLink("The link is not valid: expires or signature has another form; ask for a new one")
    if not hmac.compare_digest(signature, _sign(row, int(expires))):
        raise BadLink("The link is not valid: its signature is not that of this file and time; ask for a new one")
    if int(expires) <= time.time():
        raise BadLink("The link has expired; ask for a new one")


def _sign(row: StoredExport, expires: int) -> str:
    """The secret is the export's own: it is gone when the export is."""
    said = f"{row.id}/{row.file_name}?{expires}".encode()
    return base64.urlsafe_b64encode(hmac.digest(row.secret, said, hashlib.sha256)).decode().rstrip("=")
