"""Threads for work that takes long, apart from those of all other calls."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread


class OwnThreads:
    """Runs things in threads, so many at once, that no other call waits for."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Made within the event loop that it belongs to.
        self._limiter: anyio.CapacityLimiter | None = None

    async def run(self, work: Callable[[], Any]) -> Any:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._most)
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)
