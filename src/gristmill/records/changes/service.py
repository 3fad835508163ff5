"""Changes and deletions of records as clients ask for them; what can be refused is refused at once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import parse_json
from gristmill.datasets.contract import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import check_keys, parse_key, show_key
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.parents.closure import rows_below, scopes_above, scopes_of_removal
from gristmill.datasets.parents.relations import Relations
from gristmill.datasets.parents.repository.hierarchy import ChildRow
from gristmill.datasets.types import TYPES
from gristmill.jobs.submit import NewChunk, NewJob
from gristmill.records.changes import tasks
from gristmill.records.changes.early import EarlyAnswers, found_by
from gristmill.records.changes.recompute import Recompute
from gristmill.records.changes.repository import has_key, has_one_of, last_write
from gristmill.records.changes.writes import Writes, key_after
from gristmill.records.columns import Row, to_table
from gristmill.records.errors import UnknownRecord
from gristmill.records.etags import check_write, named_writes
from gristmill.records.jobs import record_job
from gristmill.records.key_list import Key
from gristmill.records.payload import encode
from gristmill.records.submit import Draft, Write

# Values of ETags; None where any will do.
Tags = Sequence[str] | None
# Bodies up to here are checked in the event loop.
_QUICK_BYTES = 16 * 1024
# Keys that one request deletes, and their size: they are one chunk.
MAX_KEYS = 100_000
MAX_KEYS_BYTES = 8 * 1024 * 1024


class RecordChanges:
    """Each method returns a write, which the submitter submits as one job.

    Submitting it raises UnknownDataset, DatasetFailed, and Invalid or Malformed with what is wrong.
    """

    def __init__(self, settings: Settings, database: Database, relations: Relations, recompute: Recompute) -> None:
        self._max_attempts = settings.jobs_max_attempts
        self._database = database
        self._recompute = recompute
        self._early = EarlyAnswers(Writes(relations), recompute)

    def patch(self, name: str, key: str, changes: bytes, if_match: Tags = None) -> Write:
        """Change members of one record. key: as it stands in the URL. changes: a JSON object.

        if_match: the ETags of which the record's must be one, when it is submitted and when it is applied.
        Submitting it raises NoKey, UnknownRecord, PreconditionFailed, InputNotStored; where nothing is unfinished also
        KeyExists, ParentMissing, LimitExceeded, ChildrenLeft.
        """

        def draft(dataset: Dataset) -> Draft:
            contract = dataset.contract
            values = parse_key(contract, key)
            wanted = self._recompute.read_changes(contract, changes)
            above = scopes_above(contract, self._touched(contract, wanted)) if contract.parents else {}
            renames = key_after(contract, values, wanted) != values
            job = self._job(tasks.PATCH, dataset, [NewChunk(0, 1, changes)], above, renames)
            try_out = None
            if dataset.hierarchy or above or renames:
                try_out = partial(self._early.patch, dataset=dataset, key=values, changes=wanted, job=job)
            return self._of_one(job, dataset, values, if_match, try_out)

        return Write(name, len(changes), draft, _quick(len(changes)))

    def delete(self, name: str, key: str, if_match: Tags = None) -> Write:
        """Delete one record. key, if_match: as of ``patch``.

        Submitting it raises NoKey, UnknownRecord, PreconditionFailed, ChildrenLeft.
        """

        def draft(dataset: Dataset) -> Draft:
            values = parse_key(dataset.contract, key)
            job = self._job(tasks.DELETE, dataset, [NewChunk(0, 1, None)], {}, removes=True)
            look = self._look(dataset, lambda: has_key(dataset.contract, values), job)
            return self._of_one(job, dataset, values, if_match, look)

        return Write(name, 0, draft, _quick(0))

    def delete_many(self, name: str, body: bytes) -> Write:
        """Delete what a filter finds, or what keys name. body: ``{"where": {...}}`` or ``{"keys": [...]}``."""

        def draft(dataset: Dataset) -> Draft:
            parsed = _read(body, ("where",), ("keys",))
            if "where" in parsed:
                condition = found_by(dataset, parsed["where"])
                job = self._job(tasks.DELETE_WHERE, dataset, [NewChunk(0, 0, body)], {}, removes=True)
                return Draft(job, check=self._look(dataset, lambda: condition, job))
            keys = sorted(set(check_keys(dataset.contract, parsed["keys"], MAX_KEYS)))
            fields = dataset.contract.key_fields
            columns = [{field.name: value for field, value in zip(fields, key, strict=True)} for key in keys]
            payload = encode(to_table(fields, columns))
            if len(payload) > MAX_KEYS_BYTES:
                reason = f"The keys take {len(payload)} bytes together: give at most {MAX_KEYS_BYTES} at once"
                raise Invalid(reason, [Violation("/keys", "too_long", reason, field="keys")])
            job = self._job(tasks.DELETE_KEYS, dataset, [NewChunk(0, len(keys), payload)], {}, removes=True)
            look = self._look(dataset, lambda: has_one_of(dataset.contract, keys), job) if keys else None
            return Draft(job, check=look)

        return Write(name, len(body), draft, _quick(len(body)))

    def patch_many(self, name: str, body: bytes) -> Write:
        """Change what a filter finds. body: ``{"where": {...}, "changes": {...}}``.

        Submitting it raises RecomputeNeeded where something else of each record would have to be read for it.
        """

        def draft(dataset: Dataset) -> Draft:
            parsed = _read(body, ("where", "changes"))
            contract, where = dataset.contract, parsed["where"]
            found_by(dataset, where)
            changes = self._recompute.read_shared_changes(contract, parsed["changes"])
            above = scopes_above(contract, changes) if contract.parents else {}
            job = self._job(tasks.PATCH_WHERE, dataset, [NewChunk(0, 0, body)], above)
            if not dataset.hierarchy and not above:
                return Draft(job)
            try_out = partial(self._early.patch_where, dataset=dataset, where=where, changes=changes, job=job)
            return Draft(job, check=try_out)

        return Write(name, len(body), draft, _quick(len(body)))

    def _touched(self, contract: Contract, changes: Row) -> frozenset[str]:
        return self._recompute.plan(contract, changes).writes.union(changes)

    def _job(
        self, type_: str, dataset: Dataset, chunks: Sequence[NewChunk], above: dict[str, bool], removes: bool = False
    ) -> NewJob:
        """Return the job in its scopes. removes: it takes records or keys away, and what is below may depend on them.

        Its arguments say then what is below, so that it is drafted again where that has changed when it is submitted.
        """
        args: dict[str, Any] = {}
        further = above
        if removes:
            args["hierarchy"] = dataset.hierarchy
            below: Sequence[ChildRow] = ()
            if dataset.hierarchy:
                with self._database.autocommit() as connection:
                    below = rows_below(connection, dataset.name)
                args["below"] = [str(row.id) for row in below]
            further = above | scopes_of_removal(dataset.contract, below)
        return record_job(type_, dataset, chunks, self._max_attempts, exclusive=True, further=further, **args)

    def _look(
        self, dataset: Dataset, condition: Callable[[], sa.ColumnElement[bool]], job: NewJob
    ) -> Callable[[Connection], None] | None:
        """Return what looks for children of records that are to be deleted, None where there are none."""
        if not dataset.hierarchy:
            return None
        return lambda connection: self._early.delete(connection, dataset, condition(), job)

    def _of_one(
        self,
        job: NewJob,
        dataset: Dataset,
        key: Key,
        if_match: Tags,
        further: Callable[[Connection], None] | None,
    ) -> Draft:
        """Return the draft of a write of one record, which has to be there. further: what else is looked at."""
        expected = named_writes(if_match)
        job.args["key"] = _key_json(dataset, key)
        if expected is not None:
            job.args["if_match"] = expected

        def check(connection: Connection) -> None:
            _must_have(connection, dataset, key, expected)
            if further is not None:
                further(connection)

        return Draft(job, check=check)


def _quick(size: int) -> Callable[[Dataset], bool]:
    """Say whether a write of ``size`` bytes is drafted in the event loop: what is below a dataset has to be asked."""
    return lambda dataset: size <= _QUICK_BYTES and not dataset.hierarchy


def _key_json(dataset: Dataset, values: Key) -> list[Any]:
    pairs = zip(dataset.contract.key_fields, values, strict=True)
    return [TYPES[field.type].to_json(value) for field, value in pairs]


def _must_have(connection: Connection, dataset: Dataset, key: Key, expected: list[list[int]] | None) -> None:
    found = last_write(connection, dataset.contract, key)
    shown = shorten(show_key(dataset.contract, key))
    if found is None:
        raise UnknownRecord(f"The dataset {dataset.name} has no record with the key {shown}")
    check_write(found, expected, dataset.version, shown)


def _read(body: bytes, *shapes: Sequence[str]) -> dict[str, Any]:
    """Return the object in ``body``, whose members are those of one of the shapes.

    ``where`` has to be there and an object: a missing one must never mean every record.
    """
    parsed = parse_json(body)
    if not isinstance(parsed, dict) or set(parsed) not in [set(shape) for shape in shapes]:
        valid = " or ".join("{" + ", ".join(f'"{name}": …' for name in shape) + "}" for shape in shapes)
        reason = f"{shorten(parsed)} is not {valid}; the filter {{}} finds every record"
        raise Invalid(reason, [Violation("/where", "missing", reason)])
    for name in ("where", "changes"):
        if name in parsed and not isinstance(parsed[name], dict):
            reason = f"{name} takes an object, not {shorten(parsed[name])}"
            raise Invalid(reason, [Violation(f"/{name}", "wrong_type", reason, field=name)])
    return parsed
