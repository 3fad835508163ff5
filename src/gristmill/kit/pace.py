"""Doing now and then what costs too much to do each time."""

import time
from collections.abc import Callable


class Pace:
    """Calls ``action``, when it is called itself, at most once in ``every`` seconds.

    at_once: the first call counts; else those count that come ``every`` seconds after this was made.
    """

    def __init__(self, action: Callable[[], None], every: float, *, at_once: bool = False) -> None:
        self._action = action
        self._every = every
        self._last = 0.0 if at_once else time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last >= self._every:
            self._action()
            self._last = time.monotonic()
