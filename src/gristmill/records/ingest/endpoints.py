"""REST: submit and validate records."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.config import Settings
from gristmill.core.http.endpoints import needs
from gristmill.jobs.endpoints import answer_write, request_of, write_options
from gristmill.records.endpoints import spooled_body
from gristmill.records.ingest.service import IngestOptions, OnConflict, RecordIngest
from gristmill.records.ingest.small import SmallIngest
from gristmill.records.readers import media_type
from gristmill.records.spool import Spool

OnError = Annotated[
    Literal["reject", "quarantine"],
    Query(description="`reject`: one bad record refuses the batch; `quarantine`: it is kept aside, the others go on"),
]
RetryOf = Annotated[
    str | None, Query(max_length=100, description="the job whose quarantined records these are, mended")
]


def build_router(service: RecordIngest, small: SmallIngest, settings: Settings, spool: Spool) -> APIRouter:
    """Return the writing routes under /datasets/{dataset}."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["records"], dependencies=[Depends(needs("write"))])

    write = [Depends(write_options)]
    most = settings.api_max_body_bytes

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
        async with spooled_body(http, spool, most, compressed=True) as body:
            request = request_of(http, body.body_hash)
            job_id = await small.submit(dataset, body, kind, options, request)
            if job_id is None:
                job_id = await run_in_threadpool(service.ingest, dataset, body, kind, options, request)
        return await answer_write(http, job_id, request)

    @router.post("/validate")
    async def validate_records(http: Request, dataset: str) -> JSONResponse:
        """Validate records and store nothing."""
        kind = media_type(http.headers.get("content-type"))
        async with spooled_body(http, spool, most, compressed=True) as body:
            return JSONResponse(await run_in_threadpool(service.validate, dataset, body, kind))

    return router
