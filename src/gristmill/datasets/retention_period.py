"""How long records are kept: the texts that a contract's ``keep`` may have, and what they mean."""

import re
from datetime import timedelta

RULE = "a whole number with h (hours), d (days) or w (weeks), such as 90d, up to a hundred years"
LONGEST = timedelta(days=36_525)
_TEXT = re.compile(r"([1-9][0-9]{0,6})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def parse_retention_period(text: str) -> timedelta:
    """Return the time that ``text`` stands for. Raises ValueError saying what is valid."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"keep is {RULE}")
    kept = int(found[1]) * _UNITS[found[2]]
    if kept > LONGEST:
        raise ValueError(f"keep is {RULE}; this is longer")
    return kept
