"""Submitting small jobs together: requests that wait at the same time share one commit.

While the commit of one batch is on its way to the disk, the requests that come in make up the next one. A request that
comes alone is a batch of one and waits for nobody.
"""

import asyncio
import json
import uuid
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gristmill.core.database import Database
from gristmill.jobs.repository.submit_together import Guard, Kind, SmallJob, insert_together
from gristmill.jobs.submit import NewChunk, NewJob, WriteRequest
from gristmill.kit.ids import uuid7

# Jobs in one commit at most.
MOST = 64
_Waiting = list[tuple[SmallJob, "asyncio.Future[dict[str, Any] | None]"]]


class Together:
    """Submits jobs in batches, one at a time for each scope and contract. Used from one event loop.

    guard: the condition under which a job may be submitted; its parameters come with each job.
    """

    def __init__(self, database: Database, guard: Guard) -> None:
        self._database = database
        self._guard = guard
        self._waiting: dict[Kind, _Waiting] = defaultdict(list)
        self._parameters: dict[Kind, dict[str, Any]] = {}
        self._busy: dict[Kind, asyncio.Task[None]] = {}
        # A second thread for other scopes, whose commit then need not wait.
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="submit")

    async def submit(
        self, job: NewJob, chunk: NewChunk, request: WriteRequest, guarded: dict[str, Any]
    ) -> uuid.UUID | None:
        """Submit a plain job of one small chunk and return its id; the row goes to ``request.receipt``.

        guarded: the guard's parameters, the same for all jobs of a type, scope and args.
        Returns None when it must be submitted by itself: its guard says no, or its scope is taken. Raises
        DatabaseUnavailable, as everybody in the batch then does.
        """
        kind = Kind(job.type, job.scope, job.dataset, job.queue, job.max_attempts, json.dumps(job.args))
        small = SmallJob(
            uuid7(),
            request.priority,
            request.labels,
            request.principal,
            request.request_id,
            request.traceparent,
            chunk.first_record,
            chunk.records,
            chunk.payload or b"",
        )
        future: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._waiting[kind].append((small, future))
        self._parameters[kind] = guarded
        if kind not in self._busy:
            self._busy[kind] = asyncio.create_task(self._work_off(kind))
        row = await future
        if row is None:
            return None
        request.receipt.row = row
        return small.id

    async def _work_off(self, kind: Kind) -> None:
        loop = asyncio.get_running_loop()
        while waiting := self._waiting.pop(kind, []):
            part, rest = waiting[:MOST], waiting[MOST:]
            if rest:
                self._waiting[kind] = rest
            try:
                rows = await loop.run_in_executor(self._pool, self._commit, kind, [small for small, _ in part])
            except Exception as error:  # noqa: BLE001 - it goes to everybody who waits
                # Whether it was committed may be unknown: nobody may be submitted a second time.
                for _, future in part:
                    if not future.done():
                        future.set_exception(error)
                continue
            for small, future in part:
                if not future.done():
                    future.set_result(rows.get(small.id))
        del self._busy[kind], self._parameters[kind]

    def _commit(self, kind: Kind, jobs: list[SmallJob]) -> dict[uuid.UUID, dict[str, Any]]:
        with self._database.autocommit() as connection:
            return insert_together(connection, kind, jobs, self._guard, self._parameters[kind])
