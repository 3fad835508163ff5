"""A message in the worker's parent: Celery's request, whose events are those of the chunks that it names."""

from collections.abc import Iterable
from queue import SimpleQueue
from typing import Any

from celery.exceptions import InvalidTaskError
from celery.worker.request import Request

from gristmill.bootstrap.worker import Lost
from gristmill.broker import task_events
from gristmill.broker.members import members_of
from gristmill.core.logs import get_logger

log = get_logger()
lost: SimpleQueue[Lost] = SimpleQueue()
"""What the maintenance thread has to look up in Postgres."""
unknown: SimpleQueue[Lost] = SimpleQueue()
"""What it has to put back there: messages of job types that this worker does not know."""


class ChunksRequest(Request):  # type: ignore[misc]
    """Sends each of Celery's events once for each chunk, under the chunk's own id.

    The task's own events are switched off (``send_events``): this class is the only one that speaks for it. What the
    pool process answered says how each chunk ended. Where there is no answer, because the process was killed or failed,
    how they ended is known to Postgres alone: they go to ``lost``, and are told once they were looked up.
    """

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        try:
            self._members = members_of(self.args, self.request_dict)
        except ValueError as error:
            # Somebody else's message, from Flower's API perhaps: Celery rejects it, and the worker goes on.
            raise InvalidTaskError(str(error)) from error

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Return what ``celery inspect`` shows of the message, and beside it each chunk."""
        chunks = [
            {"id": member.task_id, "dataset": member.dataset, "records": member.records} for member in self._members
        ]
        return {**super().info(safe), "chunks": chunks}

    def tell_received(self) -> None:
        """Send that the worker has the chunks; Celery's own code for this event asks no request."""
        self._send(task_events.received(member, self.name) for member in self._members)

    def send_event(self, type: str, **fields: Any) -> None:
        """Send what Celery says of the message for each of its chunks."""
        if type == "task-started":
            self._send(task_events.started(member) for member in self._members)
        elif type == "task-succeeded":
            self._tell_ends(fields["result"], fields["runtime"])
        elif type == "task-failed" or fields.get("terminated"):
            # A process that is being ended may have committed some of them.
            lost.put((self.name, self._members))
        else:
            fields.pop("traceback", None)
            self._send((type, {"uuid": member.task_id, **fields}) for member in self._members)

    def _tell_ends(self, result: str, runtime: float) -> None:
        try:
            ends = task_events.unpacked(result)
            pairs = list(zip(self._members, ends, strict=True))
            told = [task_events.ended(member, end, runtime) for member, end in pairs if end.how != "left"]
        except (ValueError, TypeError, KeyError) as error:
            log.error("answer.not_understood", error=str(error))
            lost.put((self.name, self._members))
            return
        self._send(told)
        if left := [member for member, end in pairs if end.how == "left"]:
            # Nothing could be written about those: Postgres says it later.
            lost.put((self.name, left))

    def _send(self, events: Iterable[task_events.Event]) -> None:
        if self.eventer is not None and self.eventer.enabled:
            for type_, fields in events:
                self.eventer.send(type_, **fields)


def tell_received(request: Any = None, **_: Any) -> None:
    """Receiver of Celery's signal ``task_received``."""
    if isinstance(request, ChunksRequest):
        request.tell_received()
