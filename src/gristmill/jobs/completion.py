"""Waiting for jobs: a waiting request holds neither a thread nor a connection, only a future."""

import asyncio
import contextlib
import uuid
from collections import defaultdict

from gristmill.core.database import Database, Listener
from gristmill.core.errors import Unavailable
from gristmill.core.logs import get_logger
from gristmill.jobs.notifications import FINISHED

log = get_logger()


class JobCompletion:
    """Futures per job, resolved by one LISTEN connection of the process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._futures: dict[str, set[asyncio.Future[None]]] = defaultdict(set)
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
    async def of(self, job_id: uuid.UUID):  # type: ignore[no-untyped-def]
        """Yield a future that is resolved when the job finishes. Look at the job once after entering: it may have."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        key = str(job_id)
        self._futures[key].add(future)
        try:
            yield future
        finally:
            self._futures[key].discard(future)
            if not self._futures[key]:
                del self._futures[key]

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
            # A job may have finished while no connection listened: every waiter reads its job again.
            self._resolve(list(self._futures))

            def ready(listener: Listener = listener, lost: asyncio.Event = lost) -> None:
                try:
                    notices = listener.drain()
                except Unavailable as error:
                    log.warning("completion.lost", error=error.detail)
                    lost.set()
                    return
                for _, payload in notices:
                    self._resolve(payload.split(","))

            descriptor = listener.fileno()
            loop.add_reader(descriptor, ready)
            try:
                await lost.wait()
            finally:
                loop.remove_reader(descriptor)
                listener.close()

    def _resolve(self, keys: list[str]) -> None:
        for key in keys:
            for future in self._futures.get(key, ()):
                if not future.done():
                    future.set_result(None)
