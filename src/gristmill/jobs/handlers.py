"""The port for job types: a handler says what a chunk does; a registry finds it by the job's dotted type."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from gristmill.broker.queues import DEFAULT_QUEUE, find_queue
from gristmill.jobs.errors import UnknownJobType


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one chunk did. ``result`` is merged into the job's result object; ``rows`` is added up there.

    counted: what is added to counters, by their name and label, once the chunk has ended; None where the records that
    succeeded were written.
    """

    succeeded: int = 0
    rejected: int = 0
    superseded: int = 0
    dropped: int = 0
    rows: int | None = None
    result: dict[str, Any] | None = None
    counted: Mapping[tuple[str, str], int] | None = None


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """A claimed chunk, as its handler sees it."""

    job_id: uuid.UUID
    type: str
    seq: int
    number: int
    attempt: int
    max_attempts: int
    fence: int
    args: dict[str, Any]
    dataset: str | None
    scope: str
    exclusive: bool
    first_record: int
    records: int
    payload: bytes | None
    request_id: str = ""
    submitted_by: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[], None] = field(default=lambda: None, repr=False)
    """Call between steps: raises JobCancelled, Drained or LostChunk."""
    report: Callable[[float], None] = field(default=lambda fraction: None, repr=False)
    """Say what share of the chunk is done, 0 to 1, as often as you like; the job's progress shows it."""


def task_of(
    job_id: uuid.UUID,
    number: int,
    row: Mapping[str, Any],
    payload: bytes | None = None,
    check: Callable[[], None] = lambda: None,
    report: Callable[[float], None] = lambda fraction: None,
) -> ChunkTask:
    """Return the task of a running chunk; ``row`` has the columns of its chunk and its job."""
    return ChunkTask(
        job_id=job_id,
        type=row["type"],
        seq=row["seq"],
        number=number,
        attempt=row["attempts"],
        max_attempts=row["max_attempts"],
        fence=row["fence"],
        args=row["args"],
        dataset=row["dataset"],
        scope=row["scope"],
        exclusive=row["exclusive"],
        first_record=row["first_record"],
        records=row["records"],
        payload=payload,
        request_id=row.get("request_id", ""),
        submitted_by=row.get("submitted_by", ""),
        labels=row.get("labels", {}),
        check=check,
        report=report,
    )


Pair = tuple[ChunkTask, Any]
"""A chunk, and what ``prepare`` made of it."""


class Handler:
    """Root of the two kinds. ``type`` is the job type; ``queue`` its queue."""

    type: str
    queue: str = DEFAULT_QUEUE

    def failed(self, connection: Connection, task: ChunkTask, problem: dict[str, Any]) -> None:
        """Called in the transaction that fails the chunk for good."""


class SharingHandler(Handler):
    """Rows and the chunk's ``done`` go into one commit, and one call may write small chunks of several jobs."""

    def prepare(self, task: ChunkTask) -> Any:
        """Do the work that needs no transaction (decode, transform, embed); the answer goes to ``apply_all``."""
        return None

    def groups(self, pairs: Sequence[Pair]) -> list[list[Pair]]:
        """Part chunks of plain jobs, given in the order of their jobs, into those that one transaction can write.

        The table must end as if each had been written by itself, in this order, and so must the counts.
        """
        raise NotImplementedError

    def apply_all(self, connection: Connection, group: Sequence[Pair]) -> list[Outcome]:
        """Write one group, or one chunk, within a transaction; return what each did, in the same order.

        Raises OutOfDate for a chunk alone when what it was prepared from is no longer so: it is prepared again.
        """
        raise NotImplementedError

    def apply_run(self, connection: Connection, run: Sequence[Pair]) -> list[Outcome] | None:
        """Write chunks of exclusive jobs that follow each other, given in their order, with one call.

        Returns what each did, if tables and outcomes are what they would be had each been written by itself; else None,
        or raises a GristmillError, and nothing of it is kept.
        """
        return None


class TransactionalHandler(SharingHandler):
    """A handler that writes one chunk after the other."""

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        """Write within the chunk's transaction."""
        raise NotImplementedError

    def groups(self, pairs: Sequence[Pair]) -> list[list[Pair]]:
        return [[pair] for pair in pairs]

    def apply_all(self, connection: Connection, group: Sequence[Pair]) -> list[Outcome]:
        return [self.apply(connection, task, prepared) for task, prepared in group]


class IdempotentHandler(Handler):
    """Works outside a transaction; what it makes is named by job and fence: the next attempt adopts or removes it."""

    def run(self, task: ChunkTask) -> Outcome:
        raise NotImplementedError


class Registry:
    """The handlers that bootstrap registered."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def add(self, handler: Handler) -> None:
        if handler.type in self._handlers:
            raise ValueError(f"two handlers for the job type {handler.type}")
        find_queue(handler.queue)
        self._handlers[handler.type] = handler

    def get(self, type_: str) -> Handler:
        try:
            return self._handlers[type_]
        except KeyError:
            raise unknown_to_worker(type_, self) from None

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())


def unknown_to_worker(type_: str, registry: Registry) -> UnknownJobType:
    """Return the error of a chunk whose job type is not in the registry."""
    known = ", ".join(sorted(handler.type for handler in registry))
    return UnknownJobType(
        f"A worker had no handler for the job type {type_!r}; it knows {known}. The job waits for one that has"
    )
