"""Admission: no write is accepted beyond the configured queue and staging limits."""

import threading
import time

from gristmill.core.database import Database
from gristmill.core.errors import TooMany
from gristmill.jobs.repository import read


class Admission:
    """Checks the limits against counts that are at most ``max_age`` seconds old.

    Counting at each POST would cost more than the POST. What this process admitted since then is added.
    """

    def __init__(self, database: Database, *, max_queued: int, max_staged_bytes: int, max_age: float = 1.0) -> None:
        self._database = database
        self._max_queued = max_queued
        self._max_staged_bytes = max_staged_bytes
        self._max_age = max_age
        self._lock = threading.Lock()
        # Held while Postgres counts, which may take long; the lock of the counts is never held that long.
        self._counting = threading.Lock()
        self._counted_at = -max_age - 1
        self._queued = 0
        self._staged = 0

    def admit(self, payload_bytes: int) -> bool:
        """Count one more job if that can be decided without asking Postgres; False: ``check`` must decide."""
        with self._lock:
            if (
                self._is_old()
                or self._queued >= self._max_queued
                or self._staged + payload_bytes > self._max_staged_bytes
            ):
                return False
            self._queued += 1
            self._staged += payload_bytes
            return True

    def _is_old(self) -> bool:
        return time.monotonic() - self._counted_at > self._max_age

    def give_back(self, payload_bytes: int) -> None:
        """Take back what ``admit`` or ``check`` counted for a job that was not submitted."""
        with self._lock:
            self._queued -= 1
            self._staged -= payload_bytes

    def check(self, payload_bytes: int = 0) -> None:
        """Raise TooMany when one more job, or its payload, would exceed a limit."""
        with self._counting:
            if self._is_old():
                with self._database.autocommit() as connection:
                    queued, staged = read.count_queued(connection), read.sum_staged_bytes(connection)
                with self._lock:
                    self._queued, self._staged, self._counted_at = queued, staged, time.monotonic()
        with self._lock:
            if self._queued >= self._max_queued:
                raise TooMany(
                    f"{self._queued} jobs are unfinished and the limit is {self._max_queued} (jobs_max_queued)",
                    retry_after=5,
                )
            if self._staged + payload_bytes > self._max_staged_bytes:
                raise TooMany(
                    f"{self._staged} bytes are staged and the limit is {self._max_staged_bytes} "
                    "(jobs_max_staged_bytes)",
                    retry_after=10,
                )
            self._queued += 1
            self._staged += payload_bytes
