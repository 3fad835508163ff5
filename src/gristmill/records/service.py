"""Writes of records as clients ask for them: what can be refused is refused here, before anything is queued."""

import uuid
from typing import Any, Literal

from pydantic_core import from_json
from sqlalchemy import Connection

from gristmill.core.config import Settings
from gristmill.core.errors import Invalid, Malformed, Place
from gristmill.datasets.ddl import record_table
from gristmill.datasets.describe import shorten
from gristmill.datasets.reader import Dataset
from gristmill.datasets.types import TYPES
from gristmill.datasets.where import compile_where
from gristmill.jobs.submit import NewChunk, NewJob, Request
from gristmill.records import tasks
from gristmill.records.change import Key, has_record
from gristmill.records.chunks import read_batches
from gristmill.records.keys import NoKey, parse_key, show_key
from gristmill.records.payload import decode, encode
from gristmill.records.read import UnknownRecord
from gristmill.records.readers import open_reader
from gristmill.records.readers.source import Source
from gristmill.records.spool import BodySpool, Spool, SpooledChunks
from gristmill.records.submit import Draft, Submitter
from gristmill.records.validate import Problems, json_depth, validator_of
from gristmill.records.write import raise_if_existing

OnConflict = Literal["replace", "fail"]


class RecordWrites:
    """Writes to datasets. All methods but ``validate`` submit one job and return its id.

    All raise UnknownDataset, DatasetFailed, and Invalid or Malformed with the places of what is wrong; those that
    submit a job also TooMany and, for a reused Idempotency-Key, IdempotencyKeyReused.
    """

    def __init__(self, settings: Settings, submitter: Submitter, spool: Spool) -> None:
        self._settings = settings
        self._submitter = submitter
        self._spool = spool

    def ingest(
        self, name: str, body: BodySpool, media_type: str, on_conflict: OnConflict, request: Request
    ) -> uuid.UUID:
        """Upsert the records in ``body``. Raises Unavailable (spool full); under on_conflict=fail KeyExists, NoKey."""
        fail = on_conflict == "fail"

        def draft(dataset: Dataset) -> Draft:
            if fail and not dataset.contract.key:
                raise NoKey(f"The dataset {name} has no key, so on_conflict=fail has no meaning")
            chunks = self._spooled(dataset, body, media_type)

            def check(connection: Connection) -> None:
                for chunk in chunks:
                    table = decode(chunk.payload or b"")
                    raise_if_existing(connection, dataset.contract, table, chunk.first_record)

            args = {"on_conflict": on_conflict}
            return Draft(self._job(tasks.INGEST, dataset, chunks, args, exclusive=fail), chunks.close, check)

        return self._submitter.submit(name, request, body.size, draft)

    def validate(self, name: str, body: BodySpool, media_type: str) -> dict[str, Any]:
        """Validate the records as ``ingest`` would, and store nothing; return how many there are."""
        dataset = self._submitter.load(name)
        chunks = self._spooled(dataset, body, media_type)
        try:
            return {"valid": True, "dataset": name, "version": dataset.version, "records": chunks.records}
        finally:
            chunks.close()

    def patch(self, name: str, key: str, changes: bytes, request: Request) -> uuid.UUID:
        """Change members of one record. key: as it stands in the URL. changes: a JSON object.

        Raises NoKey, UnknownRecord.
        """

        def draft(dataset: Dataset) -> Draft:
            values = parse_key(dataset.contract, key)
            validator_of(dataset.contract).validate_changes(changes, self._settings.api_max_json_depth)
            args = {"key": _key_json(dataset, values)}
            job = self._job(tasks.PATCH, dataset, [NewChunk(0, 1, changes)], args, exclusive=True)
            return Draft(job, check=lambda connection: _must_have(connection, dataset, values))

        return self._submitter.submit(name, request, len(changes), draft)

    def delete(self, name: str, key: str, request: Request) -> uuid.UUID:
        """Delete one record. key: as it stands in the URL. Raises NoKey, UnknownRecord."""

        def draft(dataset: Dataset) -> Draft:
            values = parse_key(dataset.contract, key)
            args = {"key": _key_json(dataset, values)}
            job = self._job(tasks.DELETE, dataset, [NewChunk(0, 1, None)], args, exclusive=True)
            return Draft(job, check=lambda connection: _must_have(connection, dataset, values))

        return self._submitter.submit(name, request, 0, draft)

    def delete_where(self, name: str, body: bytes, request: Request) -> uuid.UUID:
        """Delete what a filter finds. body: ``{"where": {...}}``."""

        def draft(dataset: Dataset) -> Draft:
            where = _read_where(body, self._settings.api_max_json_depth)
            compile_where(where, dataset.contract, record_table(dataset.contract))
            return Draft(self._job(tasks.DELETE_WHERE, dataset, [NewChunk(0, 0, body)], {}, exclusive=True))

        return self._submitter.submit(name, request, len(body), draft)

    def _job(self, type_: str, dataset: Dataset, chunks: Any, args: dict[str, Any], exclusive: bool) -> NewJob:
        return NewJob(
            type=type_,
            scope=dataset.scope,
            exclusive=exclusive,
            args={"dataset_id": str(dataset.id), "contract_version": dataset.version, **args},
            dataset=dataset.name,
            chunks=chunks,
            max_attempts=self._settings.jobs_max_attempts,
        )

    def _spooled(self, dataset: Dataset, body: BodySpool, media_type: str) -> SpooledChunks:
        """Return the validated records of ``body`` in chunks, for the caller to close."""
        settings = self._settings
        source = Source(body.open(), validator_of(dataset.contract), Problems(), settings.api_max_json_depth)
        chunks = SpooledChunks(self._spool)
        try:
            for batch in read_batches(
                open_reader(media_type), source, settings.jobs_chunk_bytes, settings.jobs_chunk_records
            ):
                chunks.add(batch.first_record, batch.table.num_rows, encode(batch.payload()))
        except BaseException:
            chunks.close()
            raise
        return chunks


def _key_json(dataset: Dataset, values: Key) -> list[Any]:
    pairs = zip(dataset.contract.key_fields, values, strict=True)
    return [TYPES[field.type].to_json(value) for field, value in pairs]


def _must_have(connection: Connection, dataset: Dataset, key: Key) -> None:
    if not has_record(connection, dataset.contract, key):
        shown = shorten(show_key(dataset.contract, key))
        raise UnknownRecord(f"The dataset {dataset.name} has no record with the key {shown}")


def _read_where(body: bytes, max_depth: int) -> Any:
    """Return the filter in ``{"where": {...}}``; a missing one is refused, as it must never mean every record."""
    depth = json_depth(body)
    if depth > max_depth:
        reason = f"The body is nested {depth} levels deep: at most {max_depth} are allowed"
        raise Invalid(reason, [Place("", "too_deep", reason)])
    try:
        parsed = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Malformed(f"The body is not JSON: {error}", [Place("", "malformed", str(error))]) from error
    if not isinstance(parsed, dict) or set(parsed) != {"where"} or not isinstance(parsed["where"], dict):
        reason = f'{shorten(parsed)} is not {{"where": {{...}}}}: give a filter; {{}} finds every record'
        raise Invalid(reason, [Place("/where", "missing", reason)])
    return parsed["where"]
