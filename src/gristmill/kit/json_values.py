"""Values as JSON that Postgres can store: what cannot be is named with its place."""

import math
from collections.abc import Iterator
from typing import Any

from gristmill.kit.json_pointer import escape_pointer

# Postgres' own limit is its stack; nobody reads anything deeper.
DEEPEST = 100


def unstorable(value: Any, pointer: str = "", depth: int = 0) -> Iterator[tuple[str, str, str]]:
    """Yield (pointer, code, reason) of each part of a JSON value that a ``jsonb`` cannot hold.

    value: of dict, list, str, int, float, bool, None.
    """
    if depth > DEEPEST:
        yield pointer, "too_deep", f"it nests more than {DEEPEST} levels deep"
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from unstorable(name, f"{pointer}/{escape_pointer(name)}", depth + 1)
            yield from unstorable(item, f"{pointer}/{escape_pointer(name)}", depth + 1)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from unstorable(item, f"{pointer}/{place}", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield pointer, "not_finite", f"{value} is no JSON"
    elif isinstance(value, str) and "\0" in value:
        yield pointer, "bad_unicode", "a text with NUL cannot be stored"
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            yield pointer, "bad_unicode", "half of a surrogate pair is no Unicode"
