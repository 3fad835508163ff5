"""REST: one record, the newest records, pages of records."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response

from gristmill.core.http.bodies import parse_json
from gristmill.core.http.conditions import not_modified
from gristmill.core.http.convertors import KEY
from gristmill.core.http.endpoints import needs
from gristmill.core.http.links import next_page
from gristmill.datasets.describe import shorten
from gristmill.records.read.pages import MAX_PAGE, MAX_TOKEN, PageQuery
from gristmill.records.read.service import RecordReads

Include = Annotated[
    list[Literal["embedding"]] | None, Query(description="`embedding` adds each record's vector as `_embedding`")
]


def build_router(service: RecordReads) -> APIRouter:
    """Return the reading routes under /datasets/{dataset}."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["records"], dependencies=[Depends(needs("read"))])

    @router.get("/latest")
    def get_latest(
        dataset: str, n: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 10, include: Include = None
    ) -> JSONResponse:
        """Return the newest records: by the time field, or without one in the order of submission."""
        return JSONResponse(service.latest(dataset, n, bool(include)))

    @router.get("/records")
    def list_records(
        http: Request,
        dataset: str,
        start: Annotated[str | None, Query(max_length=64, description="time from, inclusive")] = None,
        end: Annotated[str | None, Query(max_length=64, description="time to, inclusive")] = None,
        where: Annotated[str | None, Query(description="a filter, as JSON")] = None,
        order: Annotated[str | None, Query(max_length=5000, description="field,-other: a minus is descending")] = None,
        page_size: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        page_token: Annotated[str | None, Query(max_length=MAX_TOKEN)] = None,
        include: Include = None,
    ) -> JSONResponse:
        """List records page by page: by key, or by time in a window, unless ``order`` says otherwise."""
        query = PageQuery(start, end, read_where(where), order, page_size, page_token, bool(include))
        page = service.page(dataset, query)
        return JSONResponse(page, headers=next_page(http, page["next_page_token"]))

    @router.get(f"/records/{KEY}")
    def get_record(
        http: Request,
        dataset: str,
        key: str,
        include: Include = None,
        if_none_match: Annotated[str | None, Header(description="ETags: 304 where one is the record's")] = None,
    ) -> Response:
        """Return the record with this key; a composite key is a percent-encoded JSON array."""
        record, tag = service.get(dataset, key, bool(include))
        same = not_modified(http, tag)
        return Response(status_code=304, headers=same) if same else JSONResponse(record, headers={"ETag": str(tag)})

    return router


def read_where(text: str | None) -> Any:
    """Return the parsed filter of a query parameter. Raises Malformed."""
    if text is None:
        return None
    return parse_json(text, f"where={shorten(text)}", "/query/where")
