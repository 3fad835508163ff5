"""Counts the exports of a process, and bounds how many of them read at the same moment."""

from gristmill.core.config import Settings
from gristmill.core.errors import TooMany
from gristmill.core.http.own_threads import OwnThreads

# Pages that one process reads at the same moment: most exports wait for their clients, and others need connections too.
READERS = 4


class TooManyExports(TooMany):
    code = "too_many_exports"
    title = "Too many exports at once"


class Desk:
    """The streamed exports of this process."""

    def __init__(self, settings: Settings) -> None:
        self.patience = settings.export_patience
        self.stall = settings.export_stall
        self._most = settings.export_concurrent
        self.run = OwnThreads(min(READERS, max(1, settings.database_pool // 2))).run
        self._open = 0

    def take(self) -> None:
        """Raises TooManyExports."""
        if self._open >= self._most:
            raise TooManyExports(
                f"{self._open} exports are running, and this process serves {self._most} at once (export_concurrent)",
                retry_after=5,
            )
        self._open += 1

    def give_back(self) -> None:
        self._open -= 1
