"""REST: fitting."""

from fastapi import APIRouter, Depends
from fastapi import Request as HttpRequest
from fastapi.responses import Response

from gristmill.core.http.endpoints import needs
from gristmill.datasets.endpoints import submit_body
from gristmill.datasets.fit.service import DatasetFit
from gristmill.jobs.endpoints import write_options


def build_router(service: DatasetFit) -> APIRouter:
    """Return the route /datasets/{dataset}/fit."""
    router = APIRouter(
        prefix="/datasets/{dataset}", tags=["datasets"], dependencies=[Depends(needs("admin")), Depends(write_options)]
    )

    @router.post("/fit", status_code=202)
    async def fit_dataset(http: HttpRequest, dataset: str) -> Response:
        """Fit the steps of the pipeline that need statistics to the records that are there."""
        return await submit_body(http, lambda body, request: service.fit(dataset, body, request))

    return router
