"""One leased source: reads it, makes batches, submits them, waits where it has to, and tries again after errors."""

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gristmill.core.database import Database, internal_of
from gristmill.core.errors import Contended, GristmillError, TooLarge, TooMany, Unavailable
from gristmill.core.logs import get_logger
from gristmill.datasets.errors import DatasetFailed, UnknownDataset
from gristmill.sources.batching import MOST_READY, Batcher
from gristmill.sources.errors import LeaseLost, SourceFailed
from gristmill.sources.figures import Figures, RateMeter
from gristmill.sources.port import Backlog, Read
from gristmill.sources.registry import AnyKind, SourceKinds
from gristmill.sources.repository import leases
from gristmill.sources.repository.leases import Leased
from gristmill.sources.states import SourceState
from gristmill.sources.submit import BatchSubmitter

log = get_logger()
# Seconds for which a kind may block at most, so that a stop is heeded soon.
PATIENCE = 0.5
# Seconds between two attempts while Postgres is away: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds before a kind that failed is opened again: ``base``, doubled with each failure in a row to ``most``."""

    base: float
    most: float

    def delay(self, failures: int) -> float:
        return float(min(self.most, self.base * 2 ** min(failures, 30)) * random.uniform(0.75, 1))


class _Stopped(Exception):
    """The source is to stop: what is in hand is read again by whoever has it next."""


class SourceRun:
    """Reads one source under one lease, in a thread. ``figures`` may be asked for from any thread."""

    def __init__(
        self,
        source: Leased,
        database: Database,
        kinds: SourceKinds,
        submitter: BatchSubmitter,
        retry: RetryPolicy,
    ) -> None:
        self.source = source
        self._database = database
        self._kinds = kinds
        self._submitter = submitter
        self._retry = retry
        self._stop = threading.Event()
        self._lost = self._ended = False
        self._kind: AnyKind | None = None
        self._batcher = Batcher(1, 1.0)
        self._meter = RateMeter()
        self._waits_for: str | None = None
        self._failures = source.failures
        self._thread = threading.Thread(target=self._run, name=f"source-{source.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, lost: bool = False) -> None:
        """Ask the thread to end. lost: the lease is somebody else's, so that nothing of it may be submitted."""
        self._lost = self._lost or lost
        self._stop.set()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the thread; say whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def figures(self) -> Figures:
        """Return rate and lag as of now."""
        return self._figures(ready=True)

    def _figures(self, *, ready: bool) -> Figures:
        items, oldest = self._batcher.in_hand(ready=ready)
        backlog = self._backlog()
        age = 0.0 if oldest is None else time.monotonic() - oldest
        age = max(0.0, age, backlog.seconds)
        return Figures(self._meter.rate(), items + backlog.records, age, self._waits_for)

    def _backlog(self) -> Backlog:
        """Return what the kind says is ready; nothing where it fails, which must not end the renewal of leases."""
        kind = self._kind
        try:
            return Backlog() if kind is None else kind.backlog()
        except Exception as error:  # noqa: BLE001 - whatever a kind raises
            log.warning("source.backlog_failed", source=self.source.name, error=str(error))
            return Backlog()

    def _run(self) -> None:
        """Read until stopped, finished or failed. Nothing that a kind does ends more than its own source's turn."""
        name = self.source.name
        log.info("source.started", source=name, epoch=self.source.epoch, position=self.source.position)
        while not self._stop.is_set():
            try:
                self._read()
                self._end(SourceState.FINISHED)
            except _Stopped:
                break
            except LeaseLost:
                if not self._reload():
                    self._lost = True
                    break
            except (SourceFailed, DatasetFailed) as error:
                self._end(SourceState.FAILED, error)
            except Exception as error:  # noqa: BLE001 - whatever a kind raises is its source's error
                self._note(error)
        if self._ended:
            return
        if self._lost:
            log.info("source.lease_lost", source=name, epoch=self.source.epoch, position=self.source.position)
            return
        self._tell(lambda connection: leases.release(connection, self.source.id, self.source.epoch))
        log.info("source.stopped", source=name, epoch=self.source.epoch, position=self.source.position)

    def _read(self) -> None:
        """Read from the position on, to the end of the source. Raises _Stopped, and what went wrong."""
        source = self.source
        self._kind = kind = self._kinds.check(source.kind, source.settings)
        settings = kind.settings
        self._batcher = batcher = Batcher(settings.batch_size, settings.batch_seconds)
        self._meter = RateMeter(settings.batch_seconds)
        reader = kind.open(source.position, self)
        try:
            for read in reader:
                self._take(read)
                if self._stop.is_set():
                    batcher.close()
                    self._submit_at_once()
                    raise _Stopped
            batcher.close()
            if batcher.ready:
                self._submit()
        finally:
            reader.close()

    def _take(self, read: Read | None) -> None:
        batcher = self._batcher
        if read is not None:
            batcher.add(read)
        batcher.close_due()
        # While more is at hand, several batches are made ready for a moment: they share a commit.
        if batcher.ready and (read is None or batcher.full):
            self._submit()

    # What a kind is given: its pace.

    @property
    def most(self) -> int:
        return self._batcher.size

    @property
    def patience(self) -> float:
        if self._stop.is_set():
            return 0.0
        due = self._batcher.due_in()
        return PATIENCE if due is None else min(PATIENCE, due)

    def wait(self, seconds: float) -> None:
        due = self._batcher.due_in()
        self._stop.wait(max(0.0, seconds if due is None else min(seconds, due)))

    # Submitting

    def _submit(self) -> None:
        """Submit what is ready, however long that takes. Raises _Stopped, LeaseLost, SourceFailed, DatasetFailed."""
        pause, most = _FIRST_PAUSE, MOST_READY
        while self._batcher.ready:
            try:
                self._submit_once(most)
            except (TooMany, Unavailable, UnknownDataset) as error:
                seconds = pause if isinstance(error, Contended | UnknownDataset) else max(pause, _retry_after(error))
                pause = min(_LONGEST_PAUSE, 2 * pause)
                if isinstance(error, TooMany) and most > 1:
                    # There may be room for one, where there is none for all of them.
                    most = 1
                    continue
                self._say_waiting(error)
                if self._stop.wait(seconds * random.uniform(0.8, 1)):
                    raise _Stopped from error
            except TooLarge as error:
                # Of several it is not known which one. Each is cut until it is taken.
                alone = most == 1 or len(self._batcher.batches()) == 1
                if alone and not self._batcher.cut():
                    raise SourceFailed(f"What was read at once cannot be submitted at once: {error.detail}") from error
                most = 1
            else:
                pause = _FIRST_PAUSE

    def _submit_once(self, most: int = MOST_READY) -> None:
        batches = self._batcher.batches()[:most]
        self.source = self._submitter.submit(self.source, batches, self._figures(ready=False))
        self._batcher.submitted(len(batches))
        self._meter.add(sum(batch.records for batch in batches))
        self._failures = 0
        if self._waits_for is not None:
            self._waits_for = None
            log.info("source.goes_on", source=self.source.name)

    def _submit_at_once(self) -> None:
        """Submit what is in hand, as far as that needs no waiting: what is not submitted is read again."""
        if self._lost or not self._batcher.ready:
            return
        try:
            self._submit_once()
        except (GristmillError, LeaseLost) as error:
            log.info("source.batch_dropped", source=self.source.name, reason=str(error))

    def _say_waiting(self, error: GristmillError) -> None:
        what = f"{error.code}: {error.detail}"
        if self._waits_for is None:
            # Once for each wait, not at every try.
            log.warning("source.waiting", source=self.source.name, reason=what)
        self._waits_for = what

    # Ends and errors

    def _reload(self) -> bool:
        """Go on from where Postgres says that the source is; False if the lease is over."""
        while not self._stop.is_set():
            try:
                with self._database.autocommit() as connection:
                    found = leases.load(connection, self.source.id, self.source.epoch)
            except Unavailable:
                self._stop.wait(_FIRST_PAUSE)
                continue
            if found is None:
                return False
            # A commit whose answer was lost has taken place.
            self.source = found
            return True
        return True

    def _end(self, state: SourceState, error: GristmillError | None = None) -> None:
        """Finish the source, or let it fail; end this run."""
        problem = None if error is None else error.problem()
        log.info(
            "source.ended", source=self.source.name, state=str(state), reason=None if error is None else str(error)
        )
        source = self.source
        while not self._tell(lambda connection: leases.end(connection, source.id, source.epoch, state, problem)):
            if self._stop.wait(_FIRST_PAUSE):
                return
        self._ended = True
        self._stop.set()

    def _note(self, error: Exception) -> None:
        """Say what went wrong, and wait before the source is opened again."""
        known = error if isinstance(error, GristmillError) else internal_of(error)
        problem: Mapping[str, Any] = known.problem()
        delay = self._retry.delay(self._failures)
        self._failures += 1
        log.warning(
            "source.failed", source=self.source.name, error=known.detail, again_in=round(delay, 3), exc_info=error
        )
        self._waits_for = f"the next attempt after an error, in {delay:.3g} s: {known.detail}"[:1000]
        source, said = self.source, self._waits_for
        self._tell(lambda connection: leases.note_error(connection, source.id, source.epoch, problem, said))
        self._kind, self._batcher = None, Batcher(1, 1.0)
        self._stop.wait(delay)
        self._waits_for = None

    def _tell(self, say: Any) -> bool:
        """Tell Postgres, unless it is away; say whether it was told."""
        try:
            with self._database.autocommit() as connection:
                say(connection)
        except Unavailable as error:
            log.warning("source.not_told", source=self.source.name, error=error.detail)
            return False
        return True


def _retry_after(error: GristmillError) -> float:
    return float(getattr(error, "retry_after", 0)) if isinstance(error, TooMany) else 0.0
