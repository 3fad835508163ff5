"""REST: exports of images. They are read, listed and deleted as all stored exports are."""

from functools import partial

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from gristmill.core.http.bodies import read_json
from gristmill.core.http.endpoints import needs
from gristmill.core.http.idempotency import request_hash
from gristmill.core.http.own_threads import OwnThreads
from gristmill.images.export.service import ImageExports
from gristmill.jobs.endpoints import answer_write, request_of, write_options

MAX_BODY_BYTES = 1024 * 1024
# Requests that are looked at at the same moment: each reads the keys of all its records.
AT_ONCE = 2


def build_router(service: ImageExports) -> APIRouter:
    """Return the route /datasets/{dataset}/images/export."""
    router = APIRouter(
        prefix="/datasets/{dataset}/images",
        tags=["images"],
        dependencies=[Depends(needs("write")), Depends(write_options)],
    )
    threads = OwnThreads(AT_ONCE)

    @router.post("/export", status_code=202)
    async def export_images(http: Request, dataset: str) -> Response:
        """Make a file of the image of each matching record, changed by operations. The answer is the job."""
        body = await read_json(http, MAX_BODY_BYTES, "A request for an export")
        request = request_of(http, request_hash(http, body))
        # It looks at the storage, which may be slow.
        job = await threads.run(partial(service.create, dataset, body, request))
        return await answer_write(http, job, request)

    return router
