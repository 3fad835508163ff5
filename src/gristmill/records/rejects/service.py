"""What the REST interface asks of rejects: a page of them, or all of them as one download."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Invalid, Violation
from gristmill.core.page_tokens import bad_page_token, read_page_token
from gristmill.datasets.contract import Contract
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.jobs.errors import UnknownJob
from gristmill.jobs.submit import NewJob
from gristmill.kit.pagination import encode_page_token
from gristmill.records.readers.csv_syntax import CsvSyntax, syntax_of
from gristmill.records.readers.dialect import CsvDialect
from gristmill.records.reject import NOTE_COLUMNS
from gristmill.records.rejects import repository
from gristmill.records.rejects.cells import REFUSED, Unknown
from gristmill.records.rejects.raw import COLUMNS, DIALECT, dialect_of
from gristmill.records.rejects.repository import RejectingJob, StoredReject
from gristmill.records.rejects.show import csv_header, reject_csv, reject_json
from gristmill.records.rejects.spool import RejectSpool
from gristmill.records.validation.rows import validator_of

Format = Literal["ndjson", "csv"]
# What one read takes, and so what a page or a download holds in memory: the first reject alone may be larger.
ROWS_PER_READ = 500
BYTES_PER_READ = 4 * 1024 * 1024
# Columns of a downloaded CSV that are not read when it is sent back.
NOTES = frozenset(NOTE_COLUMNS)


@dataclass(frozen=True, slots=True)
class Download:
    """All rejects of a job: the name of the file, and its content piece by piece."""

    name: str
    pieces: Iterator[bytes]


class RejectService:
    def __init__(self, database: Database, datasets: DatasetLookup) -> None:
        self._database = database
        self._datasets = datasets

    def list(self, job_id: uuid.UUID, page_size: int, page_token: str | None) -> tuple[bytes, str | None]:
        """Return a page of rejects as JSON text, and the token of the next; it ends early when its records are large.

        Raises UnknownJob, Malformed for a bad page token.
        """
        query = f"rejects {job_id}"
        after = -1
        if page_token is not None:
            (after,) = read_page_token(page_token, query, int)
            if not 0 <= after < 2**63:
                raise bad_page_token()
        with self._database.autocommit() as connection:
            job = _job(connection, job_id)
            columns, syntax = _columns(job), _syntax(job)
            found = repository.page(connection, job_id, after, page_size, BYTES_PER_READ)
            more = bool(found) and bool(repository.page(connection, job_id, found[-1].record, 1, 0))
        token = encode_page_token([found[-1].record], query) if more else None
        listed = b",".join(reject_json(reject, columns, syntax) for reject in found)
        shown = b"null" if token is None else b'"%s"' % token.encode()
        return b'{"rejects":[%s],"next_page_token":%s}' % (listed, shown), token

    def download(self, job_id: uuid.UUID, format: Format) -> Download:
        """Return all rejects in constant memory, whatever their number. Raises UnknownJob."""
        with self._database.autocommit() as connection:
            job = _job(connection, job_id)
            contract = self._contract(connection, job) if format == "csv" else None
        pieces = self._csv(job, contract) if format == "csv" else self._ndjson(job)
        return Download(f"{job.dataset or 'job'}-{job_id}-rejects.{format}", pieces)

    def _ndjson(self, job: RejectingJob) -> Iterator[bytes]:
        columns, syntax = _columns(job), _syntax(job)
        for rejects in self._reads(job.id):
            yield b"".join(reject_json(reject, columns, syntax) + b"\n" for reject in rejects)

    def _csv(self, job: RejectingJob, contract: Contract | None) -> Iterator[bytes]:
        """contract: that of the records; None for a job that brought none."""
        columns, syntax = _columns(job), _syntax(job)
        fields = {} if contract is None else validator_of(contract).fields
        others = REFUSED if contract is None else Unknown(contract.unknown_fields, contract.computed_fields)
        yield csv_header(fields)
        for rejects in self._reads(job.id):
            yield b"".join(reject_csv(reject, columns, fields, others, syntax) for reject in rejects)

    def _reads(self, job_id: uuid.UUID) -> Iterator[Sequence[StoredReject]]:
        """Yield all rejects of a job. Each read is a short transaction, so a slow client keeps nothing open."""
        after = -1
        while True:
            with self._database.autocommit() as connection:
                found = repository.page(connection, job_id, after, ROWS_PER_READ, BYTES_PER_READ)
            if not found:
                return
            yield found
            after = found[-1].record

    def _contract(self, connection: Connection, job: RejectingJob) -> Contract | None:
        if "contract_version" not in job.args:
            return None
        return self._datasets.by_id(
            connection, uuid.UUID(job.args["dataset_id"]), job.args["contract_version"]
        ).contract


def attach_rejects(job: NewJob, rejects: RejectSpool, dialect: CsvDialect) -> None:
    """Make the rejects of a request a part of its job: stored in its transaction, counted by it.

    dialect: what they are written in if the body was CSV.
    """
    if not rejects.count:
        return
    job.rejected = rejects.count
    job.attach = lambda connection, job_id: repository.store(connection, rejects.copy_data(job_id))
    if rejects.columns is not None:
        job.args[COLUMNS] = rejects.columns
        if not dialect.is_default:
            job.args[DIALECT] = dialect.changed


def check_retried(connection: Connection, dataset: Dataset, retry_of: str) -> uuid.UUID:
    """Return the id of the job whose rejects ``retry_of`` says are sent again, corrected.

    Raises Invalid unless it is a job of this dataset that has rejects.
    """
    try:
        job = repository.find_job(connection, uuid.UUID(retry_of))
    except ValueError:
        raise _refuse("bad_parameter", f"retry_of={retry_of[:80]!r} is not valid: give the id of a job") from None
    if job is None:
        raise _refuse("unknown_job", f"There is no job {retry_of[:80]}")
    if job.args.get("dataset_id") != str(dataset.id):
        raise _refuse("other_dataset", f"The job {job.id} did not bring records to {dataset.name}")
    if not job.rejected:
        raise _refuse("no_rejects", f"The job {job.id} has no rejects that could be mended")
    return job.id


def _refuse(code: str, reason: str) -> Invalid:
    return Invalid(reason, [Violation("/query/retry_of", code, reason, field="retry_of")])


def _job(connection: Connection, job_id: uuid.UUID) -> RejectingJob:
    job = repository.find_job(connection, job_id)
    if job is None:
        raise UnknownJob(f"There is no job {job_id}")
    return job


def _columns(job: RejectingJob) -> Sequence[str] | None:
    return job.args.get(COLUMNS)


def _syntax(job: RejectingJob) -> CsvSyntax:
    return syntax_of(dialect_of(job.args))
