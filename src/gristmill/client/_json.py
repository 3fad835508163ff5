"""Values as JSON that contracts take."""

import base64
import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from gristmill.client.errors import InvalidArgument


def dumps(value: Any) -> bytes:
    """Return compact JSON. Times, decimals, UUIDs, bytes (base64) and numpy values are written as contracts take them.

    Raises InvalidArgument for what JSON does not have: NaN and infinities, halves of surrogate pairs, other types.
    """
    try:
        return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"it cannot be written as JSON: {error}") from error


def duration_text(value: timedelta) -> str:
    """Return a length of time as ISO 8601 has it, with all its digits; those of pandas may have nanoseconds."""
    microseconds = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    nanoseconds = microseconds * 1000 + getattr(value, "nanoseconds", 0)
    seconds, rest = divmod(abs(nanoseconds), 1_000_000_000)
    fraction = f"{rest:09}".rstrip("0")
    return f"{'-' if nanoseconds < 0 else ''}PT{seconds}{'.' if fraction else ''}{fraction}S"


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form: {value!r:.80}")
