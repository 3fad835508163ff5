"""REST: a contract proposed for a sample of a file."""

from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from gristmill.core.http.bodies import FORM, media_type_name, media_type_of
from gristmill.core.http.endpoints import needs
from gristmill.records.endpoints import spooled_body
from gristmill.records.form_file import FormFile
from gristmill.records.infer.sample import MAX_BYTES
from gristmill.records.infer.service import RecordInference
from gristmill.records.readers import EXTENSIONS, MEDIA_TYPES
from gristmill.records.readers.zip import ZIP
from gristmill.records.spool import Spool

# Each holds a sample unpacked, and computes all the while.
_AT_ONCE = 2
SAMPLE_TYPES = tuple(one for one in MEDIA_TYPES if "zip" not in one)
_EXTENSIONS = {name: kind for name, kind in EXTENSIONS.items() if kind != ZIP}

Name = Annotated[str, Query(description="the name of the dataset in the contract")]
Answers = Annotated[
    str | None,
    Query(description='answers to questions of an earlier inference, as a JSON object: `{"key": "id"}`'),
]
Partial = Annotated[bool, Query(description="whether the body is the first part of a file and may end anywhere")]


def build_router(service: RecordInference, spool: Spool) -> APIRouter:
    """Return the route /datasets/infer."""
    router = APIRouter(prefix="/datasets", tags=["datasets"], dependencies=[Depends(needs("write"))])
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    @router.post("/infer")
    async def infer_contract(
        http: Request, name: Name = "inferred", answers: Answers = None, partial: Partial = False
    ) -> JSONResponse:
        """Propose a contract for a sample of a file, with the evidence for each field; nothing is stored."""
        header = http.headers.get("content-type", "")
        form = FormFile(header, SAMPLE_TYPES, _EXTENSIONS) if media_type_name(header) == FORM else None
        kind = FORM if form else media_type_of(http, (*SAMPLE_TYPES, FORM))
        async with spooled_body(http, spool, MAX_BYTES, compressed=True, form=form, part=True) as body:
            kind = form.media_type if form else kind

            def work() -> dict[str, object]:
                return service.infer(body.open(), kind, name, answers, partial or body.cut)

            return JSONResponse(await anyio.to_thread.run_sync(work, limiter=limiter))

    return router
