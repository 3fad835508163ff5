"""What a function may return: a JSON object of a bounded size. Times, decimals and UUIDs are texts in it."""

import json
import numbers
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from gristmill.jobs.errors import ResultNotStorable
from gristmill.kit.json_values import unstorable

MOST_BYTES = 64 * 1024


def encode_result(value: Any) -> dict[str, Any] | None:
    """Return what the job shows as its result. Raises ResultNotStorable that says where it is wrong."""
    if value is None:
        return None
    try:
        found = to_jsonable_python(value, fallback=_number)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise ResultNotStorable(f"The function returned what has no form in JSON: {error}") from error
    if not isinstance(found, dict):
        raise ResultNotStorable(f"The function returned a {type(value).__name__}, {value!r:.80}; give a dict or None")
    for pointer, code, reason in unstorable(found):
        raise ResultNotStorable(f"The function returned what cannot be stored: {pointer}: {reason} ({code})")
    size = len(json.dumps(found, ensure_ascii=False).encode())
    if size > MOST_BYTES:
        raise ResultNotStorable(
            f"The function returned a result of {size} bytes; at most {MOST_BYTES} are kept. Rows belong into a table"
        )
    return found


def _number(value: Any) -> Any:
    """Return the number that an object of another library is, as of numpy; pydantic knows Python's own."""
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise ValueError(f"a {type(value).__name__}, {value!r:.80}")
