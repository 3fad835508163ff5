"""Ingest of records as clients ask for it: what can be refused is refused here, before anything is queued."""

import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pyarrow as pa
from sqlalchemy import Connection

from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.core.http.bodies import JSON
from gristmill.datasets.contract import Contract
from gristmill.datasets.keys import NoKey
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.parents.closure import scopes_above
from gristmill.jobs.submit import NewChunk, NewJob
from gristmill.kit.read_ahead import ReadAhead
from gristmill.records.apply.tasks import INGEST, MERGE
from gristmill.records.apply.upsert import raise_if_existing
from gristmill.records.changes.recompute import Recompute
from gristmill.records.columns import as_stored
from gristmill.records.ingest.chunking import Batch, most_values, only_one, read_batches
from gristmill.records.ingest.pipeline_check import check_through_steps
from gristmill.records.ingest.related import Related
from gristmill.records.ingest.repeated_keys import refuse_repeated, refuse_repeated_over
from gristmill.records.jobs import record_job
from gristmill.records.parents.early import EarlyParents
from gristmill.records.parents.keys import ParentKeys
from gristmill.records.payload import decode, encode
from gristmill.records.readers import open_reader
from gristmill.records.readers.archive import ArchiveLimits
from gristmill.records.readers.context import ReadContext
from gristmill.records.readers.dialect import DEFAULT, CsvDialect
from gristmill.records.readers.lines import lines_of
from gristmill.records.reject import Reject
from gristmill.records.rejects.service import NOTES, attach_rejects, check_retried
from gristmill.records.rejects.spool import RejectSpool
from gristmill.records.spool import MEMORY_BYTES, BodySpool, Spool, SpooledChunks
from gristmill.records.submit import Draft, Submitter, Write
from gristmill.records.transform import Pipelines
from gristmill.records.validation.rows import Problems, partial_validator_of, validator_of

OnConflict = Literal["replace", "fail", "skip"]
# Chunks that are ready before Postgres has taken the one before: one, as each may have 8 MiB.
_CHUNKS_AHEAD = 1
# What of a body is checked in the event loop: about a millisecond's work. More would hold up the other requests. Values
# are what its records have together once absent fields are filled in; each number of a vector is one.
QUICK_BYTES = 16 * 1024
QUICK_VALUES = 5000
_TEXTS = frozenset({JSON, "application/x-ndjson", "application/ndjson", "application/jsonl"})


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How records are taken in.

    merge: only the fields that a record gives are changed. quarantine: records that do not fit are kept with their
    errors, and the others go on. retry_of: the job whose rejects are sent again, mended. refused: items beside the
    body that are no records; they are kept with those that do not fit. most_rejects: so many are kept whatever the
    configured limit is. dialect: what a CSV body is written in.
    """

    on_conflict: OnConflict = "replace"
    merge: bool = False
    quarantine: bool = False
    retry_of: str | None = None
    refused: Sequence[Reject] = ()
    most_rejects: int = 0
    dialect: CsvDialect = DEFAULT


class RecordIngest:
    """Takes records in: ``write`` is what the submitter submits.

    Both methods raise UnknownDataset, DatasetFailed, and Invalid or Malformed with what is wrong.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        submitter: Submitter,
        spool: Spool,
        recompute: Recompute,
        pipelines: Pipelines,
        parents: EarlyParents,
    ) -> None:
        self._settings = settings
        self._recompute = recompute
        self._pipelines = pipelines
        self._parents = parents
        self._database = database
        self._submitter = submitter
        self._spool = spool
        # Those that are read while they are staged hold a connection all that time; others need connections too.
        self._archives = ArchiveLimits(spool, settings.api_max_body_bytes, settings.api_max_zip_entries)
        self._staging = threading.Semaphore(max(1, settings.database_pool // 2))

    def write(self, name: str, body: BodySpool, media_type: str, options: IngestOptions) -> Write:
        """Return the write that upserts the records in ``body``.

        Its submission raises Unavailable (spool full); TooManyRejects; under on_conflict=fail KeyExists, NoKey.
        """
        fail = options.on_conflict == "fail"
        # Its outcome depends on what comes before it.
        ordered = options.merge or options.on_conflict != "replace"

        def lines(records: set[int]) -> dict[int, int]:
            return lines_of(media_type, body.open(), records, options.dialect)

        def draft(dataset: Dataset) -> Draft:
            if ordered and not dataset.contract.key:
                what = "mode=merge" if options.merge else f"on_conflict={options.on_conflict}"
                raise NoKey(f"The dataset {name} has no key, so {what} has no meaning")
            if options.merge:
                self._recompute.check_merge(dataset.contract)
            related = Related(dataset, ordered)
            retry_of = self._retried(dataset, options)
            passed_over = NOTES if retry_of else frozenset()
            rejects = self._rejects(options)
            source = self._source(dataset.contract, body, options, rejects, passed_over)
            if body.on_disk and related.streams and not options.quarantine and self._staging.acquire(blocking=False):
                made = self._draft_large(dataset, source, media_type)
                made.job.retry_of = retry_of
                return made
            # Under quarantine the job keeps back what does not fit its parents.
            parents = ParentKeys(dataset.contract) if related.confirmed and rejects is None else None
            chunks = self._spooled(self._chunks(dataset, source, media_type, parents), rejects)

            def check(connection: Connection) -> None:
                for chunk in chunks if checked else ():
                    table = decode(chunk.payload or b"")
                    raise_if_existing(connection, dataset.contract, table, chunk.first_record)
                if looked_at:
                    # Of a record that is merged, or skipped, only the job knows what becomes of it.
                    whole = not options.merge and options.on_conflict != "skip"
                    self._parents.check(connection, dataset, chunks, whole)

            def compare(connection: Connection) -> None:
                refuse_repeated_over(connection, dataset.contract, chunks, lines)

            # Which of the records are written, the job decides where there is a pipeline.
            looked_at = related.checked and not options.quarantine
            checked = fail and not dataset.contract.has_pipeline
            if checked and len(chunks) == 1:
                try:
                    refuse_repeated(dataset.contract, next(iter(chunks)), lines)
                except BaseException:
                    _close(chunks, rejects)
                    raise
            job = self._merge(dataset, chunks) if options.merge else self._job(related, chunks, options.on_conflict)
            job.retry_of = retry_of
            if rejects is not None:
                attach_rejects(job, rejects, options.dialect)
                job.args["on_error"] = "quarantine"
            draft = Draft(job, partial(_close, chunks, rejects), ordered=related.ordered)
            draft.check = check if checked or looked_at else None
            draft.compare = compare if checked and len(chunks) > 1 else None
            if parents is not None and parents.complete:
                draft.confirmation = self._parents.confirmation(dataset, parents)
            return draft if draft.confirmation else draft.in_order()

        small = body.size <= QUICK_BYTES and media_type in _TEXTS
        asks = options.quarantine or options.retry_of is not None

        def quick(dataset: Dataset) -> bool:
            return small and not asks and most_values(dataset.contract, body) <= QUICK_VALUES

        return Write(name, body.size, draft, quick)

    def _rejects(self, options: IngestOptions) -> RejectSpool | None:
        if not options.quarantine:
            return None
        rejects = RejectSpool(self._spool, max(self._settings.jobs_max_rejects, options.most_rejects))
        for reject in options.refused:
            rejects.add(reject)
        return rejects

    def _draft_large(self, dataset: Dataset, source: ReadContext, media_type: str) -> Draft:
        """Return the upsert of a body that is read while Postgres takes what was read before.

        A record that is not valid raises Invalid while the job is being submitted, which undoes all of that.
        """
        chunks = ReadAhead(self._chunks(dataset, source, media_type), _CHUNKS_AHEAD)

        def release() -> None:
            chunks.close()
            self._staging.release()

        return Draft(self._job(Related(dataset, False), chunks, "replace"), release)

    def _retried(self, dataset: Dataset, options: IngestOptions) -> uuid.UUID | None:
        if options.retry_of is None:
            return None
        with self._database.autocommit() as connection:
            return check_retried(connection, dataset, options.retry_of)

    def validate(
        self, name: str, body: BodySpool, media_type: str, pipeline: bool, dialect: CsvDialect = DEFAULT
    ) -> dict[str, Any]:
        """Validate the records as ``ingest`` would, and store nothing; return how many there are.

        pipeline: they pass the steps of the contract too, so that what a worker would refuse is refused now. dialect:
        what a CSV body is written in.
        """
        dataset = self._submitter.load(name)
        contract = dataset.contract
        problems, records, rows = Problems(), 0, 0
        for batch in self._batches(contract, self._source(contract, body, IngestOptions(dialect=dialect)), media_type):
            records += batch.table.num_rows
            if pipeline and contract.has_pipeline:
                rows += check_through_steps(contract, self._pipelines.steps(contract), batch, problems)
        problems.raise_if_any()
        answer = {"valid": True, "dataset": name, "version": dataset.version, "records": records}
        return {**answer, "rows": rows} if pipeline and contract.has_pipeline else answer

    def _job(self, related: Related, chunks: Iterable[NewChunk], on_conflict: OnConflict) -> NewJob:
        return record_job(
            INGEST,
            related.dataset,
            chunks,
            self._settings.jobs_max_attempts,
            exclusive=related.exclusive,
            serial=related.limited,
            further=related.further,
            on_conflict=on_conflict,
        )

    def _merge(self, dataset: Dataset, chunks: Iterable[NewChunk]) -> NewJob:
        most, above = self._settings.jobs_max_attempts, scopes_above(dataset.contract)
        # Later records of one key are laid over earlier ones, so the chunks run in turn.
        return record_job(MERGE, dataset, chunks, most, exclusive=True, serial=True, further=above)

    def _spooled(self, read: Iterator[NewChunk], rejects: RejectSpool | None = None) -> SpooledChunks:
        """Return all that is read, for the caller to close as well as ``rejects``, which come up meanwhile."""
        chunks = SpooledChunks(self._spool)
        try:
            for chunk in read:
                chunks.add(chunk)
        except BaseException:
            _close(chunks, rejects)
            raise
        return chunks

    def _chunks(
        self, dataset: Dataset, source: ReadContext, media_type: str, parents: ParentKeys | None = None
    ) -> Iterator[NewChunk]:
        """Yield the validated records of a body as chunks, one in memory at a time; at the end, raise Invalid.

        parents: takes the keys that are named.
        """
        for batch in self._batches(dataset.contract, source, media_type):
            first_record, records = batch.first_record, batch.table.num_rows
            payload = encode(as_stored(dataset.contract, batch.payload()))
            if parents is not None:
                parents.add(batch.table, first_record)
            # While the payload is waited for, only it is held.
            del batch
            if len(payload) >= MEMORY_BYTES:
                # What reading took and gave back stays with Arrow otherwise: a tenth of the process, for 0.5 µs a row.
                pa.default_memory_pool().release_unused()
            yield NewChunk(first_record, records, payload)

    def _batches(self, contract: Contract, source: ReadContext, media_type: str) -> Iterator[Batch]:
        settings, reader = self._settings, open_reader(media_type)
        if self._pipelines.per_record(contract):
            most = self._pipelines.most_records(contract, settings.jobs_chunk_records)
            return read_batches(reader, source, settings.jobs_chunk_bytes, most)
        limits = (settings.jobs_chunk_bytes, settings.transforms_max_batch_records)
        return only_one(read_batches(reader, source, *limits), *limits)

    def _source(
        self,
        contract: Contract,
        body: BodySpool,
        options: IngestOptions,
        rejects: RejectSpool | None = None,
        passed_over: frozenset[str] = frozenset(),
    ) -> ReadContext:
        """Return what a reader gets of ``body``.

        rejects: takes the records that are not valid; they refuse the request without it. passed_over: columns of a
        CSV body that are not read.
        """
        problems, validator = Problems(), (partial_validator_of if options.merge else validator_of)(contract)
        takes: tuple[Any, Any] = (None, None)
        if rejects is not None:
            problems.rejected = rejects.count
            takes = (rejects.add, rejects.take_header)
        return ReadContext(body.open(), validator, problems, *takes, passed_over, self._archives, options.dialect)


def _close(chunks: SpooledChunks, rejects: RejectSpool | None) -> None:
    chunks.close()
    if rejects is not None:
        rejects.close()
