"""Publishing with confirms: a message is sent when the broker confirms it, and every wait has a limit."""

import contextlib
from collections.abc import Sequence

import kombu.exceptions
from amqp.exceptions import AMQPError
from celery import Celery
from kombu import Connection, Producer

from gristmill.broker.members import Member, arguments_of
from gristmill.core.errors import Unavailable
from gristmill.core.logs import get_logger
from gristmill.jobs.repository.dispatch import Message

log = get_logger()
# What kombu's transports raise when the broker is away, silent, or refuses.
BROKER_ERRORS = (OSError, AMQPError, kombu.exceptions.KombuError, TimeoutError)


class Publisher:
    """One connection and channel to the broker, opened when needed, dropped at the first error."""

    def __init__(self, app: Celery, confirm_timeout: float) -> None:
        self._app = app
        self._timeout = confirm_timeout
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        redis_errors: tuple[type[BaseException], ...] = ()
        with contextlib.suppress(Exception):
            redis_errors = app.connection_for_write().recoverable_connection_errors
        self._errors = (*BROKER_ERRORS, *redis_errors)

    def open(self) -> bool:
        """Connect and declare the queues; True if that had to be done. Raises Unavailable within the timeout."""
        if self._producer is not None:
            return False
        try:
            connection = self._app.connection_for_write(connect_timeout=self._timeout)
            self._connection = connection
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=self._timeout)
            channel = connection.channel()
            for queue in self._app.amqp.queues.values():
                # A confirm says that the broker took a message, not that a queue got it: the queues come first.
                queue(channel).declare()
            self._producer = Producer(channel)
            log.info("broker.connected")
            return True
        except self._errors as error:
            self.close()
            raise Unavailable(f"The broker cannot be reached: {error}") from error

    def publish(self, queue: str, chunks: Sequence[Message]) -> None:
        """Send chunks in one message and wait for the confirm.

        Raises Unavailable; the message may then have arrived or not.
        """
        self.open()
        members = [member_of(chunk) for chunk in chunks]
        first, others = members[0], f" and {len(members) - 1} more" if len(members) > 1 else ""
        args, headers = arguments_of(members)
        try:
            self._app.send_task(
                chunks[0].type,
                args=args,
                headers=headers,
                argsrepr=first.args_text + others,
                kwargsrepr=first.kwargs_text + others,
                # The workers' events name each chunk by its own id; the message itself is named by the first.
                task_id=first.task_id,
                queue=f"gristmill.{queue}",
                producer=self._producer,
                retry=False,
                confirm_timeout=self._timeout,
                ignore_result=True,
            )
        except self._errors as error:
            self.close()
            raise Unavailable(f"The broker did not confirm the message: {error or type(error).__name__}") from error

    def beat(self) -> None:
        """Keep an idle connection alive; drops it when the broker is gone."""
        if self._connection is not None:
            try:
                self._connection.heartbeat_check()
            except self._errors as error:
                log.warning("broker.lost", error=str(error))
                self.close()

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(*self._errors):
                # collect() closes the socket without the closing handshake, which a silent broker would never answer.
                connection.collect(socket_timeout=0.5)


def member_of(chunk: Message) -> Member:
    """Return the chunk as its message names it."""
    return Member(chunk.job_id, chunk.number, chunk.dispatch, chunk.dataset, chunk.records, chunk.submitted_by)
