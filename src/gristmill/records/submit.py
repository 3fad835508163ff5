"""Submitting a write of records: validated outside any transaction, checked for a changed contract inside it."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Contended, Invalid
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.version_checks import is_visible
from gristmill.jobs.admission import Admission
from gristmill.jobs.errors import Signal
from gristmill.jobs.submit import NewJob, WriteRequest, first_or, submit, unfinished_in_scope

# A contract that changes this often while one request is being validated is changed by a machine gone wild.
_TRIES = 5
_REMEMBERED = 1000
# From so many bytes on, doing the work twice costs more than asking first whether the contract is still the same.
_ASK_FIRST_BYTES = 1024 * 1024


class _Moved(Signal):
    """The contract has changed since the request was validated: it is validated again."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A validated write. ``release`` frees what its chunks hold; ``check`` looks at the records that are there.

    check: called, in the transaction that submits, only when no unfinished job could still change the records.
    """

    job: NewJob
    release: Callable[[], None] = lambda: None
    check: Callable[[Connection], None] = lambda connection: None


class Submitter:
    """Remembers what each name stood for last, so that a write usually needs one transaction and nothing else."""

    def __init__(self, database: Database, admission: Admission, datasets: DatasetLookup) -> None:
        self._database = database
        self._admission = admission
        self._datasets = datasets
        # May be out of date: every write that relies on it is checked against the truth before it commits.
        self._seen: dict[str, Dataset] = {}

    def submit(self, name: str, request: WriteRequest, size: int, draft: Callable[[Dataset], Draft]) -> uuid.UUID:
        """Validate by calling ``draft`` for the dataset called ``name``, and submit its job; return the job's id.

        size: bytes that the job will stage, about.
        Raises what ``draft`` raises, UnknownDataset, DatasetFailed, TooMany, IdempotencyKeyReused.
        """
        return first_or(self._database, request, lambda: self._validated(name, request, size, draft))

    def _validated(self, name: str, request: WriteRequest, size: int, draft: Callable[[Dataset], Draft]) -> uuid.UUID:
        self._admission.check(size)
        large = size >= _ASK_FIRST_BYTES
        dataset = None if large else self._seen.get(name)
        for _ in range(_TRIES):
            present = dataset or self.load(name)
            try:
                made = draft(present)
            except Invalid:
                # The contract that refuses may be an old one.
                if dataset is None or _same(dataset, self.load(name)):
                    raise
                dataset = None
                continue
            try:
                return self._commit(present, made, request, large)
            except _Moved:
                dataset = None
            finally:
                made.release()
        raise Contended(f"The contract of {name} changed {_TRIES} times while the request was validated")

    def seen(self, name: str) -> Dataset | None:
        """Return what the name stood for last, which may be out of date; None: nobody has asked yet."""
        return self._seen.get(name)

    def load(self, name: str) -> Dataset:
        """Return the dataset as it is now. Raises UnknownDataset, DatasetFailed."""
        with self._database.autocommit() as connection:
            dataset = self._datasets.get(connection, name)
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[name] = dataset
        return dataset

    def _commit(self, dataset: Dataset, draft: Draft, request: WriteRequest, large: bool) -> uuid.UUID:
        with self._database.transaction() as connection:
            checked = draft.job.exclusive and not unfinished_in_scope(connection, draft.job.scope)
            if large or checked:
                # It may have changed while a long body was read, and staging that would take long again.
                self._must_be(connection, dataset)
            if checked:
                draft.check(connection)
            job_id = submit(connection, draft.job, request)
            # Asked after the job's number was drawn under the scope's lock: a change of the contract has either
            # committed before, and is seen here, or gets a later number and comes after these records.
            self._must_be(connection, dataset)
        return job_id

    def _must_be(self, connection: Connection, dataset: Dataset) -> None:
        if not is_visible(connection, dataset) and not _same(dataset, self._datasets.get(connection, dataset.name)):
            raise _Moved


def _same(one: Dataset, other: Dataset) -> bool:
    return (one.id, one.version) == (other.id, other.version)
