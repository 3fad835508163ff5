"""Submitting: one transaction stages the payloads, draws the number last, and is the 202's promise."""

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Contended
from gristmill.jobs.idempotency import IdempotencyKey, Replayed, first_or
from gristmill.jobs.repository import payloads
from gristmill.jobs.repository import submit as repository
from gristmill.jobs.repository.submit import JobRow
from gristmill.kit.deprecated import moved_names
from gristmill.kit.ids import uuid7

# Records above which a chunk travels alone.
SHARE_RECORDS = 200
# Who submits the jobs that Gristmill makes by itself.
SYSTEM = "gristmill"


def scope_of_dataset(name: str) -> str:
    """Return the scope of all jobs of datasets called ``name``: one after the other in time, they share a table."""
    return f"dataset:{name}"


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A part of a new job: ``records`` records from ``first_record`` on; payload in the form its handler reads."""

    first_record: int
    records: int
    payload: bytes | memoryview | None


@dataclass(slots=True)
class NewJob:
    """What a domain asks for. ``chunks`` may be a generator: payloads are staged one by one, in constant memory.
    Without them the job has one chunk, of no records.

    further_scopes: scopes beside the first one, and whether the job is exclusive in each. serial: its chunks run one
    after another. retry_of: the job whose rejects this one brings mended. attach: stores what belongs to the job, in
    the transaction that submits it and before its number is drawn; it gets the job's id. shares: small chunks of such
    jobs may share a message and a transaction with those of others.
    """

    type: str
    scope: str
    exclusive: bool
    args: dict[str, Any]
    dataset: str | None
    chunks: Iterable[NewChunk] = (NewChunk(first_record=0, records=0, payload=None),)
    queue: str = "default"
    max_attempts: int = 5
    shares: bool = False
    rejected: int = 0
    run_at: datetime | None = None
    retry_of: uuid.UUID | None = None
    attach: Callable[[Connection, uuid.UUID], None] | None = None
    further_scopes: Mapping[str, bool] = field(default_factory=dict)
    serial: bool = False


@dataclass(slots=True)
class Receipt:
    """The row of the job that a request made last, so that its answer needs no second look."""

    row: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Who asked for a write, and how. ``body_hash`` covers whatever must be equal for a replay."""

    principal: str
    request_id: str
    traceparent: str | None = None
    idempotency_key: str | None = None
    body_hash: str | None = None
    priority: int = 5
    labels: dict[str, str] = field(default_factory=dict)
    run_at: datetime | None = None
    idempotency_hours: float = 24.0
    receipt: Receipt = field(default_factory=Receipt, compare=False)

    @property
    def key(self) -> IdempotencyKey | None:
        if self.idempotency_key is None:
            return None
        return IdempotencyKey(self.principal, self.idempotency_key, self.body_hash or "", self.idempotency_hours)


def submit_once(database: Database, request: WriteRequest, work: Callable[[Connection], NewJob]) -> uuid.UUID:
    """Run ``work`` and submit its job in one transaction, unless the request's key was used: then the first job's id.

    Raises IdempotencyKeyReused when the key belongs to a request with another body.
    """

    def make() -> uuid.UUID:
        with database.transaction() as connection:
            return submit(connection, work(connection), request)

    return first_or(database, request.key, make)


def submit_system_job(connection: Connection, job: NewJob, priority: int = 5) -> uuid.UUID:
    """Submit a job that Gristmill makes by itself; return its id."""
    return submit(connection, job, WriteRequest(principal=SYSTEM, request_id=str(uuid7()), priority=priority))


def submit(connection: Connection, job: NewJob, request: WriteRequest) -> uuid.UUID:
    """Stage the job inside the caller's transaction and return its id.

    Raises Replayed, IdempotencyKeyReused, and Contended while another request holds the key.
    """
    job_id = uuid7()
    if request.key is not None:
        request.key.hold(connection)
    if job.attach is not None:
        job.attach(connection, job_id)
    staged, inline = _stage(connection, job_id, job.chunks)
    (made,) = repository.insert_jobs(connection, [job_row(job, request, job_id, staged, inline)], wait=True)
    if made.row is None:
        assert request.key is not None  # nothing else can be in the way of a job that waits
        if made.held is None:
            raise Contended(f"The Idempotency-Key {request.idempotency_key!r} is being used by another request")
        raise Replayed(request.key.replay(made.held))
    request.receipt.row = made.row
    return job_id


def small_row(job: NewJob, request: WriteRequest, checked: bool) -> JobRow | None:
    """Return what inserts a job that is one small chunk and nothing else; None for any other. checked: see ``JobRow``.

    ``job.chunks`` must not be a generator.
    """
    if job.attach is not None or not isinstance(job.chunks, Sized) or len(job.chunks) != 1:
        return None
    chunk = next(iter(job.chunks))
    if len(chunk.payload or b"") >= payloads.COPY_FROM_BYTES:
        return None
    row = job_row(job, request, uuid7(), [(chunk.first_record, chunk.records)], chunk.payload or b"")
    row.columns["checked"] = checked
    return row


def job_row(
    job: NewJob,
    request: WriteRequest,
    job_id: uuid.UUID,
    staged: Sequence[tuple[int, int]],
    inline: bytes | memoryview | None,
) -> JobRow:
    """Return what inserts the job. staged: (first record, records) of each chunk. inline: a payload not yet staged."""
    run_at = request.run_at or job.run_at
    if run_at is not None and run_at <= datetime.now(UTC):
        # What lies in the past is due now; counted from then, the age of the queue would say that it stands still.
        run_at = None
    columns = {
        "id": str(job_id),
        "type": job.type,
        "scope": job.scope,
        "exclusive": job.exclusive,
        "serial": job.serial,
        "dataset": job.dataset,
        "queue": job.queue,
        "priority": request.priority,
        "args": job.args,
        "labels": request.labels,
        "submitted_by": request.principal,
        "request_id": request.request_id,
        "traceparent": request.traceparent,
        "retry_of": None if job.retry_of is None else str(job.retry_of),
        "max_attempts": job.max_attempts,
        "chunks_total": len(staged),
        "records_total": sum(records for _, records in staged) + job.rejected,
        "records_rejected": job.rejected,
        "run_at": None if run_at is None else run_at.isoformat(),
        "key": request.idempotency_key,
        "body_hash": request.body_hash or "",
        "hours": request.idempotency_hours,
        "checked": False,
    }
    return JobRow(columns, staged, inline, _may_share(job, staged, inline), job.further_scopes)


def _may_share(job: NewJob, staged: Sequence[tuple[int, int]], inline: bytes | memoryview | None) -> bool:
    """Say whether the job's chunk may go along with others in one message: it is the only one, and small.

    A job with one attempt never shares: the worker may be lost through a neighbour's fault.
    """
    small = inline is not None and len(inline) < payloads.COPY_FROM_BYTES
    small = small and len(staged) == 1 and staged[0][1] <= SHARE_RECORDS
    return job.shares and small and job.max_attempts > 1


def _stage(
    connection: Connection, job_id: uuid.UUID, chunks: Iterable[NewChunk]
) -> tuple[list[tuple[int, int]], bytes | memoryview | None]:
    """Stage the payloads; return (first record, records) of each chunk, and the payload that is yet to be inserted.

    That is None where all were staged, and empty where there is none. One small chunk, or one without payload, goes in
    with its job: a single round trip.
    """
    rest = iter(chunks)
    first = next(rest, None)
    if first is None:
        raise ValueError("a job needs at least one chunk")
    second = next(rest, None)
    if second is None and len(first.payload or b"") < payloads.COPY_FROM_BYTES:
        return [(first.first_record, first.records)], first.payload or b""
    staged: list[tuple[int, int]] = []

    def read() -> Iterator[bytes | memoryview]:
        for chunk in itertools.chain([first], [second] if second is not None else [], rest):
            staged.append((chunk.first_record, chunk.records))
            yield chunk.payload or b""

    payloads.stage(connection, job_id, read())
    return staged, None


def unfinished_in_scope(connection: Connection, scope: str) -> bool:
    """Say whether the scope has a job that has not finished."""
    return repository.unfinished_in_scope(connection, scope)


__getattr__ = moved_names(__name__, {"Request": (__name__, "WriteRequest")}, "gristmill.plugin")
