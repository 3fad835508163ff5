"""Wake-ups through NOTIFY, sent after the commit over a connection of their own.

A NOTIFY inside a transaction makes its commit hold a database-wide lock while the log is flushed, so that commits run
one after another. Sent afterwards and collected for a few milliseconds they cost next to nothing. A wake-up may be
lost: whoever waits for one also polls.
"""

import threading
import time
import uuid
from typing import Any

import psycopg2

from gristmill.core.database import Database
from gristmill.core.errors import Unavailable
from gristmill.core.forks import between_forks
from gristmill.core.logs import get_logger

DUE = "gristmill_due"
FINISHED = "gristmill_finished"

log = get_logger()
# Seconds between two sendings at least.
PACE = 0.004


class Notifier:
    """Collects wake-ups and sends them from a thread. Made before a fork, it starts its thread after it."""

    def __init__(self, database: Database, *, gather: float = 0.001) -> None:
        self._database = database
        self._gather = gather
        self._condition = threading.Condition()
        self._finished: set[str] = set()
        self._due = False
        self._thread: threading.Thread | None = None
        self._connection: Any = None
        self._sent_at = 0.0

    def due(self) -> None:
        """Tell the dispatchers that something may be due."""
        self._add(None)

    def finished(self, job_id: uuid.UUID) -> None:
        """Tell whoever waits for this job, and the dispatchers, that it has finished."""
        self._add(str(job_id))

    def _add(self, job_id: str | None) -> None:
        with self._condition:
            if job_id is None:
                if self._due:
                    # It is on its way.
                    return
                self._due = True
            else:
                self._finished.add(job_id)
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_forever, name="notifier", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _send_forever(self) -> None:
        while True:
            with self._condition:
                while not self._due and not self._finished:
                    self._condition.wait()
            # A single wake-up is sent at once; when many follow each other, they wait for ``PACE`` and are sent as one.
            time.sleep(max(self._gather, self._sent_at + PACE - time.monotonic()))
            with self._condition:
                due, finished = self._due, self._finished
                self._due, self._finished = False, set()
            with between_forks():
                self._send(due, sorted(finished))
            self._sent_at = time.monotonic()

    def _send(self, due: bool, finished: list[str]) -> None:
        try:
            if self._connection is None:
                self._connection = self._database.connect_raw()
            with self._connection.cursor() as cursor:
                # Postgres limits one payload to 8,000 bytes: 200 ids of 37 bytes fit.
                packs = [",".join(finished[start : start + 200]) for start in range(0, len(finished), 200)]
                pairs = [(FINISHED, pack) for pack in packs] + ([(DUE, "")] if due else [])
                cursor.execute(
                    "SELECT pg_notify(c, p) FROM unnest(%s::text[], %s::text[]) AS t (c, p)",
                    ([channel for channel, _ in pairs], [payload for _, payload in pairs]),
                )
        except (psycopg2.Error, Unavailable) as error:
            log.warning("notification.failed", error=str(error).strip())
            if self._connection is not None and self._connection.closed:
                self._connection = None
            elif self._connection is not None:
                self._connection.close()
                self._connection = None
