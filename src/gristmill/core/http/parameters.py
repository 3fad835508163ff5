"""What is wrong with a header or a query parameter, and the times among the parameters."""

import re
from datetime import UTC, datetime

from gristmill.core.errors import Invalid, Violation

# In a URL a plus sign means a space, and people forget to encode the one of an offset.
_LOST_PLUS = re.compile(r"^(\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?) (\d{2}:?\d{2})$")


def bad_query(name: str, value: str, valid: str) -> Invalid:
    """Return the error to raise. valid: what may be given instead."""
    reason = f"{name}={value[:80]!r} is not valid: give {valid}"
    return Invalid(reason, [Violation(pointer=f"/query/{name}", code="bad_parameter", reason=reason, field=name)])


def bad_header(name: str, value: str, valid: str, code: str = "bad_header") -> Invalid:
    """Return the error to raise. valid: what may be given instead."""
    reason = f"{name}: {value[:80]!r} is not valid: give {valid}"
    return Invalid(reason, [Violation(pointer=f"/header/{name}", code=code, reason=reason, field=name)])


MOMENT = "an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z"


def read_flag(name: str, text: str | None) -> bool:
    """Return whether a query parameter is set: alone (``?name``), or to true. Raises Invalid for anything else."""
    if text is None or text == "false":
        return False
    if text not in ("", "true"):
        raise bad_query(name, text, "true or false, or the name alone")
    return True


def read_moment(name: str, text: str | None) -> datetime | None:
    """Return the time that a query parameter names, in UTC. Raises Invalid for one without an offset."""
    if text is None:
        return None
    value = moment_of(_LOST_PLUS.sub(r"\1+\2", text))
    if value is None:
        raise bad_query(name, text, MOMENT)
    return value


def moment_of(text: str) -> datetime | None:
    """Return the time in UTC, None for what is no time with an offset."""
    try:
        value = datetime.fromisoformat(text)
        return None if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
