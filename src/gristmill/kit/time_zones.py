"""The names of time zones (IANA)."""

from functools import cache
from zoneinfo import available_timezones


@cache
def time_zones() -> frozenset[str]:
    """Return the names that ZoneInfo takes. It opens files, and a name could try to be a path: ask here before.

    Kept, because listing them takes 5 ms.
    """
    return frozenset(available_timezones())
