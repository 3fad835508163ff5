"""Carrying out the chunks of a message: claimed at once, written in shared transactions where they can be, or alone."""

import dataclasses
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from gristmill.core.database import Database, internal_of
from gristmill.core.errors import Contended, GristmillError, Unavailable
from gristmill.core.logs import get_logger
from gristmill.jobs.bundle import Bundle, Ends, OutOfTime, key_of
from gristmill.jobs.errors import Drained, JobCancelled, JobDropped, LostChunk, OutOfDate, TimeLimitExceeded
from gristmill.jobs.handlers import ChunkTask, Handler, IdempotentHandler, Registry, SharingHandler, task_of
from gristmill.jobs.heartbeat import Heartbeat, Held
from gristmill.jobs.outcome import Ended, Outcomes
from gristmill.jobs.repository import claim as claims
from gristmill.jobs.repository import payloads
from gristmill.jobs.worker_name import worker_name

log = get_logger()
# How often a chunk is prepared within one attempt, when what it was prepared from changes meanwhile.
MOST_PREPARATIONS = 5


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A chunk and what the claim said beside its task. ``large``: its payload has to be fetched."""

    task: ChunkTask
    cancelling: bool
    large: bool
    waited: float
    traceparent: str | None


class Executor:
    """Runs claimed chunks in one worker process. Not thread-safe: a process runs one message at a time."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        heartbeat: Heartbeat,
        outcomes: Outcomes,
        *,
        lease: float,
        draining: Callable[[], bool] = lambda: False,
        time_limit_error: type[BaseException] = TimeLimitExceeded,
    ) -> None:
        self._database = database
        self._registry = registry
        self._heartbeat = heartbeat
        self._outcomes = outcomes
        self._lease = lease
        self._draining = draining
        self._time_limit_error = time_limit_error
        self._bundle = Bundle(database, registry, outcomes, time_limit_error)
        self._late = False
        self._worker = worker_name()

    def run(self, job_id: uuid.UUID, number: int, dispatch: int) -> str:
        """Carry out the chunk that the message names; return how it ended, ``dropped`` if the message was stale."""
        return self.run_all([(job_id, number, dispatch)])[0].how

    def run_all(self, addresses: Sequence[claims.Address]) -> list[Ended]:
        """Carry out the chunks that the message names, each claimed, fenced and ended by itself; return how each did.

        Chunks of several jobs share a transaction where their handlers can do that. Whatever goes wrong there, they
        are tried again one by one, so that none suffers from another.
        """
        with self._database.autocommit() as connection:
            rows = claims.claim_all(connection, addresses, self._lease, self._worker)
        claimed = [self._claimed(row) for row in rows if row["claimed"]]
        taken = {key_of(one.task) for one in claimed}
        # The claim has sent those back to waiting that come after a job which is not claimed here.
        returned = {(row["job_id"], row["number"]) for row in rows if row["fence"] is not None and not row["claimed"]}
        ends: Ends = {}
        for job_id, number, dispatch in addresses:
            if (job_id, number) not in taken:
                log.info("chunk.dropped", job=str(job_id), chunk=number, dispatch=dispatch)
                ends[job_id, number] = Ended("returned" if (job_id, number) in returned else "dropped")
        ordered = any(row["exclusive"] for row in rows)
        # One that another process took in the moment of the claim: in an ordered message the later ones wait for it.
        missed = min((row["seq"] for row in rows if row["missed"]), default=None) if ordered else None
        if claimed:
            with self._heartbeat.of([_held(one.task) for one in claimed]):
                if len(addresses) == 1:
                    return [self._run_alone(claimed[0])]
                ends |= self._run_bundle(claimed, ordered, missed)
        return [ends[job_id, number] for job_id, number, _ in addresses]

    def _run_bundle(self, claimed: Sequence[_Claimed], ordered: bool, missed: int | None) -> Ends:
        """Share what can be shared, then run the others alone; in an ordered message until one of them goes back.

        missed: the number of the first job in the order that was not claimed though it has to be carried out.
        """
        self._late = False
        ends: Ends = {}
        returned = {key_of(one.task) for one in claimed if missed is not None and one.task.seq > missed}
        try:
            # Those being cancelled end each with its own reason.
            tasks = [one.task for one in claimed if not one.cancelling]
            self._bundle.run([task for task in tasks if key_of(task) not in returned], ends)
        except OutOfTime as limit:
            self._late = True
            returned |= limit.not_begun
        self._heartbeat.release(*(_held(one.task) for one in claimed if key_of(one.task) in ends))
        late_together, stopped = self._late, False
        for one in claimed:
            if key_of(one.task) in ends:
                continue
            ended = self._run_next(one, stopped or key_of(one.task) in returned)
            if ordered and not late_together:
                stopped = stopped or self._late or not ended.is_final
            ends[key_of(one.task)] = ended
        return ends

    def _run_next(self, one: _Claimed, returned: bool) -> Ended:
        """Carry out a chunk of a message alone, unless it is to be returned or the time of the message is over."""
        try:
            if self._draining():
                return self._outcomes.put_back(one.task, "drained", refund=True)
            if returned and not one.cancelling:
                # One before it in the order has not ended.
                return self._outcomes.put_back(one.task, "returned", refund=True)
            if self._late:
                # What took the time cannot be told. An attempt is counted, so that each comes alone the next time.
                return self._outcomes.put_back(one.task, "retried")
            return self._run_alone(one)
        except Unavailable as error:
            # Nothing could be written about this one: its lease brings it back. The others need not wait for theirs.
            log.warning("chunk.left", job=str(one.task.job_id), chunk=one.task.number, error=error.detail)
            return Ended("left")
        except self._time_limit_error:
            # Even how it ended could not be written in time. The others go back, and its lease brings this one back.
            self._late = True
            log.warning("chunk.left", job=str(one.task.job_id), chunk=one.task.number, error="out of time")
            return Ended("left")
        finally:
            self._heartbeat.release(_held(one.task))

    def _run_alone(self, one: _Claimed) -> Ended:
        task = one.task
        structlog.contextvars.bind_contextvars(
            job=str(task.job_id), chunk=task.number, fence=task.fence, request_id=task.request_id,
            submitted_by=task.submitted_by, traceparent=one.traceparent,
        )  # fmt: skip
        started = time.monotonic()
        try:
            log.info("chunk.claimed", type=task.type, attempt=task.attempt, waited=round(one.waited, 4))
            ended = self._attempt(one)
            seconds = round(time.monotonic() - started, 4)
            log.info("chunk.ended", type=task.type, state=ended.how, seconds=seconds, job_ended=ended.job)
            return ended
        finally:
            structlog.contextvars.unbind_contextvars(
                "job", "chunk", "fence", "request_id", "submitted_by", "traceparent"
            )

    def _attempt(self, one: _Claimed) -> Ended:
        """Do the chunk's work, and write down what came of it."""
        handler: Handler | None = None
        task = one.task
        try:
            try:
                if one.cancelling:
                    raise JobCancelled("the job was cancelled before its chunk was claimed")
                handler = self._registry.get(task.type)
                return self._work(handler, dataclasses.replace(task, payload=self._fetch(task)) if one.large else task)
            except (JobCancelled, JobDropped) as signal:
                return self._outcomes.cancelled(task, signal)
            except Drained:
                return self._outcomes.put_back(task, "drained", refund=True)
            except self._time_limit_error:
                self._late = True
                problem = TimeLimitExceeded("The time limit of the queue was exceeded")
                return self._outcomes.failed(handler, task, problem)
            except GristmillError as error:
                return self._outcomes.failed(handler, task, error)
            except LostChunk:
                raise
            except Exception as error:
                log.exception("chunk.defect")
                return self._outcomes.failed(handler, task, internal_of(error))
        except LostChunk:
            log.warning("chunk.lost")
            return Ended("lost")

    def _work(self, handler: Handler, task: ChunkTask) -> Ended:
        if isinstance(handler, SharingHandler):
            for _ in range(MOST_PREPARATIONS):
                prepared = handler.prepare(task)
                try:
                    return self._bundle.write(handler, [(task, prepared)])[0]
                except OutOfDate:
                    task.check()
            raise Contended(f"What the chunk was prepared from changed {MOST_PREPARATIONS} times meanwhile")
        assert isinstance(handler, IdempotentHandler)
        outcome = handler.run(task)
        return self._bundle.end(task, outcome)

    def _claimed(self, row: dict[str, Any]) -> _Claimed:
        job_id, number, fence = held = row["job_id"], row["number"], row["fence"]
        task = task_of(
            job_id,
            number,
            row,
            None if row["data"] is None else bytes(row["data"]),
            check=lambda: self._check(job_id, number, fence),
            report=lambda fraction: self._heartbeat.report(held, fraction),
        )
        return _Claimed(
            task,
            cancelling=row["job_state"] == "cancelling",
            large=bool(row["large"]),
            waited=row["waited"],
            traceparent=row["traceparent"],
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


def _held(task: ChunkTask) -> Held:
    return task.job_id, task.number, task.fence
