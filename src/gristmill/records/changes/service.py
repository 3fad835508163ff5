"""Changes and deletions of records as clients ask for them; what can be refused is refused at once."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from gristmill.core.config import Settings
from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import parse_json
from gristmill.datasets.ddl import record_table
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import parse_key, show_key
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.types import TYPES
from gristmill.datasets.where import compile_where
from gristmill.jobs.submit import NewChunk
from gristmill.records.changes import tasks
from gristmill.records.changes.recompute import Recompute
from gristmill.records.changes.repository import Key, last_write
from gristmill.records.errors import UnknownRecord
from gristmill.records.etags import check_write, named_writes
from gristmill.records.jobs import record_job
from gristmill.records.submit import Draft, Write

# Values of ETags; None where any will do.
Tags = Sequence[str] | None
# Bodies up to here are checked in the event loop.
_QUICK_BYTES = 16 * 1024


class RecordChanges:
    """Each method returns a write, which the submitter submits as one job.

    Submitting it raises UnknownDataset, DatasetFailed, and Invalid or Malformed with what is wrong.
    """

    def __init__(self, settings: Settings, recompute: Recompute) -> None:
        self._max_attempts = settings.jobs_max_attempts
        self._recompute = recompute

    def patch(self, name: str, key: str, changes: bytes, if_match: Tags = None) -> Write:
        """Change members of one record. key: as it stands in the URL. changes: a JSON object.

        if_match: the ETags of which the record's must be one, when it is submitted and when it is applied.
        Submitting it raises NoKey, UnknownRecord, PreconditionFailed, InputNotStored.
        """

        def draft(dataset: Dataset) -> Draft:
            values = parse_key(dataset.contract, key)
            self._recompute.read_changes(dataset.contract, changes)
            return self._draft(tasks.PATCH, dataset, values, changes, if_match)

        return Write(name, len(changes), draft, lambda _: len(changes) <= _QUICK_BYTES)

    def delete(self, name: str, key: str, if_match: Tags = None) -> Write:
        """Delete one record. key, if_match: as of ``patch``.

        Submitting it raises NoKey, UnknownRecord, PreconditionFailed.
        """

        def draft(dataset: Dataset) -> Draft:
            return self._draft(tasks.DELETE, dataset, parse_key(dataset.contract, key), None, if_match)

        return Write(name, 0, draft, lambda _: True)

    def delete_where(self, name: str, body: bytes) -> Write:
        """Delete what a filter finds. body: ``{"where": {...}}``."""

        def draft(dataset: Dataset) -> Draft:
            where = _read_where(body)
            compile_where(where, dataset.contract, record_table(dataset.contract))
            chunks = [NewChunk(0, 0, body)]
            return Draft(record_job(tasks.DELETE_WHERE, dataset, chunks, self._max_attempts, exclusive=True))

        return Write(name, len(body), draft, lambda _: len(body) <= _QUICK_BYTES)

    def _draft(self, type_: str, dataset: Dataset, key: Key, payload: bytes | None, if_match: Tags) -> Draft:
        expected = named_writes(if_match)
        job = record_job(
            type_,
            dataset,
            [NewChunk(0, 1, payload)],
            self._max_attempts,
            exclusive=True,
            key=_key_json(dataset, key),
            **({} if expected is None else {"if_match": expected}),
        )
        return Draft(job, check=lambda connection: _must_have(connection, dataset, key, expected))


def _key_json(dataset: Dataset, values: Key) -> list[Any]:
    pairs = zip(dataset.contract.key_fields, values, strict=True)
    return [TYPES[field.type].to_json(value) for field, value in pairs]


def _must_have(connection: Connection, dataset: Dataset, key: Key, expected: list[list[int]] | None) -> None:
    found = last_write(connection, dataset.contract, key)
    shown = shorten(show_key(dataset.contract, key))
    if found is None:
        raise UnknownRecord(f"The dataset {dataset.name} has no record with the key {shown}")
    check_write(found, expected, dataset.version, shown)


def _read_where(body: bytes) -> Any:
    """Return the filter in ``{"where": {...}}``; a missing one is refused, as it must never mean every record."""
    parsed = parse_json(body)
    if not isinstance(parsed, dict) or set(parsed) != {"where"} or not isinstance(parsed["where"], dict):
        reason = f'{shorten(parsed)} is not {{"where": {{...}}}}: give a filter; {{}} finds every record'
        raise Invalid(reason, [Violation("/where", "missing", reason)])
    return parsed["where"]
