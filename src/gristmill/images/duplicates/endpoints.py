"""REST: near-duplicates."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from gristmill.core.http.endpoints import needs
from gristmill.datasets.endpoints import submit_body
from gristmill.images.duplicates.service import ImageDuplicates
from gristmill.jobs.endpoints import write_options


def build_router(service: ImageDuplicates) -> APIRouter:
    """Return the route /datasets/{dataset}/images/duplicates."""
    router = APIRouter(
        prefix="/datasets/{dataset}/images",
        tags=["images"],
        dependencies=[Depends(needs("admin")), Depends(write_options)],
    )

    @router.post("/duplicates", status_code=202)
    async def find_duplicates(http: Request, dataset: str) -> Response:
        """Find groups of records whose vectors are near each other, as a new dataset."""
        return await submit_body(http, lambda body, request: service.find(dataset, body, request))

    return router
