"""The runner: leases sources, renews the leases, and lets go of what is not its own any more."""

import threading
import time
import uuid

from gristmill.core.database import Database, Listener
from gristmill.core.errors import GristmillError, Unavailable
from gristmill.core.logs import get_logger
from gristmill.sources.registry import SourceKinds
from gristmill.sources.repository import leases
from gristmill.sources.repository.requests import CHANGED
from gristmill.sources.run import RetryPolicy, SourceRun
from gristmill.sources.submit import BatchSubmitter

log = get_logger()
# Seconds for which a stop waits for the sources: each has at most one call of its kind and one commit under way.
STOP_SECONDS = 10.0


class SourceRunner:
    """Runs sources until ``stop`` is set. Any number of runners may run: each source is leased by one of them.

    owner: the name of this process. lease: seconds after which another runner may take a source that is not renewed;
    heartbeat: seconds between two renewals; poll: between two looks for free sources, where no wake-up comes. most:
    sources at once.
    """

    def __init__(
        self,
        database: Database,
        kinds: SourceKinds,
        submitter: BatchSubmitter,
        *,
        owner: str,
        lease: float,
        heartbeat: float,
        poll: float,
        most: int,
        retry: RetryPolicy,
        stop: threading.Event,
    ) -> None:
        self._database = database
        self._kinds = kinds
        self._submitter = submitter
        self._owner = owner
        self._lease = lease
        # Two beats may fail before a lease is lost.
        self._heartbeat = min(heartbeat, lease / 3)
        self._poll = min(poll, self._heartbeat)
        self._most = most
        self._retry = retry
        self._stop = stop
        self._runs: dict[uuid.UUID, SourceRun] = {}
        self._beat_at = 0.0
        self._told: dict[uuid.UUID, str | None] = {}
        self._waiting = ""

    def run(self) -> None:
        """Loop until stopped; a lost Postgres is waited for, and the sources go on reading meanwhile."""
        listener: Listener | None = None
        while not self._stop.is_set():
            try:
                if listener is None:
                    listener = Listener(self._database, CHANGED)
                self.pass_once(bool(self._waiting))
                self._waiting = ""
                if listener.wait(self._poll):
                    # Somebody has changed a source: perhaps one of these.
                    self._beat_at = 0.0
            except Unavailable as error:
                if self._waiting != error.code:
                    log.warning("source_runner.waiting", error=error.detail)
                self._waiting = error.code
                if listener is not None:
                    listener.close()
                    listener = None
                self._stop.wait(min(self._poll, 1.0))
            except GristmillError as error:
                log.error("source_runner.failed", error=error.detail)
                self._stop.wait(self._poll)
        if listener is not None:
            listener.close()
        self._end()

    def pass_once(self, force: bool = False) -> None:
        """Renew leases if it is time, end the runs of those that are lost, and take free sources."""
        for source_id in [one for one, run in self._runs.items() if run.ended]:
            del self._runs[source_id]
            self._told.pop(source_id, None)
        if force or self._is_time():
            self._beat()
        room = self._most - len(self._runs)
        if room <= 0:
            return
        with self._database.autocommit() as connection:
            taken = leases.lease(connection, self._owner, self._kinds.names(), self._lease, room)
        for source in taken:
            before = self._runs.get(source.id)
            if before is not None:
                # Its lease ran out while this process could not renew it: the new epoch is this process's again.
                before.stop(lost=True)
                if not before.join(STOP_SECONDS):
                    log.error("source.does_not_stop", source=source.name)
            run = self._runs[source.id] = SourceRun(source, self._database, self._kinds, self._submitter, self._retry)
            run.start()

    def _is_time(self) -> bool:
        """Say whether leases are due, or a source has something new to say."""
        if time.monotonic() - self._beat_at >= self._heartbeat:
            return True
        return any(self._told.get(one) != run.figures().waits_for for one, run in self._runs.items())

    def _beat(self) -> None:
        held = {(one, run.source.epoch): run.figures() for one, run in self._runs.items()}
        if held:
            with self._database.autocommit() as connection:
                kept = leases.beat(connection, held, self._lease)
            for source_id, run in self._runs.items():
                if source_id not in kept:
                    run.stop(lost=True)
            self._told = {one: figures.waits_for for (one, _), figures in held.items()}
        self._beat_at = time.monotonic()

    def _end(self) -> None:
        for run in self._runs.values():
            run.stop()
        until = time.monotonic() + STOP_SECONDS
        for run in self._runs.values():
            if not run.join(max(0.0, until - time.monotonic())):
                log.warning("source.does_not_stop", source=run.source.name)
