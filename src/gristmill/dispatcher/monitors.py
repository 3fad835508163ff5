"""Tells monitors what was sent, so that they know a chunk that no worker has received yet."""

import contextlib
import time
from collections.abc import Sequence

from celery import Celery
from celery.events import EventDispatcher
from kombu import Connection

from gristmill.broker.task_events import described
from gristmill.core.logs import get_logger
from gristmill.dispatcher.publisher import BROKER_ERRORS, member_of
from gristmill.jobs.repository.dispatch import Message

log = get_logger()
# Seconds after a failure in which nothing is told: what cannot be seen now must not hold up what is sent.
PAUSE = 5.0
# Seconds that one attempt to connect, or to send, may take.
PATIENCE = 1.0
MOST_EVENTS = 1000


class Monitors:
    """Sends Celery's event ``task-sent`` for each chunk, gathered until ``flush``, over a connection of its own.

    Nothing depends on it: where the broker does not take the events they are forgotten. app: one without confirms,
    which would cost as much as those of the messages; None tells nobody.
    """

    def __init__(self, app: Celery | None) -> None:
        self._app = app
        self._connection: Connection | None = None
        self._events: EventDispatcher | None = None
        self._paused_until = 0.0
        redis_errors: tuple[type[BaseException], ...] = ()
        if app is not None:
            with contextlib.suppress(Exception):
                redis_errors = app.connection_for_write().recoverable_connection_errors
        self._errors = (*BROKER_ERRORS, *redis_errors)

    def tell_sent(self, queue: str, chunks: Sequence[Message]) -> None:
        """Keep that these chunks were sent in one message."""
        if self._app is None or time.monotonic() < self._paused_until:
            return
        try:
            events = self._events or self._open(self._app)
            for chunk in chunks:
                member = member_of(chunk)
                about = described(member, chunk.type)
                events.send("task-sent", uuid=member.task_id, **about, queue=f"gristmill.{queue}", routing_key=queue)
        except self._errors as error:
            self._pause(error)

    def flush(self) -> None:
        """Send what was kept, in one message."""
        if self._events is not None:
            try:
                self._events.flush()
            except self._errors as error:
                self._pause(error)

    def close(self) -> None:
        connection, self._connection, self._events = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(*self._errors):
                # A silent broker would never answer the closing handshake.
                connection.collect(socket_timeout=0.5)

    def _open(self, app: Celery) -> EventDispatcher:
        # No heartbeat: nobody would send it while nothing is due; a connection that broke is noticed when it is used.
        self._connection = connection = app.connection_for_write(connect_timeout=PATIENCE, heartbeat=0)
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=PATIENCE)
        self._events = app.events.Dispatcher(
            connection, buffer_group=["task"], buffer_limit=MOST_EVENTS, buffer_while_offline=False
        )
        return self._events

    def _pause(self, error: BaseException) -> None:
        log.info("monitors.not_told", error=str(error) or type(error).__name__)
        self._paused_until = time.monotonic() + PAUSE
        self.close()
