"""REST: similarity search."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from gristmill.core.endpoints import needs, read_limited
from gristmill.search.service import SearchService

# A filter with its 200 conditions and a vector of 2,000 dimensions need far less.
MAX_SEARCH_BYTES = 1024 * 1024


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
        body = await read_limited(http, MAX_SEARCH_BYTES, "A search")
        return JSONResponse(await run_in_threadpool(service.search, dataset, body))

    return router
