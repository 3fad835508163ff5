"""The heartbeat: a thread that extends the leases of the chunks at hand over a connection of its own."""

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg2

from gristmill.core.database import Database
from gristmill.core.errors import Unavailable
from gristmill.core.logs import get_logger
from gristmill.jobs.repository import claim as claims

log = get_logger()
# Seconds between two writes of what a handler reports.
REPORT_EVERY = 1.0

Held = tuple[uuid.UUID, int, int]
"""Job, chunk number, fence."""


class Heartbeat:
    """Extends leases every ``interval`` seconds for as long as its block runs. One per worker process."""

    def __init__(self, database: Database, *, lease: float, interval: float) -> None:
        self._database = database
        self._lease = lease
        self._interval = interval
        self._current: tuple[Held, ...] = ()
        self._progress: dict[Held, float] = {}
        self._missed: set[Held] = set()
        self._reported = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._connection: Any = None

    @contextlib.contextmanager
    def of(self, chunks: Sequence[Held]) -> Iterator[None]:
        """Keep the leases of these chunks alive within the block."""
        self._set(tuple(chunks))
        try:
            yield
        finally:
            self._set(())

    def release(self, *chunks: Held) -> None:
        """Stop extending the leases of these chunks, which have ended before the others."""
        with self._changed:
            self._current = tuple(chunk for chunk in self._current if chunk not in chunks)

    def report(self, chunk: Held, fraction: float) -> None:
        """Write, with one of the next beats, what share of the chunk is done. Costs nothing here."""
        with self._changed:
            self._progress[chunk] = min(1.0, max(0.0, fraction))
            if not self._reported:
                self._reported = True
                self._changed.notify()

    def _set(self, current: tuple[Held, ...]) -> None:
        # The thread starts with the first chunk, that is after the fork.
        with self._changed:
            self._current = current
            self._progress.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat_forever, name="heartbeat", daemon=True)
                self._thread.start()

    def _beat_forever(self) -> None:
        while True:
            with self._changed:
                if not self._reported:
                    self._changed.wait(self._interval)
                self._reported = False
                current, progress = self._current, dict(self._progress)
            if current:
                self._beat(current, progress)
            if progress:
                time.sleep(min(REPORT_EVERY, self._interval))

    def _beat(self, current: tuple[Held, ...], progress: dict[Held, float]) -> None:
        try:
            if self._connection is None:
                self._connection = self._database.connect_raw()
            with self._connection.cursor() as cursor:
                kept = claims.beat(cursor, current, [progress.get(chunk) for chunk in current], self._lease)
            missed = set(current) - kept
            # One beat may miss the lease of a chunk that is just being ended.
            for job_id, number, fence in missed & self._missed & set(self._current):
                log.warning("lease.lost", job=str(job_id), chunk=number, fence=fence)
            self._missed = missed
        except (psycopg2.Error, Unavailable) as error:
            # The lease may expire meanwhile; the fence then keeps this attempt from committing.
            log.warning("lease.beat_failed", error=str(error).strip())
            with contextlib.suppress(psycopg2.Error):
                if self._connection is not None:
                    self._connection.close()
            self._connection = None
