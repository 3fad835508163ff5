"""REST: submit and validate records."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from gristmill.core.config import Settings
from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import CSV, FORM, media_type_name, media_type_of
from gristmill.core.http.endpoints import needs
from gristmill.core.http.routes import Call
from gristmill.jobs.endpoints import WRITE_HEADERS, WriteQuery, answer_write, request_of
from gristmill.records.endpoints import spooled_body
from gristmill.records.form_file import FormFile
from gristmill.records.ingest.service import IngestOptions, OnConflict, RecordIngest
from gristmill.records.readers import EXTENSIONS, MEDIA_TYPES, open_reader
from gristmill.records.readers.dialect import (
    DEFAULT,
    PARAMETERS,
    CsvDialect,
    given_parameters,
    read_dialect,
    refuse_parameters,
)
from gristmill.records.readers.zip import read_zip
from gristmill.records.spool import Spool
from gristmill.records.submit import Submitter

Delimiter = Annotated[
    str | None, Query(description="of CSV: what separates cells, one character or a name such as `tab`; `,` by default")
]
Decimal = Annotated[str | None, Query(description="of CSV: the sign before the decimals of numbers, `.` or `,`")]
Thousands = Annotated[str | None, Query(description="of CSV: what groups the digits of numbers by three, such as `.`")]
Encoding = Annotated[str | None, Query(description="of CSV: such as `latin-1`, `cp1252`, `utf-16`; `utf-8` by default")]
Null = Annotated[
    str | None, Query(description="of CSV: what stands for null in a cell without quotes, beside nothing at all")
]
Quote = Annotated[str | None, Query(description='of CSV: what cells are quoted with, `"` by default')]
Pipeline = Annotated[bool, Query(description="whether the records pass the steps of the contract too, as in a worker")]


class IngestQuery(WriteQuery):
    """How records are taken in, and what CSV is written in."""

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
    delimiter: Delimiter = None
    decimal: Decimal = None
    thousands: Thousands = None
    encoding: Encoding = None
    null: Null = None
    quote: Quote = None


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
        form, kind = _kind_of(http)
        given = given_parameters(query) if http.scope["query_string"] else {}
        quarantine = query.on_error == "quarantine"
        options = IngestOptions(query.on_conflict, merge, quarantine, query.retry_of, dialect=_dialect(given, kind))
        name = http.path_params["dataset"]
        await submitter.expect(name, lambda: request_of(http))
        async with spooled_body(http, spool, most, compressed=True, form=form) as body:
            request = request_of(http, body.body_hash)
            write = service.write(name, body, _kind_in(form, kind, given), options)
            job_id = await submitter.submit(write, request)
        return await answer_write(http, job_id, request)

    path = "/datasets/{dataset}/records"
    return [Call("POST", path, "write", submit_records, IngestQuery, "records", WRITE_HEADERS)]


def build_router(service: RecordIngest, submitter: Submitter, settings: Settings, spool: Spool) -> APIRouter:
    """Return the other writing routes under /datasets/{dataset}."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["records"], dependencies=[Depends(needs("write"))])
    most = settings.api_max_body_bytes

    @router.post("/validate")
    async def validate_records(
        http: Request,
        dataset: str,
        pipeline: Pipeline = False,
        delimiter: Delimiter = None,
        decimal: Decimal = None,
        thousands: Thousands = None,
        encoding: Encoding = None,
        null: Null = None,
        quote: Quote = None,
    ) -> JSONResponse:
        """Validate records and store nothing."""
        form, kind = _kind_of(http)
        members = (delimiter, decimal, thousands, encoding, null, quote)
        given = {name: value for name, value in zip(PARAMETERS, members, strict=True) if value is not None}
        dialect = _dialect(given, kind)
        await run_in_threadpool(submitter.load, dataset)
        async with spooled_body(http, spool, most, compressed=True, form=form) as body:
            kind = _kind_in(form, kind, given)
            return JSONResponse(await run_in_threadpool(service.validate, dataset, body, kind, pipeline, dialect))

    return router


def _kind_of(http: Request) -> tuple[FormFile | None, str]:
    """Return what takes the file out of the body if that is a form; and the media type of one that is none."""
    header = http.headers.get("content-type", "")
    if media_type_name(header) == FORM:
        return FormFile(header, MEDIA_TYPES, EXTENSIONS), FORM
    return None, media_type_of(http, (*MEDIA_TYPES, FORM))


def _kind_in(form: FormFile | None, kind: str, given: Mapping[str, str]) -> str:
    """Return the media type of a body once it is there. Raises Invalid where it takes no ``given`` dialect."""
    if form is None:
        return kind
    _dialect(given, form.media_type)
    return form.media_type


def _dialect(given: Mapping[str, str], kind: str) -> CsvDialect:
    """Return the dialect of a body. kind: its media type. Raises Invalid where that takes none, or for a bad value."""
    if not given:
        return DEFAULT
    dialect = read_dialect(given)
    if kind not in (FORM, CSV) and open_reader(kind) is not read_zip:
        refuse_parameters(given, kind)
    return dialect
