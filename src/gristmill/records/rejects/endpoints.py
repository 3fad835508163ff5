"""REST: the rejects of a job, listed and downloaded."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.endpoints import needs
from gristmill.core.http.head import is_head
from gristmill.core.http.links import next_page
from gristmill.jobs.endpoints import job_id_of
from gristmill.records.rejects.service import Format, RejectService

_DEFAULT_PAGE = 100
_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


def build_router(service: RejectService) -> APIRouter:
    """Return the route below a job."""
    router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"], dependencies=[Depends(needs("read"))])

    @router.get("/rejects")
    def list_rejects(
        http: Request,
        job_id: str,
        page_size: Annotated[int | None, Query(ge=1, le=1000, description=f"{_DEFAULT_PAGE} without it")] = None,
        page_token: Annotated[str | None, Query(max_length=2000)] = None,
        format: Annotated[Format | None, Query(description="download all of them as a file instead")] = None,
    ) -> Response:
        """List the records of a job that were quarantined, with their errors; or download them all."""
        job = job_id_of(job_id)
        if format is None:
            page, token = service.list(job, page_size or _DEFAULT_PAGE, page_token)
            return Response(page, headers=next_page(http, token), media_type="application/json")
        for name, value in (("page_size", page_size), ("page_token", page_token)):
            if value is not None:
                reason = f"{name} does not go with format={format}: a download has no pages"
                raise Invalid(reason, [Violation(f"/query/{name}", "not_applicable", reason, field=name)])
        download = service.download(job, format)
        headers = {"Content-Disposition": f'attachment; filename="{download.name}"'}
        pieces = iter(()) if is_head(http) else download.pieces
        return StreamingResponse(pieces, media_type=_TYPES[format], headers=headers)

    return router
