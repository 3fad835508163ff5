"""Chunks written in one transaction: one, or small ones of several jobs. What cannot be shared is left to be run alone.

Chunks of plain jobs share where their handler can write them with one call. As soon as an exclusive one is among them
they are written one after the other, each under a savepoint, and what is left is always the end of the line.
"""

import contextlib
import itertools
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import GristmillError
from gristmill.core.logs import get_logger
from gristmill.jobs.errors import JobCancelled, LostChunk, OutOfDate
from gristmill.jobs.handlers import ChunkTask, Outcome, Pair, Registry, SharingHandler
from gristmill.jobs.outcome import Ended, NotSettled, Outcomes
from gristmill.jobs.repository.settle import Settled

log = get_logger()
Key = tuple[uuid.UUID, int]
Ends = dict[Key, Ended]


class OutOfTime(Exception):
    """The time limit ran out. ``not_begun``: the chunks whose turn had not come, which cannot have taken the time."""

    def __init__(self, not_begun: Sequence[ChunkTask] = ()) -> None:
        super().__init__("the time limit of the message ran out")
        self.not_begun = {key_of(task) for task in not_begun}


@dataclass(frozen=True, slots=True)
class _Step:
    """One chunk of a line. ``refusal``: what its preparation said, if that ends it."""

    task: ChunkTask
    handler: SharingHandler
    prepared: Any = None
    refusal: GristmillError | None = None


class Bundle:
    """Carries out claimed chunks in shared transactions."""

    def __init__(
        self, database: Database, registry: Registry, outcomes: Outcomes, time_limit_error: type[BaseException]
    ) -> None:
        self._database = database
        self._registry = registry
        self._outcomes = outcomes
        self._time_limit_error = time_limit_error
        self._at = 0

    def write(self, handler: SharingHandler, group: Sequence[Pair]) -> list[Ended]:
        """Write the chunks and end them in one transaction.

        Raises what the handler raises, JobCancelled or LostChunk for one chunk and NotSettled for several.
        """
        tasks = [task for task, _ in group]
        with self._database.transaction() as connection:
            outcomes = handler.apply_all(connection, group)
            settled = self._outcomes.settle_done(connection, tasks, outcomes)
        return [self._outcomes.told("done", *each) for each in zip(tasks, settled, outcomes, strict=True)]

    def end(self, task: ChunkTask, outcome: Outcome) -> Ended:
        """End a chunk whose effects are outside of Postgres. Raises JobCancelled, LostChunk."""
        with self._database.transaction() as connection:
            (settled,) = self._outcomes.settle_done(connection, [task], [outcome])
        return self._outcomes.told("done", task, settled, outcome)

    def run(self, tasks: Sequence[ChunkTask], ends: Ends) -> None:
        """Carry out what can share; put into ``ends`` how that ended, by job and chunk number.

        tasks: in the order of their jobs. Raises OutOfTime, and nothing else: the chunks that are not in ``ends``
        still run under their fences, and nothing of them was kept. Where one is exclusive they are the last ones.
        """
        started = time.monotonic()
        try:
            if any(task.exclusive for task in tasks):
                self._run_in_order(tasks, ends)
            else:
                for type_ in dict.fromkeys(task.type for task in tasks):
                    self._run_groups([task for task in tasks if task.type == type_], ends)
        finally:
            log.info(
                "bundle.ended",
                types=sorted({task.type for task in tasks}),
                ended=[str(job_id) for job_id, _ in ends],
                left=len(tasks) - len(ends),
                seconds=round(time.monotonic() - started, 4),
                requests=[task.request_id for task in tasks],
            )

    def _run_groups(self, tasks: Sequence[ChunkTask], ends: Ends) -> None:
        """Write plain chunks of one type, each group in a transaction, so that rows are locked in order of their keys.

        Whatever fails in a group comes again, and is told, when its chunks are run alone.
        """
        if len(tasks) < 2:
            return
        try:
            with self._left_alone(tasks):
                handler = self._handler(tasks[0])
                pairs: list[Pair] = []
                for task in tasks:
                    with self._left_alone([task]):
                        pairs.append((task, handler.prepare(task)))
                for group in handler.groups(pairs):
                    members = [task for task, _ in group]
                    with self._left_alone(members):
                        ends.update(zip(map(key_of, members), self.write(handler, group), strict=True))
        except self._time_limit_error as limit:
            raise OutOfTime from limit

    def _run_in_order(self, tasks: Sequence[ChunkTask], ends: Ends) -> None:
        """Write chunks one after the other in one transaction, or in few.

        A refusal ends its job, and the next one goes on. At anything else the line is cut: what came before is kept.
        """
        self._at = 0
        try:
            line, behind = self._prepare_in_order(tasks)
            while line:
                self._at = 0
                before = len(ends)
                with self._left_alone([step.task for step in line]):
                    ends.update(self._write_in_order(line))
                ended = len(ends) - before
                if ended == 0:
                    # What comes before the place of the trouble can do without it.
                    line, behind = line[: self._at], False
                elif line[ended:]:
                    # The next one was prepared from what those changed that are committed now. If it cannot be prepared
                    # now, nothing after it may be written.
                    again, _ = self._prepare_in_order([line[ended].task])
                    line = [*again, *line[ended + 1 :]] if again else []
                else:
                    line, behind = self._prepare_in_order(tasks[len(ends) :]) if behind else ([], False)
        except self._time_limit_error as limit:
            raise OutOfTime(tasks[len(ends) + self._at + 1 :]) from limit

    def _prepare_in_order(self, tasks: Sequence[ChunkTask]) -> tuple[list[_Step], bool]:
        """Return the chunks up to the first one that has to be run alone, or that is refused behind others (true).

        Those may change what it was refused for: it is prepared again once they are committed.
        """
        line: list[_Step] = []
        behind = False
        for self._at, task in enumerate(tasks):
            with self._left_alone([task]):
                handler = self._handler(task)
                try:
                    line.append(_Step(task, handler, handler.prepare(task)))
                except GristmillError as error:
                    if error.retryable:
                        raise
                    behind = bool(line)
                    if not behind:
                        line.append(_Step(task, handler, refusal=error))
            if len(line) <= self._at:
                break
        return line, behind

    def _write_in_order(self, line: Sequence[_Step]) -> Ends:
        """Write the chunks in one transaction, up to the first one that is out of date; return how they ended."""
        done: list[tuple[ChunkTask, Outcome]] = []
        refused: list[tuple[_Step, GristmillError]] = []
        written: dict[int, Outcome] = {}
        tried = 0
        with self._database.transaction() as connection:
            for self._at, step in enumerate(line):
                if self._at >= tried:
                    run = _run_from(line, self._at)
                    tried = self._at + len(run)
                    written |= dict(enumerate(self._write_run(connection, run), self._at))
                try:
                    done.append((step.task, written.get(self._at) or self._write_step(connection, step)))
                except OutOfDate:
                    if self._at == 0:
                        raise
                    break
                except GristmillError as error:
                    if error.retryable:
                        raise
                    refused.append((step, error))
            settled = self._settle(connection, done, refused)
        ends = {
            key_of(task): self._outcomes.told("done", task, settled[task.job_id], outcome) for task, outcome in done
        }
        for step, refusal in refused:
            ends[key_of(step.task)] = self._outcomes.told(
                "failed", step.task, settled[step.task.job_id], code=refusal.code
            )
        return ends

    def _write_run(self, connection: Connection, run: Sequence[_Step]) -> list[Outcome]:
        """Write steps with one call; return what they did, or nothing where each has to be written by itself."""
        if len(run) < 2:
            return []
        with contextlib.suppress(_OneByOne), connection.begin_nested():
            try:
                outcomes = run[0].handler.apply_run(connection, [(step.task, step.prepared) for step in run])
            except GristmillError as error:
                raise _OneByOne from error
            if outcomes is None:
                raise _OneByOne
            return outcomes
        return []

    def _write_step(self, connection: Connection, step: _Step) -> Outcome:
        if step.refusal is not None:
            raise step.refusal
        with connection.begin_nested():
            (outcome,) = step.handler.apply_all(connection, [(step.task, step.prepared)])
        return outcome

    def _settle(
        self,
        connection: Connection,
        done: Sequence[tuple[ChunkTask, Outcome]],
        refused: Sequence[tuple[_Step, GristmillError]],
    ) -> dict[uuid.UUID, Settled]:
        try:
            tasks = [task for task, _ in done]
            settled = self._outcomes.settle_done(connection, tasks, [outcome for _, outcome in done])
            for step, error in refused:
                settled.append(self._outcomes.settle_failed(connection, step.handler, step.task, error))
        except (NotSettled, JobCancelled, LostChunk):
            # Which one it was is told when each is run alone.
            self._at = 0
            raise
        return {one.job_id: one for one in settled}

    @contextlib.contextmanager
    def _left_alone(self, tasks: Sequence[ChunkTask]) -> Iterator[None]:
        """Let chunks that fail in the block be run alone, which tells each what is wrong with it."""
        try:
            yield
        except self._time_limit_error:
            raise
        except Exception as error:  # noqa: BLE001 - it comes again, and is told, when the chunks are run alone
            log.info("bundle.split", jobs=[str(task.job_id) for task in tasks], error=str(error))

    def _handler(self, task: ChunkTask) -> SharingHandler:
        handler = self._registry.get(task.type)
        if not isinstance(handler, SharingHandler):
            raise TypeError(f"chunks of {task.type} share no transaction")
        return handler


class _OneByOne(Exception):
    """A run of steps has to be written one after the other."""


def _run_from(line: Sequence[_Step], first: int) -> list[_Step]:
    """Return the steps from the first one on that one handler may be able to write with one call."""
    same = itertools.takewhile(lambda step: step.handler is line[first].handler and step.refusal is None, line[first:])
    return list(same)


def key_of(task: ChunkTask) -> Key:
    return task.job_id, task.number
