"""Counters that outlive processes: kept in Postgres, added to every few seconds, read by ``/metrics``.

Workers fork, are replaced and die; a counter in their memory would be lost with them or need a file per process. What a
killed process had not yet flushed is lost: at most two seconds of counts, never a job.
"""

import threading
import time
from collections import defaultdict

from gristmill.core.database import Database
from gristmill.core.errors import GristmillError
from gristmill.core.logs import get_logger
from gristmill.jobs.repository import counters as repository

log = get_logger()
# Upper bounds of the histograms, in seconds.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class Counters:
    """Counts in memory and adds to Postgres at ``flush``. Safe to call from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, str], float] = defaultdict(float)

    def count(self, name: str, label: str, amount: float = 1.0) -> None:
        """Add to the counter ``name`` under one label value."""
        with self._lock:
            self._pending[name, label] += amount

    def observe(self, name: str, label: str, seconds: float) -> None:
        """Add one observation to the histogram ``name``: its cumulative buckets, count and sum."""
        with self._lock:
            for bound in BUCKETS:
                if seconds <= bound:
                    self._pending[f"{name}_bucket", f"{label}|{bound:g}"] += 1
            self._pending[f"{name}_count", label] += 1
            self._pending[f"{name}_sum", label] += seconds

    def flush_every(self, seconds: float) -> None:
        """Start a thread that flushes at this pace for as long as the process lives."""
        threading.Thread(target=_flush_forever, args=(self, seconds), name="counters", daemon=True).start()

    def flush(self) -> None:
        """Add what was counted to Postgres. Raises Unavailable, and keeps the counts, when it cannot be reached."""
        with self._lock:
            pending, self._pending = self._pending, defaultdict(float)
        if not pending:
            return
        try:
            with self._database.transaction() as connection:
                repository.add(connection, list(pending.items()))
        except BaseException:
            with self._lock:
                for key, value in pending.items():
                    self._pending[key] += value
            raise


def _flush_forever(counters: Counters, seconds: float) -> None:
    while True:
        time.sleep(seconds)
        try:
            counters.flush()
        except GristmillError as error:
            log.warning("counters.waiting", error=error.detail)
