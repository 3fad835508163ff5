"""A process's row in the table of processes: that it is alive and how many chunks it can run at once."""

import contextlib
import os
import socket
import threading

from gristmill.core.database import Database
from gristmill.core.errors import Unavailable
from gristmill.core.forks import between_forks
from gristmill.core.logs import get_logger
from gristmill.jobs.repository import process_beat as repository

log = get_logger()
EVERY = 10.0


class ProcessBeat:
    """Beats every ten seconds from a thread. kind: ``worker``, ``dispatcher``, ``source_runner``.

    queue, slots: of a worker.
    """

    def __init__(self, database: Database, kind: str, queue: str | None = None, slots: int = 0) -> None:
        self._database = database
        self._kind, self._queue, self._slots = kind, queue, slots
        place = f"{socket.gethostname()}:{os.getpid()}"
        self.name = f"{kind}@{place}" if queue is None else f"{kind}-{queue}@{place}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process-beat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop beating and remove the row."""
        self._stop.set()
        self._thread.join(timeout=5)
        with contextlib.suppress(Unavailable), self._database.transaction() as connection:
            repository.remove_process(connection, self.name)

    def _run(self) -> None:
        while True:
            try:
                with between_forks(), self._database.transaction() as connection:
                    repository.beat_process(connection, self.name, self._kind, self._queue, self._slots)
            except Unavailable as error:
                log.warning("process.beat_failed", error=error.detail)
            if self._stop.wait(EVERY):
                return
