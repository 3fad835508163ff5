"""Changes and deletions of records as clients ask for them; what can be refused is refused at once."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from gristmill.core.config import Settings
from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import parse_json
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import check_keys, parse_key, show_key
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.types import TYPES
from gristmill.jobs.submit import NewChunk
from gristmill.records.changes import tasks
from gristmill.records.changes.recompute import Recompute
from gristmill.records.changes.repository import last_write
from gristmill.records.columns import to_table
from gristmill.records.errors import UnknownRecord
from gristmill.records.etags import check_write, named_writes
from gristmill.records.jobs import check_filter, record_job
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

    def delete_many(self, name: str, body: bytes) -> Write:
        """Delete what a filter finds, or what keys name. body: ``{"where": {...}}`` or ``{"keys": [...]}``."""

        def draft(dataset: Dataset) -> Draft:
            parsed = _read(body, ("where",), ("keys",))
            if "where" in parsed:
                made = self._of_many(tasks.DELETE_WHERE, dataset, [NewChunk(0, 0, body)])
                check_filter(made.job, dataset.contract, parsed["where"])
                return made
            keys = sorted(set(check_keys(dataset.contract, parsed["keys"], MAX_KEYS)))
            fields = dataset.contract.key_fields
            columns = [{field.name: value for field, value in zip(fields, key, strict=True)} for key in keys]
            payload = encode(to_table(fields, columns))
            if len(payload) > MAX_KEYS_BYTES:
                reason = f"The keys take {len(payload)} bytes together: give at most {MAX_KEYS_BYTES} at once"
                raise Invalid(reason, [Violation("/keys", "too_long", reason, field="keys")])
            return self._of_many(tasks.DELETE_KEYS, dataset, [NewChunk(0, len(keys), payload)])

        return Write(name, len(body), draft, lambda _: len(body) <= _QUICK_BYTES)

    def patch_many(self, name: str, body: bytes) -> Write:
        """Change what a filter finds. body: ``{"where": {...}, "changes": {...}}``.

        Submitting it raises RecomputeNeeded where something else of each record would have to be read for it.
        """

        def draft(dataset: Dataset) -> Draft:
            parsed = _read(body, ("where", "changes"))
            made = self._of_many(tasks.PATCH_WHERE, dataset, [NewChunk(0, 0, body)])
            check_filter(made.job, dataset.contract, parsed["where"])
            self._recompute.read_shared_changes(dataset.contract, parsed["changes"])
            return made

        return Write(name, len(body), draft, lambda _: len(body) <= _QUICK_BYTES)

    def _of_many(self, type_: str, dataset: Dataset, chunks: Sequence[NewChunk]) -> Draft:
        return Draft(record_job(type_, dataset, chunks, self._max_attempts, exclusive=True))

    def _draft(self, type_: str, dataset: Dataset, key: Key, payload: bytes | None, if_match: Tags) -> Draft:
        expected = named_writes(if_match)
        job = record_job(
            type_,
            dataset,
            [NewChunk(0, 1, payload)],
            self._max_attempts,
            exclusive=True,
            key=_key_json(dataset, key),
        )
        if expected is not None:
            job.args["if_match"] = expected
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
