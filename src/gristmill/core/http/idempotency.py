"""The header Idempotency-Key: a text, quoted (as its draft has it: a string of RFC 8941) or bare."""

import hashlib
import re

from starlette.requests import Request

from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.parameters import bad_header

_NAME = "Idempotency-Key"
# Parameters that say nothing of what is to be done.
_NOT_IDENTITY = ("wait", "confirm")
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,255}")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_VALID = "1 to 255 printable ASCII characters without spaces, in quotes or without"


def idempotency_key(http: Request) -> str | None:
    """Return the key of a request, without its quotes. Raises Invalid for a bad one, and for two."""
    lines = [value for name, value in http.scope["headers"] if name == b"idempotency-key"]
    if not lines:
        return None
    given: str = lines[0].decode("latin-1")
    if len(lines) > 1:
        reason = f"{_NAME} is given {len(lines)} times: a request has one key"
        raise Invalid(reason, [Violation(f"/header/{_NAME}", "duplicate", reason, field=_NAME)])
    key = given
    if given.startswith('"'):
        quoted = _QUOTED.fullmatch(given)
        key = "" if quoted is None else re.sub(r"\\(.)", r"\1", quoted[1])
    if not _PRINTABLE.fullmatch(key):
        raise bad_header(_NAME, given, _VALID)
    return key


def request_hash(http: Request, body: bytes) -> str:
    """Return a digest of what a request with the same Idempotency-Key must repeat: all but how long it waits."""
    query = sorted(item for item in http.query_params.multi_items() if item[0] not in _NOT_IDENTITY)
    condition = "".join(f"{line}\n" for line in http.headers.getlist("if-match"))
    # Without parameters as the release before makes it: its keys are still good.
    asked = f"{http.method} {http.url.path}\n{condition}" + (f"{query!r}\n" if query else "")
    return hashlib.sha256(asked.encode("utf-8", "surrogateescape") + body).hexdigest()
