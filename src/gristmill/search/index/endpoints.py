"""REST: the vector index of a dataset."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.http.bodies import parse_json, read_json, refuse_body
from gristmill.core.http.endpoints import needs, principal_of
from gristmill.core.http.idempotency import request_hash
from gristmill.jobs.endpoints import answer_write, request_of, write_options
from gristmill.search.index.service import IndexService

MAX_CHANGE_BYTES = 4096


def build_router(service: IndexService) -> APIRouter:
    """Return the routes under /datasets/{dataset}/index."""
    router = APIRouter(prefix="/datasets/{dataset}/index", tags=["search"])

    @router.get("", dependencies=[Depends(needs("read"))])
    def get_index(dataset: str) -> JSONResponse:
        """Return the segments, the tail, what is built and what is due next and why, and the last failures."""
        return JSONResponse(service.report(dataset))

    @router.patch("", dependencies=[Depends(needs("write"))])
    async def change_index(http: Request, dataset: str) -> JSONResponse:
        """Hold index builds back (`{"hold": true}`), so that a load has the whole machine, or let them go on."""
        body = parse_json(await read_json(http, MAX_CHANGE_BYTES, "A change of an index"))
        return JSONResponse(await run_in_threadpool(service.change, dataset, body, principal_of(http).name))

    @router.post(
        "/rebuild",
        status_code=202,
        dependencies=[Depends(needs("write")), Depends(write_options), Depends(refuse_body)],
    )
    async def rebuild_index(http: Request, dataset: str) -> Response:
        """Build all indexes anew while searches go on with the old ones, which are then replaced at once."""
        request = request_of(http, request_hash(http, b""))
        return await answer_write(http, await run_in_threadpool(service.rebuild, dataset, request), request)

    return router
