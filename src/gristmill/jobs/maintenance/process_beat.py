"""A worker's row in the table of processes: that it is alive and how many chunks it can run at once."""

import contextlib
import os
import socket
import threading

from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.core.errors import Unavailable
from gristmill.core.logs import get_logger
from gristmill.jobs.repository import cleanup

log = get_logger()
EVERY = 10.0


class Presence:
    """Beats from a thread of the worker's parent process."""

    def __init__(self, settings: Settings, queue: str, slots: int) -> None:
        self._database = Database(settings.database_url, "gristmill-worker-presence", pool=1)
        self._queue = queue
        self._slots = slots
        self._name = f"worker-{queue}@{socket.gethostname()}:{os.getpid()}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop beating and remove the row."""
        self._stop.set()
        self._thread.join(timeout=5)
        with contextlib.suppress(Unavailable), self._database.transaction() as connection:
            cleanup.remove_process(connection, self._name)

    def _run(self) -> None:
        while True:
            try:
                with self._database.transaction() as connection:
                    cleanup.beat_process(connection, self._name, "worker", self._queue, self._slots)
            except Unavailable as error:
                log.warning("presence.failed", error=error.detail)
            if self._stop.wait(EVERY):
                return
