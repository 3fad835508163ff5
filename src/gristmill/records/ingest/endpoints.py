"""REST: submit, validate, change and delete records; bodies are streamed to the spool, never held in memory whole."""

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from gristmill.core.config import Settings
from gristmill.core.errors import Malformed, TooLarge, UnsupportedMedia
from gristmill.core.http.endpoints import needs
from gristmill.jobs.endpoints import answer_write, request_of, write_options
from gristmill.records.content_encoding import content_encoding
from gristmill.records.ingest.service import IngestOptions, OnConflict, RecordWrites
from gristmill.records.ingest.small import SmallIngest
from gristmill.records.readers import JSON, media_type
from gristmill.records.spool import MEMORY_BYTES, BodySpool, Spool

OnError = Annotated[
    Literal["reject", "quarantine"],
    Query(description="`reject`: one bad record refuses the batch; `quarantine`: it is kept aside, the others go on"),
]
RetryOf = Annotated[
    str | None, Query(max_length=100, description="the job whose quarantined records these are, mended")
]
# Says nothing about what is written: a client may repeat a request and wait longer for its answer.
_NOT_IDENTITY = frozenset({"wait"})
_PATCH_TYPES = (JSON, "application/merge-patch+json")


def build_router(service: RecordWrites, small: SmallIngest, settings: Settings, spool: Spool) -> APIRouter:
    """Return the writing routes under /datasets/{dataset}."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["records"], dependencies=[Depends(needs("write"))])

    write = [Depends(write_options)]
    # Records are read in constant memory, whatever the format; other bodies are read as a whole.
    most, whole = settings.api_max_body_bytes, settings.api_max_json_bytes

    @router.post("/records", status_code=202, dependencies=write)
    async def submit_records(
        http: Request,
        dataset: str,
        on_conflict: OnConflict = "replace",
        on_error: OnError = "reject",
        retry_of: RetryOf = None,
    ) -> Response:
        """Submit records, plain or compressed (gzip, zstd): all are validated now, and upserted by a job."""
        options = IngestOptions(on_conflict, on_error == "quarantine", retry_of)
        kind = media_type(http.headers.get("content-type"))
        async with _spooled_body(http, spool, most, compressed=True) as body:
            request = request_of(http, body.body_hash)
            job_id = await small.submit(dataset, body, kind, options, request)
            if job_id is None:
                job_id = await run_in_threadpool(service.ingest, dataset, body, kind, options, request)
        return await answer_write(http, job_id, request)

    @router.post("/validate")
    async def validate_records(http: Request, dataset: str) -> JSONResponse:
        """Validate records and store nothing."""
        kind = media_type(http.headers.get("content-type"))
        async with _spooled_body(http, spool, most, compressed=True) as body:
            return JSONResponse(await run_in_threadpool(service.validate, dataset, body, kind))

    @router.post("/records/delete", status_code=202, dependencies=write)
    async def delete_records(http: Request, dataset: str) -> Response:
        """Delete the records that a filter finds: `{"where": {...}}`."""
        _check_json(http)
        async with _spooled_body(http, spool, whole) as body:
            request = request_of(http, body.body_hash)
            job_id = await run_in_threadpool(service.delete_where, dataset, _content(body), request)
        return await answer_write(http, job_id, request)

    @router.patch("/records/{key:path}", status_code=202, dependencies=write)
    async def change_record(http: Request, dataset: str, key: str) -> Response:
        """Change the members of a record that the JSON object in the body names."""
        _check_json(http)
        async with _spooled_body(http, spool, whole) as body:
            request = request_of(http, body.body_hash)
            job_id = await run_in_threadpool(service.patch, dataset, key, _content(body), request)
        return await answer_write(http, job_id, request)

    @router.delete("/records/{key:path}", status_code=202, dependencies=write)
    async def delete_record(http: Request, dataset: str, key: str) -> Response:
        """Delete the record with this key; a composite key is a percent-encoded JSON array."""
        async with _spooled_body(http, spool, whole) as body:
            request = request_of(http, body.body_hash)
        job_id = await run_in_threadpool(service.delete, dataset, key, request)
        return await answer_write(http, job_id, request)

    return router


def _content(body: BodySpool) -> bytes:
    return body.open().read()


def _check_json(http: Request) -> None:
    """Raise UnsupportedMedia unless the body says that it is JSON, or says nothing."""
    given = http.headers.get("content-type", JSON).split(";")[0].strip().lower()
    if given not in _PATCH_TYPES:
        raise UnsupportedMedia(f"The Content-Type {given[:80]!r} is not supported here; valid is: {JSON}")


@contextlib.asynccontextmanager
async def _spooled_body(
    http: Request, spool: Spool, max_bytes: int, compressed: bool = False
) -> AsyncIterator[BodySpool]:
    """Give the whole body, spooled and inflated, until the block ends. compressed: whether it may be compressed.

    Raises TooLarge (by Content-Length before anything is read, else while it streams in or is inflated),
    UnsupportedMedia for a Content-Encoding, Malformed for a body that cannot be inflated, Unavailable when the spool is
    full.
    """
    encoding = content_encoding(http.headers.get("content-encoding", ""))
    if encoding is not None and not compressed:
        raise UnsupportedMedia(f"The Content-Encoding {encoding!r} is not supported here: send the body as it is")
    length = http.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise TooLarge(f"The body has {int(length)} bytes: at most {max_bytes} are allowed", max_bytes=max_bytes)
    body = BodySpool(spool, max_bytes, _identity(http) if "idempotency-key" in http.headers else None)
    try:
        waiting: list[bytes] = []
        size = 0
        async for block in http.stream():
            waiting.append(block)
            size += len(block)
            if size >= MEMORY_BYTES:
                await run_in_threadpool(body.write, b"".join(waiting))
                waiting, size = [], 0
        # What fits into memory is written without leaving the event loop.
        if body.size + size <= MEMORY_BYTES:
            body.write(b"".join(waiting))
        else:
            await run_in_threadpool(body.write, b"".join(waiting))
        if encoding is not None:
            await run_in_threadpool(body.decompress, encoding)
        yield body
    except ClientDisconnect as error:
        raise Malformed("The connection was closed before the body was complete") from error
    finally:
        body.close()


def _identity(http: Request) -> bytes:
    """Return what, beside the body, must be equal for a request to be a replay of another."""
    query = sorted((name, value) for name, value in http.query_params.multi_items() if name not in _NOT_IDENTITY)
    parts = [http.method, http.url.path, repr(query), http.headers.get("content-type", "")]
    parts += [http.headers["content-encoding"]] if "content-encoding" in http.headers else []
    return "\n".join(parts).encode("utf-8", "surrogateescape")
