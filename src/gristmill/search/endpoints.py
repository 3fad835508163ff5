"""REST: similarity search."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from gristmill.core.endpoints import needs
from gristmill.search.service import SearchService


def build_router(service: SearchService) -> APIRouter:
    """Return the search route under /datasets/{dataset}."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["search"], dependencies=[Depends(needs("read"))])

    @router.post("/search")
    async def search(dataset: str, http: Request) -> JSONResponse:
        """Return the records nearest to a text, to a vector, or to a stored record.

        The body has exactly one of `text`, `vector` and `like` (a key). It may have `k` (1 to 1000, default 10),
        `where` (a filter), `include` (`["embedding"]`), `ef` (1 to 1000: more effort, better recall) and `mode`
        (`vector`).
        """
        return JSONResponse(await run_in_threadpool(service.search, dataset, await http.body()))

    return router
