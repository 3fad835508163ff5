"""Tells monitors what was sent, so that they know a chunk that no worker has received yet."""

import contextlib
import time
from collections.abc import Callable, Sequence, Set

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
# Seconds for which a chunk must have waited to be told of.
WAITED = 0.5


class Monitors:
    """Sends Celery's event ``task-sent`` for chunks that wait in a queue, over a connection of its own.

    A chunk that a worker claims within half a second is told by its worker: an event more would cost a fifth of what
    monitors cost, and say nothing.

    Nothing depends on it: where the broker does not take the events they are forgotten. app: one without confirms,
    which would cost as much as those of the messages; None tells nobody.
    """

    def __init__(self, app: Celery | None) -> None:
        self._app = app
        self._connection: Connection | None = None
        self._events: EventDispatcher | None = None
        self._paused_until = 0.0
        # Those of the present half second, and those of the one before, which are looked at once it has passed.
        self._young: list[tuple[str, Message]] = []
        self._old: list[tuple[str, Message]] = []
        self._looked_at = 0.0
        redis_errors: tuple[type[BaseException], ...] = ()
        if app is not None:
            with contextlib.suppress(Exception):
                redis_errors = app.connection_for_write().recoverable_connection_errors
        self._errors = (*BROKER_ERRORS, *redis_errors)

    def tell_sent(self, queue: str, chunks: Sequence[Message]) -> None:
        """Keep that these chunks were sent in one message."""
        if self._app is not None and len(self._young) < MOST_EVENTS:
            self._young.extend((queue, chunk) for chunk in chunks)

    def flush(self, waiting: Callable[[Sequence[Message]], Set[Message]]) -> None:
        """Send what was kept for half a second, in one message. waiting: returns those that nobody has claimed."""
        if time.monotonic() < self._looked_at + WAITED or not (self._old or self._young):
            return
        kept, self._old, self._young = self._old, self._young, []
        self._looked_at = time.monotonic()
        if not kept or self._app is None or time.monotonic() < self._paused_until:
            return
        left = waiting([chunk for _, chunk in kept])
        try:
            events = self._events or self._open(self._app)
            for queue, chunk in kept:
                if chunk in left:
                    member = member_of(chunk)
                    about = described(member, chunk.type)
                    place = {"queue": f"gristmill.{queue}", "routing_key": queue}
                    events.send("task-sent", uuid=member.task_id, **about, **place)
            events.flush()
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
