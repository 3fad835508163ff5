"""REST: having the recall of a dataset learnt."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.http.bodies import refuse_body
from gristmill.core.http.endpoints import needs
from gristmill.core.http.idempotency import request_hash
from gristmill.jobs.endpoints import answer_write, request_of, write_options
from gristmill.search.recall.service import RecallService


def build_router(service: RecallService) -> APIRouter:
    """Return the route under /datasets/{dataset}/index."""
    router = APIRouter(prefix="/datasets/{dataset}/index", tags=["search"])

    @router.post(
        "/tune",
        status_code=202,
        dependencies=[Depends(needs("write")), Depends(write_options), Depends(refuse_body)],
    )
    async def tune_index(http: Request, dataset: str) -> Response:
        """Learn what each graph finds by the effort of a search, and measure what searches find.

        It is done without being asked for as well, after builds and when many records have changed. The curves, and the
        effort that each target of recall needs, are in the report of the index.
        """
        request = request_of(http, request_hash(http, b""))
        return await answer_write(http, await run_in_threadpool(service.tune, dataset, request), request)

    return router
