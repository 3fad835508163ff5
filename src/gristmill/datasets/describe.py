"""How messages show a value that somebody sent."""

import json
from typing import Any

MAX_SHOWN = 80


def shorten(value: Any) -> str:
    """Return ``value`` as JSON would show it, cut to 80 characters."""
    try:
        # Cut before printing too: a refused value may be as large as the whole body.
        text = json.dumps(value[: 4 * MAX_SHOWN] if isinstance(value, str) else value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        text = type(value).__name__
    return cut(text)


def cut(text: str) -> str:
    """Return ``text`` as it is, cut to 80 characters."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
