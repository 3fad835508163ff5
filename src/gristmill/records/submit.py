"""Submitting a write of records: validated outside any transaction, checked for a changed contract inside it."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import anyio.to_thread
from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Contended, GristmillError
from gristmill.datasets.errors import DatasetFailed, UnknownDataset
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.version_checks import VISIBLE, is_visible
from gristmill.jobs.admission import Admission
from gristmill.jobs.confirmation import Confirmation
from gristmill.jobs.errors import Signal
from gristmill.jobs.group_commit import GroupCommit, Submission
from gristmill.jobs.idempotency import first_or
from gristmill.jobs.repository.submit import Guard, insert_jobs
from gristmill.jobs.submit import NewJob, WriteRequest, small_row, submit, unfinished_in_scope
from gristmill.kit.caches import SharedCache

# A contract that changes this often while one request is being validated is changed by a machine gone wild.
_TRIES = 5
_REMEMBERED = 1000
# From so many bytes on, doing the work twice costs more than asking first whether the contract is still the same.
_ASK_FIRST_BYTES = 1024 * 1024
_GUARD = Guard(VISIBLE)


class _Moved(Signal):
    """The contract has changed since the request was validated: it is validated again."""


@dataclass(slots=True)
class Draft:
    """A validated write. ``release`` frees what its chunks hold; ``check`` looks at the records that are there.

    check: called, in the transaction that submits, only when no unfinished job could still change the records.
    compare: looks, in that transaction, at what the request itself holds.
    confirmation: what has to be so for the job to be submitted with its scopes; else ``ordered`` are its further ones.
    """

    job: NewJob
    release: Callable[[], None] = lambda: None
    check: Callable[[Connection], None] | None = None
    compare: Callable[[Connection], None] | None = None
    confirmation: Confirmation | None = None
    ordered: Mapping[str, bool] | None = None

    def in_order(self) -> "Draft":
        """Return the draft as it is submitted without being confirmed."""
        if self.ordered is not None:
            self.job.further_scopes = self.ordered
        return self


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that is staged, in a transaction that has not committed yet."""

    id: uuid.UUID
    job: NewJob


@dataclass(frozen=True, slots=True)
class Write:
    """A write as a client asked for it. draft: validates it for the dataset called ``name``.

    size: bytes that the job will stage, about. quick: says whether ``draft`` takes about a millisecond at most and asks
    nobody else, so that it may run where other requests wait for it.
    """

    name: str
    size: int
    draft: Callable[[Dataset], Draft]
    quick: Callable[[Dataset], bool] = lambda dataset: False


class Submitter:
    """Remembers what each name stood for last, so that a write usually needs one transaction and nothing else.

    ``submit`` and ``submit_blocking`` submit the job of a write and return its id. Both raise what the write's draft
    raises, UnknownDataset, DatasetFailed, TooMany, IdempotencyKeyReused, DatabaseUnavailable.
    """

    def __init__(self, database: Database, admission: Admission, datasets: DatasetLookup) -> None:
        self._database = database
        self._admission = admission
        self._datasets = datasets
        self._group = GroupCommit(database, _GUARD)
        # May be out of date: every write that relies on it is checked against the truth before it commits.
        self._seen: SharedCache[str, Dataset] = SharedCache(_REMEMBERED)

    async def submit(self, write: Write, request: WriteRequest) -> uuid.UUID:
        """Submit from the event loop. Whatever takes long is done in a thread."""
        shares = True
        dataset = self._seen.get(write.name)
        if dataset is not None and write.quick(dataset) and self._admission.admit(write.size):
            job_id, shares = None, False
            try:
                job_id, shares = await self._submit_quick(write, dataset, request)
            finally:
                self._count_off(write, request)
            if job_id is not None:
                return job_id
        return await anyio.to_thread.run_sync(partial(self.submit_blocking, write, request, shares=shares))

    async def expect(self, name: str, request_of: Callable[[], WriteRequest]) -> None:
        """Raise UnknownDataset or DatasetFailed before a body is read, unless the request may be a replay."""
        if self._seen.get(name) is None:
            await anyio.to_thread.run_sync(self._expect, name, request_of())

    def _expect(self, name: str, request: WriteRequest) -> None:
        try:
            self.load(name)
        except (UnknownDataset, DatasetFailed):
            if request.key is None or not request.key.is_held(self._database):
                raise

    async def _submit_quick(
        self, write: Write, dataset: Dataset, request: WriteRequest
    ) -> tuple[uuid.UUID | None, bool]:
        """Return the job's id; or None, and whether it may still share a commit, for what a thread has to look at."""
        try:
            draft = write.draft(dataset)
        except GristmillError:
            # It is judged again by the contract as it is now, and a replay is answered whatever became of that.
            return None, True
        try:
            submission = _shared(draft, request)
            return (None, True) if submission is None else (await self._group.submit(submission), False)
        finally:
            draft.release()

    def submit_blocking(self, write: Write, request: WriteRequest, shares: bool = True) -> uuid.UUID:
        """Submit from a thread. shares: whether it may share a commit with others."""
        return first_or(self._database, request.key, lambda: self._validated(write, request, shares))

    def _validated(self, write: Write, request: WriteRequest, shares: bool) -> uuid.UUID:
        self._admission.check(write.size)
        try:
            return self._drafted(write, request, shares)
        finally:
            self._count_off(write, request)

    def _count_off(self, write: Write, request: WriteRequest) -> None:
        """Take back what was counted for a request that made no job."""
        if request.receipt.row is None:
            self._admission.give_back(write.size)

    def _drafted(self, write: Write, request: WriteRequest, shares: bool) -> uuid.UUID:
        large = write.size >= _ASK_FIRST_BYTES
        dataset = None if large or not shares else self._seen.get(write.name)
        for _ in range(_TRIES):
            present = dataset or self.load(write.name)
            try:
                made = write.draft(present)
            except GristmillError:
                # The contract that refuses may be an old one.
                if dataset is None or _same(dataset, self.load(write.name)):
                    raise
                dataset = None
                continue
            try:
                submission = _shared(made, request) if shares else None
                job_id = None if submission is None else self._group.submit_blocking(submission)
                return job_id or self._commit(present, made, request, large)
            except _Moved:
                request.receipt.row = None
                dataset, shares = None, False
            finally:
                made.release()
        raise Contended(f"The contract of {write.name} changed {_TRIES} times while the request was validated")

    def submit_in_order(
        self, writes: Sequence[tuple[Write, WriteRequest]], also: Callable[[Connection, Sequence[Submitted]], None]
    ) -> None:
        """Submit writes of one dataset in one transaction, in their order; from a thread.

        writes: plain upserts, without an Idempotency-Key. also: called in that transaction when all are staged; what it
        raises is raised here, and undoes all of them. Otherwise raises what ``submit`` does.
        """
        admitted: list[Write] = []
        try:
            for write, _ in writes:
                self._admission.check(write.size)
                admitted.append(write)
            self._drafted_in_order(writes, also)
        except BaseException:
            for write in admitted:
                self._admission.give_back(write.size)
            raise

    def _drafted_in_order(
        self, writes: Sequence[tuple[Write, WriteRequest]], also: Callable[[Connection, Sequence[Submitted]], None]
    ) -> None:
        name = writes[0][0].name
        dataset, guarded = self._seen.get(name), True
        for _ in range(_TRIES):
            present = dataset or self.load(name)
            drafts: list[tuple[Draft, WriteRequest]] = []
            try:
                drafts.extend((write.draft(present).in_order(), request) for write, request in writes)
                self._commit_in_order(present, drafts, also, guarded)
            except _Moved:
                # Or a change of the contract is on its way, which the guard alone does not tell from that.
                dataset, guarded = None, False
            except GristmillError as error:
                # The contract that refuses may be an old one.
                if dataset is None or error.retryable or _same(dataset, self.load(name)):
                    raise
                dataset = None
            else:
                return
            finally:
                for draft, _request in drafts:
                    draft.release()
        raise Contended(f"The contract of {name} changed {_TRIES} times while records were validated")

    def _commit_in_order(
        self,
        dataset: Dataset,
        drafts: Sequence[tuple[Draft, WriteRequest]],
        also: Callable[[Connection, Sequence[Submitted]], None],
        guarded: bool,
    ) -> None:
        """guarded: they are staged by one statement that asks whether the contract is still the same."""
        rows = [small_row(draft.job, request, checked=False) for draft, request in drafts]
        small = [row for row in rows if row is not None]
        with self._database.transaction() as connection:
            if guarded and len(small) == len(rows):
                found = insert_jobs(connection, small, _GUARD, wait=True)
                if any(one.row is None for one in found):
                    raise _Moved
                ids = [uuid.UUID(row.columns["id"]) for row in small]
            else:
                ids = [submit(connection, draft.job, request) for draft, request in drafts]
                self._must_be(connection, dataset)
            also(connection, [Submitted(job_id, draft.job) for job_id, (draft, _) in zip(ids, drafts, strict=True)])

    def load(self, name: str) -> Dataset:
        """Return the dataset as it is now. Raises UnknownDataset, DatasetFailed."""
        with self._database.autocommit() as connection:
            dataset = self._datasets.get(connection, name)
        self._seen.put(name, dataset)
        return dataset

    def _commit(self, dataset: Dataset, draft: Draft, request: WriteRequest, large: bool) -> uuid.UUID:
        """Submit a job by itself: it waits for the locks that it needs."""
        draft.in_order()
        with self._database.transaction() as connection:
            if draft.compare is not None:
                draft.compare(connection)
            check = _check_of(draft, request)
            checked = check is not None and not unfinished_in_scope(connection, draft.job.scope)
            if large or checked:
                # It may have changed while a long body was read, and staging that would take long again.
                self._must_be(connection, dataset)
            if checked and check is not None:
                check(connection)
            job_id = submit(connection, draft.job, request)
            # Asked after the job's number was drawn under the scope's lock: a change of the contract has either
            # committed before, and is seen here, or gets a later number and comes after these records.
            self._must_be(connection, dataset)
        return job_id

    def _must_be(self, connection: Connection, dataset: Dataset) -> None:
        if not is_visible(connection, dataset) and not _same(dataset, self._datasets.get(connection, dataset.name)):
            raise _Moved


def _shared(draft: Draft, request: WriteRequest) -> Submission | None:
    """Return what shares a commit with others, or None for a job that has too much for that."""
    if draft.confirmation is not None and request.run_at is not None:
        return None
    check = _check_of(draft, request)
    row = small_row(draft.job, request, checked=check is not None and draft.confirmation is None)
    return None if row is None else Submission(row, request, check, draft.confirmation)


def _check_of(draft: Draft, request: WriteRequest) -> Callable[[Connection], None] | None:
    """Return what looks at the records that are there; None for a scheduled job: it may all change by then."""
    return None if request.run_at is not None else draft.check


def _same(one: Dataset, other: Dataset) -> bool:
    return (one.id, one.version, one.hierarchy) == (other.id, other.version, other.hierarchy)
