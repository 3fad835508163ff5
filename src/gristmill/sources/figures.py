"""Rate and lag of a source, as its runner knows them.

By the monotonic clock alone: a clock that is set changes nothing.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

# Seconds over which a rate is measured; twice the time of a batch where that is longer.
WINDOW = 10.0


@dataclass(frozen=True, slots=True)
class Figures:
    """rate: records per second. lag_records: emitted by the source, and in no committed job. lag_seconds: for how long
    the oldest of them has been ready. waits_for: what keeps the source from going on, or None."""

    rate: float = 0.0
    lag_records: int = 0
    lag_seconds: float = 0.0
    waits_for: str | None = None


class RateMeter:
    """Measures how many records are committed each second; asked by one thread and fed by another."""

    def __init__(self, batch_seconds: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._window = max(WINDOW, 2 * batch_seconds)
        self._began = clock()
        self._commits: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._lock = threading.Lock()

    def add(self, records: int) -> None:
        """Count records that were committed now."""
        with self._lock:
            self._commits.append((self._clock(), records))
            self._sum += records
            self._forget()

    def rate(self) -> float:
        """Return records per second over the window, or since the beginning where that is shorter."""
        with self._lock:
            self._forget()
            return self._sum / max(1.0, min(self._window, self._clock() - self._began))

    def _forget(self) -> None:
        before = self._clock() - self._window
        while self._commits and self._commits[0][0] < before:
            self._sum -= self._commits.popleft()[1]
