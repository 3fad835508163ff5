"""REST: submit and validate records."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from gristmill.core.config import Settings
from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import FORM, media_type_name, media_type_of
from gristmill.core.http.endpoints import needs
from gristmill.core.http.routes import Call
from gristmill.jobs.endpoints import WRITE_HEADERS, WriteQuery, answer_write, request_of
from gristmill.records.endpoints import spooled_body
from gristmill.records.form_file import FormFile
from gristmill.records.ingest.service import IngestOptions, OnConflict, RecordIngest
from gristmill.records.readers import EXTENSIONS, MEDIA_TYPES
from gristmill.records.spool import Spool
from gristmill.records.submit import Submitter

Pipeline = Annotated[bool, Query(description="whether the records pass the steps of the contract too, as in a worker")]


class IngestQuery(WriteQuery):
    """How records are taken in."""

    on_conflict: OnConflict = Field(
        "replace", description="of a key that is there: replace the record, refuse the batch, or skip the new record"
    )
    mode: Literal["replace", "merge"] = Field(
        "replace", description="`merge`: only the fields that a record gives are changed, the others stay"
    )
    on_error: Literal["reject", "quarantine"] = Field(
        "reject",
        description="`reject`: one bad record refuses the batch; `quarantine`: it is kept aside, the others go on",
    )
    retry_of: str | None = Field(
        None, max_length=100, description="the job whose quarantined records these are, mended"
    )


def build_calls(service: RecordIngest, submitter: Submitter, settings: Settings, spool: Spool) -> list[Call[Any]]:
    """Return the hot call: submitting records."""
    most = settings.api_max_body_bytes

    async def submit_records(http: Request, query: IngestQuery) -> Response:
        """Submit records, plain, compressed (gzip, zstd) or as a file that a form uploads (multipart/form-data).

        All are validated now, and upserted by a job.
        """
        merge = query.mode == "merge"
        if merge and query.on_conflict != "replace":
            reason = f"mode=merge has no on_conflict={query.on_conflict}: records that are there are what it is for"
            raise Invalid(reason, [Violation("/query/on_conflict", "not_applicable", reason, field="on_conflict")])
        options = IngestOptions(query.on_conflict, merge, query.on_error == "quarantine", query.retry_of)
        form, kind = _kind_of(http)
        name = http.path_params["dataset"]
        await submitter.expect(name, lambda: request_of(http))
        async with spooled_body(http, spool, most, compressed=True, form=form) as body:
            request = request_of(http, body.body_hash)
            write = service.write(name, body, form.media_type if form else kind, options)
            job_id = await submitter.submit(write, request)
        return await answer_write(http, job_id, request)

    path = "/datasets/{dataset}/records"
    return [Call("POST", path, "write", submit_records, IngestQuery, "records", WRITE_HEADERS)]


def build_router(service: RecordIngest, submitter: Submitter, settings: Settings, spool: Spool) -> APIRouter:
    """Return the other writing routes under /datasets/{dataset}."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["records"], dependencies=[Depends(needs("write"))])
    most = settings.api_max_body_bytes

    @router.post("/validate")
    async def validate_records(http: Request, dataset: str, pipeline: Pipeline = False) -> JSONResponse:
        """Validate records and store nothing."""
        form, kind = _kind_of(http)
        await run_in_threadpool(submitter.load, dataset)
        async with spooled_body(http, spool, most, compressed=True, form=form) as body:
            kind = form.media_type if form else kind
            return JSONResponse(await run_in_threadpool(service.validate, dataset, body, kind, pipeline))

    return router


def _kind_of(http: Request) -> tuple[FormFile | None, str]:
    """Return what takes the file out of the body if that is a form; and the media type of one that is none."""
    header = http.headers.get("content-type", "")
    if media_type_name(header) == FORM:
        return FormFile(header, MEDIA_TYPES, EXTENSIONS), FORM
    return None, media_type_of(http, (*MEDIA_TYPES, FORM))
