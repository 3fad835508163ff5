"""The header Idempotency-Key: a text, quoted (as its draft has it: a string of RFC 8941) or bare."""

import re

from starlette.requests import Request

from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.parameters import bad_header

_NAME = "Idempotency-Key"
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
