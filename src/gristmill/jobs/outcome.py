"""How a claimed chunk ended, written down: done, failed, cancelled, or back to waiting; and who is told of it."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import GristmillError, Unavailable
from gristmill.core.logs import get_logger
from gristmill.jobs.errors import JobCancelled, JobDropped, LostChunk
from gristmill.jobs.handlers import ChunkTask, Handler, Outcome
from gristmill.jobs.notifications import Notifier
from gristmill.jobs.repository import cancel, claim
from gristmill.jobs.repository import settle as repository
from gristmill.jobs.repository.settle import Settled

log = get_logger()
# Seconds after which a chunk looks again whether what it waits for (Postgres, room on disk) is there.
LONGEST_WAIT = 60.0
How = Literal["done", "failed", "cancelled", "retried", "returned", "drained", "lost", "left", "dropped"]
OnSettled = Callable[[str, str, float, Outcome], None]
"""Told of each chunk that ended: job type, the job's end state or "", seconds since its creation, counts."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter: attempt n waits up to base * 2^(n-1), at most ``longest`` seconds."""

    base: float = 1.0
    longest: float = 300.0

    def delay(self, attempt: int) -> float:
        # What waits for a full disk counts on without an end; past this power every ceiling is ``longest``.
        ceiling: float = min(self.longest, self.base * 2 ** min(attempt - 1, 60))
        return random.uniform(ceiling / 2, ceiling)


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt at a chunk ended. ``job``: the job's end state, if it has finished with it.

    code: why, if it was not done. outcome: what it did, if it was.
    """

    how: How
    job: str | None = None
    code: str = ""
    outcome: Outcome | None = None

    @property
    def is_final(self) -> bool:
        return self.how in ("done", "failed", "cancelled")


class NotSettled(Exception):
    """Not every chunk may be ended: one was cancelled or lost, and nothing of what they wrote may be kept."""


class Outcomes:
    """Writes how chunks ended, under their fences."""

    def __init__(
        self,
        database: Database,
        notifier: Notifier,
        *,
        lease: float,
        retry: RetryPolicy,
        on_settled: OnSettled | None = None,
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._lease = lease
        self._retry = retry
        self._on_settled = on_settled

    def settle_done(
        self, connection: Connection, tasks: Sequence[ChunkTask], outcomes: Sequence[Outcome]
    ) -> list[Settled]:
        """End chunks of different jobs in the transaction that holds what they wrote.

        Raises for one chunk JobCancelled or LostChunk, for several NotSettled; all of it must then be rolled back.
        """
        done = [_done(task, outcome) for task, outcome in zip(tasks, outcomes, strict=True)]
        settled = {one.job_id: one for one in repository.settle_done(connection, done)} if done else {}
        if len(settled) == len(tasks):
            return [settled[task.job_id] for task in tasks]
        if len(tasks) > 1:
            raise NotSettled(f"{len(tasks) - len(settled)} of {len(tasks)} chunks were cancelled or lost")
        mine, cancelling = claim.look(connection, tasks[0].job_id, tasks[0].number, tasks[0].fence)
        raise JobCancelled("the job is being cancelled") if mine and cancelling else LostChunk("the fence is old")

    def settle_failed(
        self, connection: Connection, handler: Handler | None, task: ChunkTask, error: GristmillError
    ) -> Settled:
        """End a chunk for good within a transaction. Raises LostChunk if it was not ours any more."""
        problem = problem_of(error, task)
        settled = repository.settle(connection, task.job_id, task.number, task.fence, "failed", error=problem)
        if settled is None:
            raise LostChunk("the fence is old")
        log.warning("chunk.failed", job=str(task.job_id), code=error.code, detail=error.detail)
        if handler is not None:
            handler.failed(connection, task, problem)
        return settled

    def told(
        self, how: How, task: ChunkTask, settled: Settled, outcome: Outcome | None = None, code: str = ""
    ) -> Ended:
        """Tell whoever waits for the job, and the counters, once the transaction has committed."""
        job = settled.job_state if settled.finished else None
        if settled.finished:
            self._notifier.finished(task.job_id)
        else:
            self._notifier.due()
        if self._on_settled is not None:
            self._on_settled(task.type, job or "", settled.took, outcome or Outcome())
        return Ended(how, job, code, outcome)

    def cancelled(self, task: ChunkTask, signal: JobCancelled | JobDropped) -> Ended:
        """End the chunk because somebody asked for it, or because what it is about is gone. Raises LostChunk."""

        def end(connection: Connection) -> Settled:
            reason = _reason(signal)
            settled = repository.settle(connection, task.job_id, task.number, task.fence, "cancelled", error=reason)
            if settled is None:
                raise LostChunk("the fence is old")
            if settled.job_state == "cancelled":
                cancel.drop_payloads(connection, task.job_id)
            return settled

        return self.told("cancelled", task, self._once_postgres_is_there(end))

    def failed(self, handler: Handler | None, task: ChunkTask, error: GristmillError) -> Ended:
        """End the chunk for good, or send it back if the error may pass and attempts are left. Raises LostChunk."""
        refund = not error.costs_attempt
        if error.retryable and (task.attempt < task.max_attempts or refund):
            # The fence counts how often the chunk was claimed, also where the attempt is given back.
            delay = min(self._retry.delay(task.fence), LONGEST_WAIT) if refund else self._retry.delay(task.attempt)
            log.warning("chunk.retried", code=error.code, detail=error.detail, delay=round(delay, 2))
            return self.put_back(task, "retried", delay=delay, error=problem_of(error, task), refund=refund)
        settled = self._once_postgres_is_there(lambda connection: self.settle_failed(connection, handler, task, error))
        return self.told("failed", task, settled, code=error.code)

    def put_back(
        self,
        task: ChunkTask,
        how: How,
        *,
        delay: float = 0,
        refund: bool = False,
        error: dict[str, Any] | None = None,
    ) -> Ended:
        """Send the chunk back to waiting. refund: with its attempt; an error is then shown in the job meanwhile."""
        self._once_postgres_is_there(
            lambda connection: repository.put_back(
                connection, task.job_id, task.number, task.fence, delay=delay, refund=refund, error=error, shown=refund
            )
        )
        self._notifier.due()
        return Ended(how, code="" if error is None else str(error["code"]))

    def _once_postgres_is_there(self, write: Callable[[Connection], _T]) -> _T:
        """Run ``write`` in a transaction, waiting for Postgres a minute or as long as the lease would have lasted.

        A chunk that ended because Postgres went away, or was full, gets its attempt back only if that can be written
        once it is there again; left to its lease it would lose an attempt to each restart of Postgres.
        """
        deadline = time.monotonic() + max(self._lease, LONGEST_WAIT)
        while True:
            try:
                with self._database.transaction() as connection:
                    return write(connection)
            except Unavailable as error:
                if error.costs_attempt or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def problem_of(error: GristmillError, task: ChunkTask) -> dict[str, Any]:
    """Return the problem object that the job shows, naming the chunk and its records."""
    return {
        **error.problem(),
        "chunk": task.number,
        "records": {"first": task.first_record, "last": task.first_record + max(task.records, 1) - 1},
    }


def _done(task: ChunkTask, outcome: Outcome) -> repository.Done:
    return repository.Done(
        task.job_id,
        task.number,
        task.fence,
        succeeded=outcome.succeeded,
        rejected=outcome.rejected,
        superseded=outcome.superseded,
        dropped=outcome.dropped,
        rows=outcome.rows,
        result=outcome.result,
    )


def _reason(signal: JobCancelled | JobDropped) -> dict[str, Any]:
    code = "cancelled"
    return {
        "type": f"urn:gristmill:problem:{code}",
        "title": "Cancelled",
        "status": 409,
        "code": code,
        "detail": f"cancelled: {signal}" if isinstance(signal, JobDropped) else str(signal),
    }
