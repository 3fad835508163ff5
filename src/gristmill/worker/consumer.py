"""Celery's consumer: looks for a lost broker often, and sends the events of many chunks in one message."""

import functools
import logging
import time
from typing import Any, ClassVar

from celery.worker.consumer import Consumer

from gristmill.broker import task_events
from gristmill.broker.members import members_of
from gristmill.jobs.errors import UnknownJobType
from gristmill.worker import late_events
from gristmill.worker.request import unknown

_log = logging.getLogger(__name__)
# Seconds between two attempts. Celery's own pause grows to 30: whatever became due in an outage of some minutes would
# wait for half a minute more after its end, with a worker that has nothing to do.
PAUSE = 0.5
# Seconds that events for Flower are gathered before they are sent together.
EVENTS_EVERY = 0.25
# So many go at once at most; Celery's own limit of 24 is that of a bundle of eight chunks.
MOST_EVENTS = 1000
# Seconds between two looks for pool processes that have ended.
REAP_EVERY = 0.5


class SteadyConsumer(Consumer):  # type: ignore[misc]
    """Looks for a lost broker twice a second, for as long as it takes; sends events in bundles."""

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        """The steps of Celery's own but one: what is delayed waits in Postgres, and where queues are quorum queues
        that step would declare 28 queues and as many exchanges for messages that nobody sends."""

        default_steps: ClassVar = [step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step]

    _flush_is_due = False
    _failed_at = 0.0
    _sending: Any = None

    def ensure_connected(self, conn: Any) -> Any:
        """Return ``conn`` once it is connected."""
        conn.ensure_connection = functools.partial(
            conn.ensure_connection, interval_start=PAUSE, interval_step=0, interval_max=PAUSE
        )
        return super().ensure_connected(conn)

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """Give chunks back whose job type this worker does not know; Celery would throw the message away.

        They were submitted to a newer API, and another worker may have been restarted already.
        """
        try:
            type_, members = message.headers["task"], members_of(message.payload[0], message.headers)
        except (KeyError, TypeError, ValueError):
            super().on_unknown_task(body, message, exc)
            return
        message.ack_log_error(_log, self.connection_errors)
        unknown.put((type_, members))
        for member in members:
            for event, fields in (
                task_events.received(member, type_),
                task_events.ended(member, task_events.End("retried", UnknownJobType.code)),
            ):
                self.event_dispatcher.send(event, **fields)

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Wait a moment if the connection before this one was lost as soon: Celery pauses only while it connects.

        A broker that accepts connections and closes each channel would be asked 20 times a second.
        """
        super().on_connection_error_after_connected(exc)
        time.sleep(max(0.0, min(PAUSE, self._failed_at + PAUSE - time.monotonic())))
        self._failed_at = time.monotonic()

    def register_with_event_loop(self, hub: Any) -> None:
        """Look for ended pool processes more often than Celery's every five seconds. Called for each connection.

        The message of a chunk whose process was lost is only then acknowledged, and keeps a place of the prefetch.
        """
        super().register_with_event_loop(hub)
        hub.call_repeatedly(REAP_EVERY, self.pool.maintain_pool)
        hub.call_repeatedly(REAP_EVERY, self._send_late)
        self._take_over_events()

    def _take_over_events(self) -> None:
        """Gather events up to our own limit; send those that were gathered when the last connection broke."""
        before, self._sending = self._sending, self.event_dispatcher
        self._flush_is_due = False
        if self._sending is None:
            return
        self._sending.buffer_limit = MOST_EVENTS
        if before is not None and before is not self._sending:
            for group, events in before._group_buffer.items():
                self._sending._group_buffer[group].extend(events)
            self.on_send_event_buffered()

    def _send_late(self) -> None:
        while self.event_dispatcher is not None and not late_events.waiting.empty():
            type_, fields = late_events.waiting.get()
            self.event_dispatcher.send(type_, **fields)

    def on_send_event_buffered(self) -> None:
        """Send the events gathered so far, but four times a second at most: Celery would at every turn of its loop.

        An event is a message of its own otherwise, and costs the worker, the broker and Flower more than the chunk.
        """
        if self.hub is not None and not self._flush_is_due:
            self._flush_is_due = True
            self.hub.call_later(EVENTS_EVERY, self._flush)

    def shutdown(self) -> None:
        """Send what the last chunks have left: Celery would end without it, and they would be shown as running."""
        self._send_late()
        self._flush()
        super().shutdown()

    def _flush(self) -> None:
        self._flush_is_due = False
        self._flush_events()
