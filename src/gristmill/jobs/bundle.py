"""Small chunks of several jobs, written in one transaction; whatever fails is left to be carried out by itself."""

import time
import uuid
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.jobs.errors import UnknownJobType
from gristmill.jobs.handlers import ChunkTask, Outcome, Pair, Registry, SharingHandler
from gristmill.jobs.repository import settle as settling

log = get_logger()
Key = tuple[uuid.UUID, int]


class Parted(Exception):
    """Not every chunk of the bundle may be ended: one was cancelled or lost, and nothing of it may be kept."""


class Bundle:
    """Carries out claimed chunks together.

    after: called for each chunk once its transaction has committed.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        time_limit_error: type[BaseException],
        after: Callable[[ChunkTask, settling.Settled, Outcome], None],
    ) -> None:
        self._database = database
        self._registry = registry
        self._time_limit_error = time_limit_error
        self._after = after

    def run(self, tasks: Sequence[ChunkTask]) -> set[Key]:
        """Carry out what can be done together; return (job, chunk number) of those that are done.

        tasks: of one type, in the order of their jobs. Raises the error of the time limit, and nothing else: the
        chunks that are not in the answer still run under their fences, and nothing of them was kept.
        """
        if len(tasks) < 2:
            return set()
        try:
            handler = self._registry.get(tasks[0].type)
        except UnknownJobType:
            # Each chunk says so for itself when it is run alone.
            return set()
        if not isinstance(handler, SharingHandler):
            return set()
        started = time.monotonic()
        pairs = [pair for task in tasks if (pair := self._prepare(handler, task)) is not None]
        done: set[Key] = set()
        for group in self._groups(handler, pairs):
            if self._write(handler, group):
                done |= {(task.job_id, task.number) for task, _ in group}
        log.info(
            "bundle.ended",
            type=handler.type,
            done=[str(job_id) for job_id, _ in done],
            left=len(tasks) - len(done),
            seconds=round(time.monotonic() - started, 4),
            requests=[task.request_id for task in tasks],
        )
        return done

    def _groups(self, handler: SharingHandler, pairs: Sequence[Pair]) -> Sequence[Sequence[Pair]]:
        try:
            return list(handler.groups(pairs))
        except self._time_limit_error:
            raise
        except Exception as error:  # noqa: BLE001 - each then runs by itself, and tells what is wrong with it
            log.info("bundle.parted", jobs=[str(task.job_id) for task, _ in pairs], error=str(error))
            return []

    def _prepare(self, handler: SharingHandler, task: ChunkTask) -> Pair | None:
        try:
            return task, handler.prepare(task)
        except self._time_limit_error:
            raise
        except Exception as error:  # noqa: BLE001 - it comes again, and is told, when the chunk runs by itself
            log.info("bundle.parted", job=str(task.job_id), chunk=task.number, error=str(error))
            return None

    def _write(self, handler: SharingHandler, group: Sequence[Pair]) -> bool:
        try:
            with self._database.transaction() as connection:
                outcomes = handler.apply_all(connection, group)
                settled = self._settle(connection, group, outcomes)
        except self._time_limit_error:
            raise
        except Exception as error:  # noqa: BLE001 - it comes again, and is told, when the chunks run by themselves
            log.info("bundle.parted", jobs=[str(task.job_id) for task, _ in group], error=str(error))
            return False
        for (task, _), outcome in zip(group, outcomes, strict=True):
            self._after(task, settled[task.job_id], outcome)
        return True

    def _settle(
        self, connection: Connection, group: Sequence[Pair], outcomes: Sequence[Outcome]
    ) -> dict[uuid.UUID, settling.Settled]:
        done = [done_of(task, outcome) for (task, _), outcome in zip(group, outcomes, strict=True)]
        settled = {one.job_id: one for one in settling.settle_done(connection, done)}
        if len(settled) < len(group):
            raise Parted(f"{len(group) - len(settled)} of {len(group)} chunks were cancelled or lost")
        return settled


def done_of(task: ChunkTask, outcome: Outcome) -> settling.Done:
    """Return what is to be written about a chunk that did its work."""
    return settling.Done(
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
