"""REST: views."""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from gristmill.core.http.endpoints import needs
from gristmill.core.http.formats import accepted_format
from gristmill.core.http.own_threads import OwnThreads
from gristmill.records.read.endpoints import read_where
from gristmill.records.read.pages import PageQuery
from gristmill.records.views.errors import TooManyViews
from gristmill.records.views.formats import ACCEPTED, MEDIA_TYPES, write
from gristmill.records.views.service import RecordViews, Viewed

# Views that one process makes at the same moment, and others that may wait for their turn.
AT_ONCE, WAITING = 2, 8


class Turns:
    """Makes some views at once; others wait, and hold no thread meanwhile that another call needs."""

    def __init__(self) -> None:
        self._threads = OwnThreads(AT_ONCE)
        self._open = 0

    async def run(self, work: Callable[[], Viewed]) -> Viewed:
        """Return what the work gives. Raises TooManyViews."""
        if self._open >= AT_ONCE + WAITING:
            raise TooManyViews(f"{self._open} views are being made or waited for in this process", retry_after=5)
        self._open += 1
        try:
            made: Viewed = await self._threads.run(work)
            return made
        finally:
            self._open -= 1


def build_router(service: RecordViews) -> APIRouter:
    """Return the route under /datasets/{dataset}."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["records"], dependencies=[Depends(needs("read"))])

    turns = Turns()

    @router.get("/views/{view}")
    async def read_view(
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
        query = PageQuery(start=start, end=end, where=read_where(where))
        viewed = await turns.run(partial(service.read, dataset, view, query, batch))
        media_type = MEDIA_TYPES[chosen]
        headers = {"content-type": media_type}
        if viewed.batch is not None:
            headers["Gristmill-Batch"] = viewed.batch["job"]
        return StreamingResponse(write(viewed, view, chosen), headers=headers)

    return router
