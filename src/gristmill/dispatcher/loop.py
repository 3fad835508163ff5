"""The dispatcher's loop: mark what is due as sent, commit, publish; no row lock is held across a broker call."""

import threading
import time
from collections.abc import Sequence, Set

from gristmill.core.database import Database, Listener
from gristmill.core.errors import GristmillError, Unavailable
from gristmill.core.logs import get_logger
from gristmill.dispatcher.monitors import Monitors
from gristmill.dispatcher.publisher import Publisher
from gristmill.jobs.notifications import DUE, FINISHED
from gristmill.jobs.repository import dispatch as repository
from gristmill.jobs.repository.dispatch import BUNDLE_RECORDS, Load, Message

log = get_logger()
WINDOW_PER_SLOT = 4
# Under load every submission and every ended chunk wakes the dispatcher. A pass that follows another one closely waits
# until so much time has gone by, and then serves them all. While workers have their fill it waits for ``gather``.
LEAST_SECONDS = 0.002
DEFAULT_SLOTS = 2
# A message is not made for fewer chunks while another worker might take some of them.
LEAST_BUNDLE = 8


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
        most: int = 32,
        gather: float = 0.03,
        monitors: Monitors | None = None,
    ) -> None:
        """most: chunks that share a message at most.

        gather: seconds between two passes while chunks share messages and every worker has its fill.
        monitors: told of what was sent; nobody is by default.
        """
        self._database = database
        self._publisher = publisher
        self._monitors = monitors or Monitors(None)
        self._queues = queues
        self._window = window
        self._poll = poll
        self._most = most
        self._gather = gather
        self._stop = stop
        self._slots: dict[str, int] = {}
        self._slots_at = -60.0
        self._passed_at = 0.0
        self._gathered = False
        self._waiting = ""

    def run(self) -> None:
        """Loop until stopped; a lost Postgres or broker is waited for."""
        listener: Listener | None = None
        while not self._stop.is_set():
            try:
                if listener is None:
                    listener = Listener(self._database, DUE, FINISHED)
                self._hold_back()
                self.pass_once()
                self._waiting = ""
                self._publisher.beat()
                # What the window kept back goes out when a chunk ends, which is notified.
                listener.wait(self._poll)
            except Unavailable as error:
                # Once for each outage, not at every try.
                if self._waiting != error.code:
                    log.warning("dispatcher.waiting", error=error.detail)
                self._waiting = error.code
                if error.code.startswith("database") and listener is not None:
                    listener.close()
                    listener = None
                self._stop.wait(min(self._poll, 1.0))
            except GristmillError as error:
                log.error("dispatcher.failed", error=error.detail)
                self._stop.wait(self._poll)
        self._publisher.close()
        self._monitors.close()

    def _hold_back(self) -> None:
        pause = self._gather if self._gathered else LEAST_SECONDS
        left = self._passed_at + pause - time.monotonic()
        if left > 0:
            self._stop.wait(left)
        self._passed_at = time.monotonic()

    def pass_once(self) -> int:
        """Send what is due on every queue, within its window; return the number of messages."""
        if self._publisher.open():
            self._resend_all()
        self._gathered = False
        with self._database.autocommit() as connection:
            load = repository.read_load(connection, self._queues)
        sent = sum(self._send_due(queue, load[queue]) for queue in self._queues)
        self._monitors.flush(self._unclaimed)
        return sent

    def _unclaimed(self, chunks: Sequence[Message]) -> Set[Message]:
        with self._database.autocommit() as connection:
            return repository.unclaimed(connection, chunks)

    def _resend_all(self) -> None:
        """Send again what was sent and not claimed: after a reconnect it is unknown what the broker still has.

        They are few, a window for each queue, and a message that had survived is dropped at its claim.
        """
        with self._database.transaction() as connection:
            resent = repository.resend_unclaimed(connection, after=0)
        if resent:
            log.info("dispatcher.resent", chunks=len(resent))

    def _send_due(self, queue: str, load: Load) -> int:
        slots = self._count_slots(queue)
        window = self._window or WINDOW_PER_SLOT * slots
        if not load.maybe_due or load.unclaimed >= window:
            return 0
        with self._database.transaction() as connection:
            chunks = repository.mark_sent(connection, queue, window - load.unclaimed, self._most)
        messages = bundle(chunks, self._most, slots)
        # With less under way some worker may be idle, and clients that wait would wait for nothing.
        filled = load.chunks + len(chunks) > LEAST_BUNDLE * slots
        self._gathered = self._gathered or (filled and len(messages) < len(chunks))
        for place, message in enumerate(messages):
            try:
                self._publisher.publish(queue, message)
                self._monitors.tell_sent(queue, message)
            except Unavailable:
                # Whatever was not confirmed goes back at once; should the message have arrived after all, its
                # dispatch number is spent by the next one and the claim drops it.
                with self._database.transaction() as connection:
                    for unsent in messages[place:]:
                        for chunk in unsent:
                            repository.unsend(connection, chunk.job_id, chunk.number, chunk.dispatch)
                raise
            _log_sent(message)
        return len(messages)

    def _count_slots(self, queue: str) -> int:
        if time.monotonic() - self._slots_at > 5:
            self._slots_at = time.monotonic()
            with self._database.autocommit() as connection:
                self._slots = {name: repository.count_slots(connection, name) for name in self._queues}
        return self._slots.get(queue, 0) or DEFAULT_SLOTS


def bundle(chunks: Sequence[Message], most: int, slots: int) -> list[list[Message]]:
    """Return the chunks of each message: a run is one; others that share go together by type, up to ``most``.

    They are spread over ``slots`` messages when they are many, so that no worker is idle while another has a full
    message. A run was made to fit into one message, and one worker carries it out in its order.
    """
    sharing = sum(chunk.shares and chunk.run is None for chunk in chunks)
    size = max(1, min(most, max(LEAST_BUNDLE, -(-sharing // max(slots, 1)))))
    messages: list[list[Message]] = []
    open_: dict[tuple[str | None, str], list[Message]] = {}
    for chunk in chunks:
        key = (chunk.run, chunk.type if chunk.run is None else "")
        found = open_.get(key) if chunk.shares else None
        if found is None or (chunk.run is None and _is_full(found, chunk, size)):
            found = []
            messages.append(found)
            if chunk.shares:
                open_[key] = found
        found.append(chunk)
    return messages


def _is_full(message: Sequence[Message], chunk: Message, size: int) -> bool:
    return len(message) >= size or sum(one.records for one in message) + chunk.records > BUNDLE_RECORDS


def _log_sent(message: Sequence[Message]) -> None:
    first = message[0]
    if len(message) > 1:
        log.info(
            "bundle.sent",
            type=first.type,
            jobs=[str(chunk.job_id) for chunk in message],
            dispatches=[chunk.dispatch for chunk in message],
            requests=[chunk.request_id for chunk in message],
        )
        return
    log.info(
        "chunk.sent",
        job=str(first.job_id),
        chunk=first.number,
        dispatch=first.dispatch,
        type=first.type,
        submitted_by=first.submitted_by,
        request_id=first.request_id,
        traceparent=first.traceparent,
    )
