"""REST: views."""

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from gristmill.core.http.endpoints import needs
from gristmill.core.http.formats import accepted_format
from gristmill.core.http.head import is_head
from gristmill.records.read.endpoints import read_where
from gristmill.records.read.pages import PageQuery
from gristmill.records.views.formats import ACCEPTED, MEDIA_TYPES, write
from gristmill.records.views.service import RecordViews


def build_router(service: RecordViews) -> APIRouter:
    """Return the route under /datasets/{dataset}."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["records"], dependencies=[Depends(needs("read"))])

    @router.get("/views/{view}")
    def read_view(
        http: Request,
        dataset: str,
        view: str,
        start: Annotated[str | None, Query(max_length=64, description="time from, inclusive")] = None,
        end: Annotated[str | None, Query(max_length=64, description="time to, inclusive")] = None,
        where: Annotated[str | None, Query(description="a filter, as JSON")] = None,
        batch: Annotated[
            uuid.UUID | None, Query(description="the id of the job whose batch it is made of, in place of the newest")
        ] = None,
        format: Annotated[
            Literal["json", "ndjson", "csv", "arrow"] | None,
            Query(description="the format; `json` if Accept has no other"),
        ] = None,
    ) -> Response:
        """Run a view over the rows of the newest batch, of another one, or over a window and a filter."""
        chosen = format or accepted_format(http.headers.getlist("accept"), ACCEPTED, "a view")
        viewed = service.read(dataset, view, PageQuery(start=start, end=end, where=read_where(where)), batch)
        media_type = MEDIA_TYPES[chosen]
        headers = {"content-type": media_type}
        if viewed.batch is not None:
            headers["Gristmill-Batch"] = viewed.batch["job"]
        return (
            Response(headers=headers)
            if is_head(http)
            else StreamingResponse(write(viewed, view, chosen), headers=headers)
        )

    return router
