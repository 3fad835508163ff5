"""REST: operations on whole datasets."""

from fastapi import APIRouter, Depends
from fastapi import Request as HttpRequest
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.http.bodies import refuse_body
from gristmill.core.http.endpoints import needs
from gristmill.core.http.idempotency import request_hash
from gristmill.datasets.endpoints import submit_body
from gristmill.datasets.operations.service import DatasetOperations
from gristmill.jobs.endpoints import answer_write, request_of, write_options


def build_router(service: DatasetOperations) -> APIRouter:
    """Return the routes under /datasets/{dataset} that are about all of its records."""
    router = APIRouter(
        prefix="/datasets/{dataset}", tags=["datasets"], dependencies=[Depends(needs("admin")), Depends(write_options)]
    )

    @router.post("/truncate", status_code=202, dependencies=[Depends(refuse_body)])
    async def truncate_dataset(http: HttpRequest, dataset: str) -> Response:
        """Delete all records that were submitted before, at once; the dataset and its contract stay."""
        request = request_of(http, request_hash(http, b""))
        return await answer_write(http, await run_in_threadpool(service.truncate, dataset, request), request)

    @router.post("/rename", status_code=202)
    async def rename_dataset(http: HttpRequest, dataset: str) -> Response:
        """Give a dataset and its table another name; jobs that wait go on."""
        return await submit_body(http, lambda body, request: service.rename(dataset, body, request))

    @router.post("/copy", status_code=202)
    async def copy_dataset(http: HttpRequest, dataset: str) -> Response:
        """Make another dataset with the same contract and the same records, or those that a filter finds."""
        return await submit_body(http, lambda body, request: service.copy(dataset, body, request))

    return router
