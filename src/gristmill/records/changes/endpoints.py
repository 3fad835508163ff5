"""REST: change and delete records."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.config import Settings
from gristmill.core.errors import UnsupportedMedia
from gristmill.core.http.endpoints import needs
from gristmill.jobs.endpoints import answer_write, request_of, write_options
from gristmill.records.changes.service import RecordChanges
from gristmill.records.endpoints import spooled_body
from gristmill.records.readers import JSON
from gristmill.records.spool import BodySpool, Spool

_PATCH_TYPES = (JSON, "application/merge-patch+json")


def build_router(service: RecordChanges, settings: Settings, spool: Spool) -> APIRouter:
    """Return the routes under /datasets/{dataset}/records that change what is there."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["records"], dependencies=[Depends(needs("write"))])

    write = [Depends(write_options)]
    # Unlike records these bodies are read as a whole.
    whole = settings.api_max_json_bytes

    @router.post("/records/delete", status_code=202, dependencies=write)
    async def delete_records(http: Request, dataset: str) -> Response:
        """Delete the records that a filter finds: `{"where": {...}}`."""
        _check_json(http)
        async with spooled_body(http, spool, whole) as body:
            request = request_of(http, body.body_hash)
            job_id = await run_in_threadpool(service.delete_where, dataset, _content(body), request)
        return await answer_write(http, job_id, request)

    @router.patch("/records/{key:path}", status_code=202, dependencies=write)
    async def change_record(http: Request, dataset: str, key: str) -> Response:
        """Change the members of a record that the JSON object in the body names."""
        _check_json(http)
        async with spooled_body(http, spool, whole) as body:
            request = request_of(http, body.body_hash)
            job_id = await run_in_threadpool(service.patch, dataset, key, _content(body), request)
        return await answer_write(http, job_id, request)

    @router.delete("/records/{key:path}", status_code=202, dependencies=write)
    async def delete_record(http: Request, dataset: str, key: str) -> Response:
        """Delete the record with this key; a composite key is a percent-encoded JSON array."""
        async with spooled_body(http, spool, whole) as body:
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
