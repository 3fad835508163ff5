"""How many requests a second one caller may make of this process."""

import math
import time
from collections.abc import Callable

from cachetools import TTLCache

from gristmill.core.errors import TooMany

# A caller that was quiet may make the requests of so many seconds at once, and at least one.
_BURST_SECONDS = 2.0
_MOST_CALLERS = 100_000


class RateLimited(TooMany):
    code = "rate_limited"
    title = "Too many requests"


class RateLimit:
    """The limit of each caller. per_second: 0 for none. now: a clock that never goes back, in seconds.

    Source of the method: the generic cell rate algorithm of ITU-T I.371, as a virtual schedule.
    """

    def __init__(self, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._pause = 1 / per_second if per_second else 0.0
        self._slack = max(_BURST_SECONDS, self._pause)
        self._now = now
        # When the next request of a caller would be due if all were evenly spaced.
        self._due: TTLCache[str, float] = TTLCache(_MOST_CALLERS, 2 * self._slack + 1, now)

    def take(self, caller: str) -> None:
        """Count a request of a caller. Raises RateLimited."""
        if self._pause:
            self._due[caller] = self._due_after(caller) + self._pause

    def check(self, caller: str) -> None:
        """Raise RateLimited if ``take`` would; count nothing."""
        if self._pause:
            self._due_after(caller)

    def _due_after(self, caller: str) -> float:
        now = self._now()
        due = max(self._due.get(caller, now), now)
        early = due + self._pause - self._slack - now
        if early > 0:
            raise RateLimited(
                f"At most {1 / self._pause:g} requests a second are answered here (api.requests_per_second)",
                retry_after=math.ceil(early),
            )
        return due
