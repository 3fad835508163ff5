"""Waiting for jobs: a waiting request holds neither a thread nor a connection, only a future.

Those whose jobs finish at the same time are answered from one read.
"""

import asyncio
import contextlib
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cachetools import LRUCache

from gristmill.core.database import Database, Listener
from gristmill.core.errors import GristmillError, Unavailable
from gristmill.core.logs import get_logger
from gristmill.jobs.notifications import FINISHED

log = get_logger()
Body = dict[str, Any]
# Jobs that finished last, so that one which does so before anybody waits for it is not waited for in vain.
REMEMBERED = 10_000


class JobCompletion:
    """Futures per job, resolved by one LISTEN connection of the process."""

    def __init__(self, database: Database, read: Callable[[Sequence[uuid.UUID]], Mapping[uuid.UUID, Body]]) -> None:
        """read: returns the bodies of jobs, by id."""
        self._database = database
        self._read = read
        self._futures: dict[uuid.UUID, set[asyncio.Future[Body | None]]] = defaultdict(set)
        self._finished: LRUCache[uuid.UUID, None] = LRUCache(REMEMBERED)
        self._answers: set[asyncio.Task[None]] = set()
        self._listener: Listener | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep_listening())

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        for futures in self._futures.values():
            for future in futures:
                future.cancel()

    @contextlib.asynccontextmanager
    async def of(self, job_id: uuid.UUID, unread: bool = False):  # type: ignore[no-untyped-def]
        """Yield a future that is resolved when the job finishes: with its body, or with None, to be looked at anew.

        unread: nobody looks at the job within the block, so that it may have finished before. Without it a job that
        finished, and was retried since, would be resolved for ever. What was read before this process listened may be
        old: look once more after some seconds.
        """
        future: asyncio.Future[Body | None] = asyncio.get_running_loop().create_future()
        self._futures[job_id].add(future)
        if unread and job_id in self._finished:
            future.set_result(None)
        try:
            yield future
        finally:
            self._futures[job_id].discard(future)
            if not self._futures[job_id]:
                del self._futures[job_id]

    async def _keep_listening(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            lost = asyncio.Event()
            try:
                listener = await asyncio.to_thread(Listener, self._database, FINISHED)
            except Unavailable as error:
                log.warning("completion.not_listening", error=error.detail)
                await asyncio.sleep(1)
                continue
            # A descriptor of its own: psycopg2 closes its one in the moment in which the connection is lost. The number
            # may then be a request's, whose bytes would call ``ready`` again and again, and reach nobody.
            descriptor = os.dup(listener.fileno())
            # A job may have finished while no connection listened: every waiter reads its job again.
            self._resolve(dict.fromkeys(self._futures))

            def ready(listener: Listener = listener, lost: asyncio.Event = lost, descriptor: int = descriptor) -> None:
                try:
                    notices = listener.drain()
                except Unavailable as error:
                    log.warning("completion.lost", error=error.detail)
                    loop.remove_reader(descriptor)
                    lost.set()
                    return
                self._note([job_id for _, payload in notices for job_id in _ids(payload)])

            loop.add_reader(descriptor, ready)
            try:
                await lost.wait()
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
                listener.close()

    def _note(self, finished: Sequence[uuid.UUID]) -> None:
        self._finished.update(dict.fromkeys(finished))
        if wanted := [job_id for job_id in finished if job_id in self._futures]:
            task = asyncio.create_task(self._answer(wanted))
            # The loop itself holds no task.
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    async def _answer(self, finished: Sequence[uuid.UUID]) -> None:
        bodies: Mapping[uuid.UUID, Body] = {}
        try:
            bodies = await asyncio.to_thread(self._read, finished)
        except GristmillError as error:
            # Whoever waits reads by himself, and is told the same.
            log.warning("completion.not_read", error=error.detail)
        finally:
            self._resolve({job_id: bodies.get(job_id) for job_id in finished})

    def _resolve(self, bodies: Mapping[uuid.UUID, Body | None]) -> None:
        for job_id, body in bodies.items():
            for future in self._futures.get(job_id, ()):
                if not future.done():
                    future.set_result(body)


def _ids(payload: str) -> Iterator[uuid.UUID]:
    """Yield the ids of a notification. Anybody may notify: what is none is passed over, and costs no other."""
    for text in payload.split(","):
        with contextlib.suppress(ValueError):
            yield uuid.UUID(text)
