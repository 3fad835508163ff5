"""REST: recomputing."""

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from gristmill.core.http.bodies import read_json
from gristmill.core.http.endpoints import needs
from gristmill.core.http.idempotency import request_hash
from gristmill.jobs.endpoints import answer_write, request_of, write_options
from gristmill.records.recompute.service import RecordRecompute
from gristmill.records.submit import Submitter

MAX_BODY_BYTES = 1024 * 1024


def build_router(service: RecordRecompute, submitter: Submitter) -> APIRouter:
    """Return the route /datasets/{dataset}/recompute."""
    router = APIRouter(
        prefix="/datasets/{dataset}", tags=["datasets"], dependencies=[Depends(needs("admin")), Depends(write_options)]
    )

    @router.post("/recompute", status_code=202)
    async def recompute_dataset(http: Request, dataset: str) -> Response:
        """Make computed fields anew of what is stored, as after a change of the pipeline."""
        raw = await read_json(http, MAX_BODY_BYTES, "A request to recompute")
        request = request_of(http, request_hash(http, raw))
        job_id = await submitter.submit(service.recompute(dataset, raw), request)
        return await answer_write(http, job_id, request)

    return router
