"""The heartbeat: a thread that extends the lease of the chunk at hand over a connection of its own."""

import contextlib
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg2

from gristmill.core.database import Database
from gristmill.core.errors import Unavailable
from gristmill.core.logs import get_logger
from gristmill.jobs.repository import claim as claims

log = get_logger()


class Heartbeat:
    """Extends one lease every ``interval`` seconds for as long as its block runs. One per worker process."""

    def __init__(self, database: Database, *, lease: float, interval: float) -> None:
        self._database = database
        self._lease = lease
        self._interval = interval
        self._current: tuple[uuid.UUID, int, int] | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._connection: Any = None

    @contextlib.contextmanager
    def of(self, job_id: uuid.UUID, number: int, fence: int) -> Iterator[None]:
        """Keep the lease of this chunk alive within the block."""
        self._set((job_id, number, fence))
        try:
            yield
        finally:
            self._set(None)

    def _set(self, current: tuple[uuid.UUID, int, int] | None) -> None:
        # The thread starts with the first chunk, that is after the fork.
        with self._changed:
            self._current = current
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat_forever, name="heartbeat", daemon=True)
                self._thread.start()

    def _beat_forever(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(self._interval)
                current = self._current
            if current is not None:
                self._beat(current)

    def _beat(self, current: tuple[uuid.UUID, int, int]) -> None:
        try:
            if self._connection is None:
                self._connection = self._database.connect_raw()
            with self._connection.cursor() as cursor:
                kept = claims.beat(cursor, *current, self._lease)
            if not kept and self._current == current:
                log.warning("lease.lost", job=str(current[0]), chunk=current[1], fence=current[2])
        except (psycopg2.Error, Unavailable) as error:
            # The lease may expire meanwhile; the fence then keeps this attempt from committing.
            log.warning("lease.beat_failed", error=str(error).strip())
            with contextlib.suppress(psycopg2.Error):
                if self._connection is not None:
                    self._connection.close()
            self._connection = None
