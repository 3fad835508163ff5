"""Turns for what only so many requests may do at once."""

from collections.abc import Callable

import anyio

from gristmill.core.errors import GristmillError


class Turns:
    """most: how many at once. patience: seconds that a request waits for its turn. refuse: what it gets afterwards."""

    def __init__(self, most: int, patience: float, refuse: Callable[[], GristmillError]) -> None:
        self._most = most
        self._patience = patience
        self._refuse = refuse
        # Made within the event loop that it belongs to.
        self._turns: anyio.Semaphore | None = None

    async def take(self) -> None:
        """Wait for a turn. Raises what ``refuse`` gives."""
        if self._turns is None:
            self._turns = anyio.Semaphore(self._most)
        try:
            with anyio.fail_after(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            raise self._refuse() from None

    def give_back(self) -> None:
        assert self._turns is not None
        self._turns.release()
