"""REST: sources and their kinds."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.http.bodies import read_json
from gristmill.core.http.endpoints import needs, principal_of
from gristmill.core.http.idempotency import idempotency_key, request_hash
from gristmill.core.http.links import next_page
from gristmill.jobs.endpoints import keyed
from gristmill.sources.schemas import ROOT
from gristmill.sources.service import SourceService

MAX_BODY_BYTES = 256 * 1024


def build_router(service: SourceService) -> APIRouter:
    """Return the routes /source-kinds and /sources."""
    router = APIRouter(tags=["sources"])

    @router.get("/source-kinds", dependencies=[Depends(needs("read"))])
    def list_source_kinds() -> JSONResponse:
        """List the kinds of sources, with the JSON Schema of their settings."""
        return JSONResponse(service.kinds())

    @router.post("/sources", status_code=201, dependencies=[Depends(needs("admin")), Depends(keyed)])
    async def create_source(http: Request) -> JSONResponse:
        """Create a source: it submits records to its dataset until it is paused, deleted or finished."""
        key = idempotency_key(http)
        body = await read_json(http, MAX_BODY_BYTES, "A source")
        named = None if key is None else f"{key} {request_hash(http, body)}"
        made = await run_in_threadpool(service.create, body, principal_of(http).name, named)
        return JSONResponse(made, 201, {"Location": f"{ROOT}/{made['name']}"})

    @router.get("/sources", dependencies=[Depends(needs("read"))])
    def list_sources(
        http: Request,
        dataset: Annotated[str | None, Query(max_length=100, description="of this dataset only")] = None,
        state: Annotated[
            Literal["running", "paused", "failed", "finished"] | None, Query(description="in this state only")
        ] = None,
        page_size: Annotated[int, Query(ge=1, le=200)] = 50,
        page_token: Annotated[str | None, Query(max_length=2000)] = None,
    ) -> JSONResponse:
        """List sources in the order of their names."""
        page = service.list(dataset, state, page_size, page_token)
        return JSONResponse(page, headers=next_page(http, page["next_page_token"]))

    @router.get("/sources/{source}", dependencies=[Depends(needs("read"))])
    def get_source(source: str) -> JSONResponse:
        """Return a source: its state, position, rate and lag, its last error, and what it waits for."""
        return JSONResponse(service.get(source))

    @router.patch("/sources/{source}", dependencies=[Depends(needs("admin"))])
    async def change_source(http: Request, source: str) -> JSONResponse:
        """Pause or resume a source, or change its settings, labels or priority."""
        body = await read_json(http, MAX_BODY_BYTES, "A change of a source")
        return JSONResponse(await run_in_threadpool(service.change, source, body))

    @router.delete("/sources/{source}", status_code=204, dependencies=[Depends(needs("admin"))])
    def delete_source(source: str) -> Response:
        """Delete a source: it submits nothing more. The records that it brought stay."""
        service.delete(source)
        return Response(status_code=204)

    return router
