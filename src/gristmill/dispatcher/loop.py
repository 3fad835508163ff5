"""The dispatcher's loop: mark what is due as sent, commit, publish; no row lock is held across a broker call."""

import threading
import time
from collections.abc import Sequence

from gristmill.core.database import Database, Listener
from gristmill.core.errors import GristmillError, Unavailable
from gristmill.core.logs import get_logger
from gristmill.dispatcher.publisher import Publisher
from gristmill.jobs.notices import DUE, FINISHED
from gristmill.jobs.repository import dispatch as repository

log = get_logger()
WINDOW_PER_SLOT = 4
# Under load every submission and every ended chunk wakes the dispatcher. A pass that follows another one closely waits
# until so much time has gone by, and then serves them all: a window empties more slowly than that.
LEAST_SECONDS = 0.008
DEFAULT_SLOTS = 2


class Dispatcher:
    """Dispatches one queue after the other until ``stop`` is set. Several processes may run; they take turns."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        *,
        queues: Sequence[str],
        window: int,
        poll: float,
        stop: threading.Event,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._queues = queues
        self._window = window
        self._poll = poll
        self._stop = stop
        self._slots: dict[str, int] = {}
        self._slots_at = -60.0
        self._passed_at = 0.0

    def run(self) -> None:
        """Loop until stopped; a lost Postgres or broker is waited for."""
        listener: Listener | None = None
        while not self._stop.is_set():
            try:
                if listener is None:
                    listener = Listener(self._database, DUE, FINISHED)
                self._hold_back()
                self.pass_once()
                self._publisher.beat()
                # What the window kept back goes out when a chunk ends, which is notified.
                listener.wait(self._poll)
            except Unavailable as error:
                log.warning("dispatcher.waiting", error=error.detail)
                if error.code.startswith("database") and listener is not None:
                    listener.close()
                    listener = None
                self._stop.wait(min(self._poll, 1.0))
            except GristmillError as error:
                log.error("dispatcher.failed", error=error.detail)
                self._stop.wait(self._poll)
        self._publisher.close()

    def _hold_back(self) -> None:
        left = self._passed_at + LEAST_SECONDS - time.monotonic()
        if left > 0:
            self._stop.wait(left)
        self._passed_at = time.monotonic()

    def pass_once(self) -> int:
        """Send what is due on every queue, within its window; return the number of messages."""
        if self._publisher.open():
            self._resend_all()
        with self._database.autocommit() as connection:
            load = repository.read_load(connection, self._queues)
        return sum(self._send_due(queue, *load[queue]) for queue in self._queues)

    def _resend_all(self) -> None:
        """Send again what was sent and not claimed: over a new connection nobody knows what the broker still has.

        They are few, a window for each queue, and a message that had survived is dropped at its claim.
        """
        with self._database.transaction() as connection:
            resent = repository.resend_unclaimed(connection, after=0)
        if resent:
            log.info("dispatcher.resent", chunks=len(resent))

    def _send_due(self, queue: str, unclaimed: int, maybe_due: bool) -> int:
        window = self._window or WINDOW_PER_SLOT * self._count_slots(queue)
        if not maybe_due or unclaimed >= window:
            return 0
        with self._database.transaction() as connection:
            messages = repository.mark_sent(connection, queue, window - unclaimed)
        for place, message in enumerate(messages):
            try:
                self._publisher.publish(queue, message)
            except Unavailable:
                # Whatever was not confirmed goes back at once; should the message have arrived after all, its
                # dispatch number is spent by the next one and the claim drops it.
                with self._database.transaction() as connection:
                    for unsent in messages[place:]:
                        repository.unsend(connection, unsent)
                raise
            log.info(
                "chunk.sent",
                job=str(message.job_id),
                chunk=message.number,
                dispatch=message.dispatch,
                type=message.type,
                submitted_by=message.submitted_by,
                request_id=message.request_id,
                traceparent=message.traceparent,
            )
        return len(messages)

    def _count_slots(self, queue: str) -> int:
        if time.monotonic() - self._slots_at > 5:
            self._slots_at = time.monotonic()
            with self._database.autocommit() as connection:
                self._slots = {name: repository.count_slots(connection, name) for name in self._queues}
        return self._slots.get(queue, 0) or DEFAULT_SLOTS
