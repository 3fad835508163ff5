"""REST: previews of pipelines."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from gristmill.core.http.bodies import read_json
from gristmill.core.http.endpoints import needs
from gristmill.records.preview.service import RecordPreview

MAX_BODY_BYTES = 4 * 1024 * 1024


def build_router(service: RecordPreview) -> APIRouter:
    """Return the route /datasets/{dataset}/pipeline/preview."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["records"], dependencies=[Depends(needs("write"))])

    @router.post("/pipeline/preview")
    async def preview_pipeline(http: Request, dataset: str) -> JSONResponse:
        """Show the rows after each step of the pipeline for a sample, and what does not fit; nothing is stored."""
        raw = await read_json(http, MAX_BODY_BYTES, "A preview")
        return JSONResponse(await run_in_threadpool(service.preview, dataset, raw))

    return router
