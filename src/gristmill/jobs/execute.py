"""Carrying out one chunk: claim, prepare, apply and ``done`` in one commit, or the reason why not."""

import dataclasses
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import structlog
from sqlalchemy import Connection

from gristmill.core.database import Database, internal_of
from gristmill.core.errors import GristmillError, Unavailable
from gristmill.core.logs import get_logger
from gristmill.jobs.bundle import Bundle, done_of
from gristmill.jobs.errors import Drained, JobCancelled, JobDropped, LostChunk, TimeLimitExceeded
from gristmill.jobs.handlers import (
    ChunkTask,
    Handler,
    IdempotentHandler,
    Outcome,
    Registry,
    TransactionalHandler,
    task_of,
)
from gristmill.jobs.heartbeat import Heartbeat
from gristmill.jobs.notifications import Notifier
from gristmill.jobs.repository import cancel, payloads
from gristmill.jobs.repository import claim as claims
from gristmill.jobs.repository import settle as settling

log = get_logger()
# Seconds after which a chunk looks again whether what it waits for (Postgres, room on disk) is there.
LONGEST_WAIT = 60.0
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


class Executor:
    """Runs claimed chunks in one worker process. Not thread-safe: a process runs one chunk at a time."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        heartbeat: Heartbeat,
        notifier: Notifier,
        *,
        lease: float,
        retry: RetryPolicy,
        draining: Callable[[], bool] = lambda: False,
        time_limit_error: type[BaseException] = TimeLimitExceeded,
        on_settled: Callable[[str, str, float, Outcome], None] | None = None,
    ) -> None:
        self._database = database
        self._registry = registry
        self._heartbeat = heartbeat
        self._notifier = notifier
        self._lease = lease
        self._retry = retry
        self._draining = draining
        self._time_limit_error = time_limit_error
        self._on_settled = on_settled
        self._bundle = Bundle(database, registry, time_limit_error, self._after)
        self._job_ended: str | None = None
        self._late = False
        self._worker = f"{socket.gethostname()}:{threading.get_native_id()}"

    def run(self, job_id: uuid.UUID, number: int, dispatch: int) -> str:
        """Carry out the chunk that the message names; return how it ended, ``dropped`` if the message was stale."""
        return self.run_all([(job_id, number, dispatch)])

    def run_all(self, addresses: Sequence[claims.Address]) -> str:
        """Carry out the chunks that the message names, each claimed, fenced and ended by itself; return how.

        Chunks of several jobs share a transaction where their handler can do that. Whatever goes wrong there, they
        are tried again one by one, so that none suffers from another.
        """
        with self._database.autocommit() as connection:
            rows = claims.claim_all(connection, addresses, self._lease, self._worker)
        if len(rows) < len(addresses):
            claimed = {(row["job_id"], row["number"]) for row in rows}
            for job_id, number, dispatch in addresses:
                if (job_id, number) not in claimed:
                    log.info("chunk.dropped", job=str(job_id), chunk=number, dispatch=dispatch)
        if not rows:
            return "dropped"
        held = [(row["job_id"], row["number"], row["fence"]) for row in rows]
        with self._heartbeat.of(held):
            if len(rows) == 1:
                return self._run_claimed(rows[0])
            ends = self._run_bundle(rows)
        return ", ".join(f"{ends.count(end)} {end}" for end in dict.fromkeys(ends))

    def _run_bundle(self, rows: list[dict[str, Any]]) -> list[str]:
        self._late = False
        done: set[tuple[uuid.UUID, int]] = set()
        try:
            # Those being cancelled end each with its own reason.
            done = self._bundle.run([self._task(row) for row in rows if row["job_state"] != "cancelling"])
        except self._time_limit_error:
            self._late = True
        return ["done"] * len(done) + [
            self._run_neighbour(row) for row in rows if (row["job_id"], row["number"]) not in done
        ]

    def _run_neighbour(self, row: dict[str, Any]) -> str:
        """Carry out a chunk of a bundle by itself, unless the time of the message is over: it then comes again."""
        try:
            if self._draining():
                return self._put_back(self._task(row), "drained", refund=True)
            if self._late:
                # What took the time cannot be told. An attempt is counted, so that each comes alone the next time.
                return self._put_back(self._task(row), "retried")
            return self._run_claimed(row)
        except Unavailable as error:
            # Nothing could be written about this one: its lease brings it back. The others need not wait for theirs.
            log.warning("chunk.left", job=str(row["job_id"]), chunk=row["number"], error=error.detail)
            return "left"
        finally:
            self._heartbeat.release((row["job_id"], row["number"], row["fence"]))

    def _run_claimed(self, row: dict[str, Any]) -> str:
        task = self._task(row)
        structlog.contextvars.bind_contextvars(
            job=str(task.job_id), chunk=task.number, fence=task.fence, request_id=row["request_id"],
            submitted_by=row["submitted_by"], traceparent=row["traceparent"],
        )  # fmt: skip
        started = time.monotonic()
        self._job_ended = None
        try:
            log.info("chunk.claimed", type=task.type, attempt=task.attempt, waited=round(row["waited"], 4))
            ended = self._attempt(task, cancelling=row["job_state"] == "cancelling", large=bool(row["large"]))
            seconds = round(time.monotonic() - started, 4)
            log.info("chunk.ended", type=task.type, state=ended, seconds=seconds, job_ended=self._job_ended)
            return ended
        finally:
            structlog.contextvars.unbind_contextvars(
                "job", "chunk", "fence", "request_id", "submitted_by", "traceparent"
            )

    def _task(self, row: dict[str, Any]) -> ChunkTask:
        job_id, number, fence = held = row["job_id"], row["number"], row["fence"]
        return task_of(
            job_id,
            number,
            row,
            None if row["data"] is None else bytes(row["data"]),
            check=lambda: self._check(job_id, number, fence),
            report=lambda fraction: self._heartbeat.report(held, fraction),
        )

    def _fetch(self, task: ChunkTask) -> bytes:
        with self._database.autocommit() as connection:
            payload = payloads.fetch(connection, task.job_id, task.number)
        if payload is None:
            raise LostChunk("the payload is gone: another worker has finished the chunk")
        return payload

    def _check(self, job_id: uuid.UUID, number: int, fence: int) -> None:
        if self._draining():
            raise Drained("the worker is shutting down")
        with self._database.autocommit() as connection:
            mine, cancelling = claims.look(connection, job_id, number, fence)
        if not mine:
            raise LostChunk("the lease expired and the chunk was given to another worker")
        if cancelling:
            raise JobCancelled("the job is being cancelled")

    def _attempt(self, task: ChunkTask, cancelling: bool, large: bool) -> str:
        handler: Handler | None = None
        try:
            if cancelling:
                raise JobCancelled("the job was cancelled before its chunk was claimed")
            handler = self._registry.get(task.type)
            return self._work(handler, dataclasses.replace(task, payload=self._fetch(task)) if large else task)
        except (JobCancelled, JobDropped) as signal:
            return self._end(task, "cancelled", _reason(signal))
        except Drained:
            return self._put_back(task, "drained", refund=True)
        except LostChunk:
            log.warning("chunk.lost")
            return "lost"
        except self._time_limit_error as limit:
            self._late = True
            problem = TimeLimitExceeded(f"The time limit of the queue was exceeded: {limit}".rstrip(": "))
            return self._failed(handler, task, problem)
        except GristmillError as error:
            return self._failed(handler, task, error)
        except Exception as error:
            log.exception("chunk.defect")
            return self._failed(handler, task, internal_of(error))

    def _work(self, handler: Handler, task: ChunkTask) -> str:
        if isinstance(handler, TransactionalHandler):
            prepared = handler.prepare(task)
            with self._database.transaction() as connection:
                outcome = handler.apply(connection, task, prepared)
                settled = self._done(connection, task, outcome)
        else:
            assert isinstance(handler, IdempotentHandler)
            outcome = handler.run(task)
            with self._database.transaction() as connection:
                settled = self._done(connection, task, outcome)
        self._after(task, settled, outcome)
        return "done"

    def _done(self, connection: Any, task: ChunkTask, outcome: Outcome) -> settling.Settled:
        settled = settling.settle_done(connection, [done_of(task, outcome)])
        if not settled:
            # Raising rolls the rows back: either the fence is old or the job is being cancelled.
            mine, cancelling = claims.look(connection, task.job_id, task.number, task.fence)
            raise JobCancelled("the job is being cancelled") if mine and cancelling else LostChunk("the fence is old")
        return settled[0]

    def _end(
        self,
        task: ChunkTask,
        state: Literal["failed", "cancelled"],
        error: dict[str, Any],
        handler: Handler | None = None,
    ) -> str:
        def end(connection: Connection) -> settling.Settled | None:
            settled = settling.settle(connection, task.job_id, task.number, task.fence, state, error=error)
            if settled is not None and state == "failed" and handler is not None:
                handler.failed(connection, task, error)
            if settled is not None and settled.finished and settled.job_state == "cancelled":
                cancel.drop_payloads(connection, task.job_id)
            return settled

        settled = self._last_word(end)
        if settled is None:
            return "lost"
        self._after(task, settled, Outcome())
        return state

    def _failed(self, handler: Handler | None, task: ChunkTask, error: GristmillError) -> str:
        problem = problem_of(error, task)
        refund = not error.costs_attempt
        if error.retryable and (task.attempt < task.max_attempts or refund):
            # The fence counts how often the chunk was claimed, also where the attempt is given back.
            delay = min(self._retry.delay(task.fence), LONGEST_WAIT) if refund else self._retry.delay(task.attempt)
            log.warning("chunk.retried", code=error.code, detail=error.detail, delay=round(delay, 2))
            return self._put_back(task, "retried", delay=delay, error=problem, refund=refund)
        log.warning("chunk.failed", code=error.code, detail=error.detail)
        return self._end(task, "failed", problem, handler)

    def _put_back(
        self,
        task: ChunkTask,
        ended: str,
        *,
        delay: float = 0,
        refund: bool = False,
        error: dict[str, Any] | None = None,
    ) -> str:
        self._last_word(
            lambda connection: settling.put_back(
                connection, task.job_id, task.number, task.fence, delay=delay, refund=refund, error=error, shown=refund
            )
        )
        self._notifier.due()
        return ended

    def _last_word(self, say: Callable[[Connection], _T]) -> _T:
        """Run ``say`` in a transaction, waiting for Postgres a minute or as long as the lease would have lasted.

        A chunk that ended because Postgres went away, or was full, gets its attempt back only if that can be written
        once it is there again; left to its lease it would lose an attempt to each restart of Postgres.
        """
        deadline = time.monotonic() + max(self._lease, LONGEST_WAIT)
        while True:
            try:
                with self._database.transaction() as connection:
                    return say(connection)
            except Unavailable as error:
                if error.costs_attempt or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _after(self, task: ChunkTask, settled: settling.Settled, outcome: Outcome) -> None:
        if settled.finished:
            self._notifier.finished(task.job_id)
            self._job_ended = settled.job_state
        else:
            self._notifier.due()
        if self._on_settled is not None:
            self._on_settled(task.type, settled.job_state if settled.finished else "", settled.took, outcome)


def problem_of(error: GristmillError, task: ChunkTask) -> dict[str, Any]:
    """Return the problem object that the job shows, naming the chunk and its records."""
    return {
        **error.problem(),
        "chunk": task.number,
        "records": {"first": task.first_record, "last": task.first_record + max(task.records, 1) - 1},
    }


def _reason(signal: Exception) -> dict[str, Any]:
    code = "cancelled"
    return {
        "type": f"urn:gristmill:problem:{code}",
        "title": "Cancelled",
        "status": 409,
        "code": code,
        "detail": f"cancelled: {signal}" if isinstance(signal, JobDropped) else str(signal),
    }
