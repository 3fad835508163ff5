"""Group commit: small submissions that wait at the same time share a commit.

While the commit of one batch is on its way to the disk, the requests that come in make up the next one. A request that
comes alone is a batch of one and waits for nobody.
"""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.database import Database
from gristmill.core.errors import Contended, GristmillError
from gristmill.jobs.confirmation import Confirmation, NotConfirmed, confirm
from gristmill.jobs.repository.submit import Guard, Insertion, JobRow, Obstacle, insert_jobs, look
from gristmill.jobs.submit import WriteRequest

# Jobs in one commit, and bytes of their payloads, at most.
MOST = 64
MOST_BYTES = 1024 * 1024
# Batches at the same time; no two of them share a scope or a key. As many more may wait for scopes that others hold.
BATCHES = 2

Check = Callable[[Connection], None]
Answer = uuid.UUID | BaseException | None


@dataclass(slots=True)
class Submission:
    """A small job that is ready to be inserted.

    check: looks at the records that are there, when no unfinished job of its scope could still change them; raises
    GristmillError. None where there is nothing to look at: it goes with ``row.columns["checked"]``.
    confirmation: what has to be so for the job to be submitted with these scopes.
    """

    row: JobRow
    request: WriteRequest
    check: Check | None = None
    confirmation: Confirmation | None = None


class _Member:
    """A submission that waits. scopes, key: what no two batches may have at the same time.

    held: one of its scopes was somebody else's when it was tried, so its batch waits for them.
    """

    __slots__ = ("deliver", "held", "key", "scopes", "size", "submission")

    def __init__(self, submission: Submission, deliver: Callable[[Answer], object]) -> None:
        self.submission = submission
        self.deliver = deliver
        request = submission.request
        self.scopes: set[Hashable] = set(submission.row.scopes)
        self.key: set[Hashable] = set()
        if request.idempotency_key is not None:
            self.key.add((request.principal, request.idempotency_key))
        self.size = len(submission.row.payload or b"")
        self.held = False


class GroupCommit:
    """Submits jobs in batches, from any thread or event loop.

    The answer to each is its job's id, with the row in ``request.receipt``; or the id of the job that its key made
    before; or None when it has to be submitted by itself: its guard says no, it is not confirmed, or somebody else
    holds its key. Raises IdempotencyKeyReused, what its check raises, and DatabaseUnavailable, as everybody in the
    batch then does.
    """

    def __init__(self, database: Database, guard: Guard) -> None:
        self._database = database
        self._guard = guard
        self._lock = threading.Lock()
        self._waiting: list[_Member] = []
        self._busy: set[Hashable] = set()
        # By whether they wait for their scopes.
        self._batches = {False: 0, True: 0}
        self._pool = ThreadPoolExecutor(2 * BATCHES, thread_name_prefix="submit")

    async def submit(self, submission: Submission) -> uuid.UUID | None:
        """Submit a job from an event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()

        def resolve(answer: Answer) -> None:
            # Whoever waited may have gone away.
            if not future.done():
                future.set_result(answer)

        def deliver(answer: Answer) -> None:
            # A loop that is closed has nobody who waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(resolve, answer)

        with self._lock:
            self._waiting.append(_Member(submission, deliver))
        # Requests that are read in the same turn of the loop come along.
        loop.call_soon(self._begin)
        return _raise_or_return(await future)

    def submit_blocking(self, submission: Submission) -> uuid.UUID | None:
        """Submit a job from a thread."""
        future: Future[Answer] = Future()
        with self._lock:
            self._waiting.append(_Member(submission, future.set_result))
        self._begin()
        return _raise_or_return(future.result())

    def _begin(self) -> None:
        """Start as many batches as may run."""
        with self._lock:
            for held in (False, True):
                while self._waiting and self._batches[held] < BATCHES and (batch := self._take(held)):
                    self._batches[held] += 1
                    self._pool.submit(self._work_off, batch, held)

    def _take(self, held: bool) -> list[_Member]:
        """Return the next batch, in the order in which its members came; call it with the lock held.

        A member waits while its key or one of its scopes is in another batch. Nobody overtakes it in its scopes. A
        batch that waits for scopes is one of members with the same ones.
        """
        batch: list[_Member] = []
        rest: list[_Member] = []
        blocked, keys, size = set(self._busy), set(self._busy), 0
        for member in self._waiting:
            full = len(batch) == MOST or (batch and size + member.size > MOST_BYTES)
            fits = member.scopes == batch[0].scopes if held and batch else member.held == held
            if full or not fits or member.scopes & blocked or member.key & keys:
                rest.append(member)
                blocked |= member.scopes
                continue
            batch.append(member)
            keys |= member.key
            size += member.size
        self._waiting = rest
        for member in batch:
            self._busy |= member.scopes | member.key
        return batch

    def _work_off(self, batch: list[_Member], held: bool) -> None:
        while batch:
            answers = self._commit([member.submission for member in batch], held)
            with self._lock:
                again = []
                for member, answer in zip(batch, answers, strict=True):
                    self._busy -= member.scopes | member.key
                    if answer is Obstacle.SCOPE:
                        member.held = True
                        again.append(member)
                self._waiting[:0] = again
                following = self._take(held)
                if not following:
                    self._batches[held] -= 1
            for member, answer in zip(batch, answers, strict=True):
                if not isinstance(answer, Obstacle):
                    member.deliver(answer)
            self._begin()
            batch = following

    def _commit(self, batch: Sequence[Submission], wait: bool) -> Sequence[Answer | Obstacle]:
        """Return the answer to each; for those that have to wait for a scope the obstacle."""
        asking = [place for place, member in enumerate(batch) if member.confirmation is not None]
        plain = [place for place, member in enumerate(batch) if member.confirmation is None]
        answers: dict[int, Answer | Obstacle] = {}
        for places, commit in ((plain, self._commit_plain), (asking, self._commit_confirmed)):
            if places:
                found = commit([batch[place] for place in places], wait)
                answers |= dict(zip(places, found, strict=True))
        return [answers[place] for place in range(len(batch))]

    def _commit_plain(self, batch: Sequence[Submission], wait: bool) -> Sequence[Answer | Obstacle]:
        try:
            with self._database.autocommit() as connection:
                found = insert_jobs(connection, [member.row for member in batch], self._guard, wait=wait)
            idle = [place for place, one in enumerate(found) if one.obstacle is Obstacle.IDLE]
            answers = [_answer(member, one) for member, one in zip(batch, found, strict=True)]
        except (Contended, DBAPIError):
            # Postgres refused all of it, perhaps for one member alone: each finds out by itself.
            return [None] * len(batch)
        except Exception as error:  # noqa: BLE001 - it goes to everybody who waits
            # Whether it was committed may be unknown: nobody may be submitted a second time.
            return [error] * len(batch)
        if idle:
            checked = self._commit_checked([batch[place] for place in idle], wait)
            for place, answer in zip(idle, checked, strict=True):
                answers[place] = answer
        return answers

    def _commit_confirmed(self, batch: Sequence[Submission], wait: bool) -> Sequence[Answer | Obstacle]:
        """Submit jobs that are confirmed under the locks of their scopes. One without its locks comes again."""

        def refuse(connection: Connection) -> Iterator[tuple[int, Answer]]:
            for place, error in confirm(connection, [(one.row, one.confirmation) for one in batch], wait=wait):
                yield place, None if isinstance(error, NotConfirmed) else error

        return self._commit_others(batch, refuse)

    def _commit_checked(self, batch: Sequence[Submission], wait: bool) -> Sequence[Answer | Obstacle]:
        """Submit jobs of scopes that were idle: under their locks the first of each is checked against what is there.

        The others come after it, and their jobs decide.
        """

        def refuse(connection: Connection) -> Iterator[tuple[int, Answer]]:
            seen = look(connection, [member.row for member in batch], self._guard, wait=wait)
            begun: set[str] = set()
            for place, (member, one) in enumerate(zip(batch, seen, strict=True)):
                scope = member.row.columns["scope"]
                if one.obstacle is Obstacle.IDLE and scope not in begun:
                    try:
                        assert member.check is not None  # only such a one is held up by an idle scope
                        member.check(connection)
                    except (Contended, DBAPIError):
                        raise
                    except Exception as error:  # noqa: BLE001 - it goes to this member alone: nothing was written
                        yield place, error
                        continue
                if one.obstacle in (None, Obstacle.IDLE):
                    begun.add(scope)
                    member.row.columns["checked"] = False

        return self._commit_others(batch, refuse)

    def _commit_others(
        self, batch: Sequence[Submission], refuse: Callable[[Connection], Iterable[tuple[int, Answer]]]
    ) -> Sequence[Answer | Obstacle]:
        """Submit the jobs that ``refuse``, which takes their locks, gives no answer to by their places."""
        answers: dict[int, Answer | Obstacle] = {}
        try:
            with self._database.transaction() as connection:
                answers.update(refuse(connection))
                left = [place for place in range(len(batch)) if place not in answers]
                found = insert_jobs(connection, [batch[place].row for place in left], self._guard) if left else []
        except (Contended, DBAPIError):
            return [None] * len(batch)
        except Exception as error:  # noqa: BLE001 - as of _commit_plain
            return [error] * len(batch)
        answers.update((place, _answer(batch[place], one)) for place, one in zip(left, found, strict=True))
        return [answers[place] for place in range(len(batch))]


def _answer(member: Submission, found: Insertion) -> Answer | Obstacle:
    if found.row is not None:
        member.request.receipt.row = found.row
        return uuid.UUID(str(found.row["id"]))
    if found.held is not None and member.request.key is not None:
        try:
            return member.request.key.replay(found.held)
        except GristmillError as error:
            return error
    return Obstacle.SCOPE if found.obstacle is Obstacle.SCOPE else None


def _raise_or_return(answer: Answer) -> uuid.UUID | None:
    if isinstance(answer, BaseException):
        raise answer
    return answer
