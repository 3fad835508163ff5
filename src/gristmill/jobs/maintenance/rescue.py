"""Rescue: what lost its worker, its message or its time goes on; what cannot go on ends with the reason."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import DatabaseUnavailable
from gristmill.core.logs import get_logger
from gristmill.jobs.counters import Counters
from gristmill.jobs.errors import AttemptsExhausted, UnknownJobType
from gristmill.jobs.handlers import ChunkTask, Registry, task_of, unknown_to_worker
from gristmill.jobs.notifications import Notifier
from gristmill.jobs.outcome import Ended, RetryPolicy, problem_of
from gristmill.jobs.repository import cancel, dispatch, ended
from gristmill.jobs.repository import rescue as repository
from gristmill.jobs.repository import settle as settling
from gristmill.jobs.repository.claim import Address

log = get_logger()


class Rescuer:
    """Every method may run in several dispatchers at once."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        notifier: Notifier,
        counters: Counters,
        *,
        retry: RetryPolicy,
        resend_after: float,
        grace: float,
    ) -> None:
        """grace: seconds that workers have after a start of Postgres to renew their leases or give chunks back."""
        self._database = database
        self._registry = registry
        self._notifier = notifier
        self._counters = counters
        self._retry = retry
        self._resend_after = resend_after
        self._grace = grace

    def resend_unclaimed(self) -> int:
        """Put chunks back whose message was sent and never claimed."""
        with self._database.transaction() as connection:
            resent = dispatch.resend_unclaimed(connection, self._resend_after)
        for job_id, number in resent:
            log.warning("chunk.resent", job=str(job_id), chunk=number)
        return len(resent)

    def resend_lost(self, addresses: Sequence[Address]) -> int:
        """Put those chunks back whose message ended with a worker process that had not claimed them yet."""
        with self._database.transaction() as connection:
            resent = [one for one in addresses if dispatch.unsend(connection, *one)]
        for job_id, number, _ in resent:
            log.warning("chunk.resent", job=str(job_id), chunk=number)
        return len(resent)

    def return_unknown(self, type_: str, addresses: Sequence[Address]) -> int:
        """Put chunks back whose job type a worker does not know: another one may, and until then their jobs say so."""
        problem = unknown_to_worker(type_, self._registry).problem()
        with self._database.transaction() as connection:
            returned = dispatch.return_unknown(connection, addresses, problem)
        for job_id, number in returned:
            log.warning("chunk.unknown_type", job=str(job_id), chunk=number, type=type_)
        return len(returned)

    def how_ended(self, addresses: Sequence[Address]) -> dict[Address, Ended]:
        """Return how the chunks of lost messages ended, without those that still run or wait for their message."""
        with self._database.autocommit() as connection:
            found = ended.read_ends(connection, addresses)
        return {one.address: end for one in found if (end := _end_of(one)) is not None}

    def end_cancelling(self) -> None:
        """Cancel chunks of cancelling jobs that went back to waiting meanwhile."""
        with self._database.autocommit() as connection:
            cancelling = cancel.list_cancelling(connection)
        for job_id in cancelling:
            with self._database.transaction() as connection:
                state = cancel.cancel(connection, job_id)
            if state in ("cancelled", "failed"):
                self._notifier.finished(job_id)

    def rescue_expired(self) -> int:
        """Take chunks away from workers whose lease has run out."""
        with self._database.autocommit() as connection:
            expired = repository.list_expired(connection, self._grace)
        for job_id, number in expired:
            self._try_rescue(job_id, number)
        return len(expired)

    def free_ended(self, prefix: str, has_ended: Callable[[str], bool]) -> int:
        """Take chunks away from worker processes that have ended, without waiting for their leases.

        prefix: what the names of the workers begin with that may be judged here. has_ended: says of such a name whether
        its process is gone for good. Only the attempt that this process had claimed is taken.
        """
        with self._database.autocommit() as connection:
            held = repository.list_held(connection, prefix)
        ended = {worker for worker in {chunk.worker for chunk in held} if has_ended(worker)}
        lost = [chunk for chunk in held if chunk.worker in ended]
        for chunk in lost:
            self._try_rescue(chunk.job_id, chunk.number, chunk.fence)
        return len(lost)

    def _try_rescue(self, job_id: uuid.UUID, number: int, lost: int | None = None) -> None:
        try:
            self._rescue(job_id, number, lost)
        except DatabaseUnavailable:
            raise
        except Exception:
            # One chunk that cannot be rescued must not keep the others from it.
            log.exception("rescue.failed", job=str(job_id), chunk=number)

    def _rescue(self, job_id: uuid.UUID, number: int, lost: int | None) -> None:
        settled = None
        with self._database.transaction() as connection:
            row = repository.take(connection, job_id, number, lost)
            if row is None:
                return
            task = task_of(job_id, number, row)
            worker = row["worker"].partition("/")[0]  # People need host and pid of the name.
            error = AttemptsExhausted(f"The worker {worker} was lost at attempt {task.attempt} of {task.max_attempts}")
            problem = problem_of(error, task)
            self._counters.count("lease_losses", task.type)
            event = "lease.expired" if lost is None else "worker.ended"
            log.warning(event, job=str(job_id), chunk=number, fence=task.fence, worker=row["worker"])
            if row["job_state"] == "cancelling":
                settled = settling.settle(connection, job_id, number, task.fence, "cancelled")
            elif task.attempt >= task.max_attempts:
                settled = settling.settle(connection, job_id, number, task.fence, "failed", error=problem)
                self._tell_handler(connection, task, problem)
            else:
                delay = self._retry.delay(task.attempt)
                settling.put_back(connection, job_id, number, task.fence, delay=delay, error=problem)
            if settled is not None and settled.job_state == "cancelled":
                cancel.drop_payloads(connection, job_id)
        if settled is not None and settled.finished:
            self._notifier.finished(job_id)

    def _tell_handler(self, connection: Connection, task: ChunkTask, problem: dict[str, Any]) -> None:
        try:
            handler = self._registry.get(task.type)
        except UnknownJobType:
            return  # Whatever handler it had is gone with its code; the chunk still has to end.
        handler.failed(connection, task, problem)


def _end_of(found: ended.Found) -> Ended | None:
    if found.again or found.state == "waiting":
        # Where it went back by itself, before its process was lost, the chunk names why.
        code = found.code if found.code not in ("", AttemptsExhausted.code) else "worker_lost"
        return Ended("retried", code=code)
    if found.state == "gone":
        return Ended("dropped")
    if found.state == "done":
        return Ended("done", found.job or None)
    if found.state == "failed":
        return Ended("failed", found.job or None, found.code)
    return Ended("cancelled", found.job or None) if found.state == "cancelled" else None
