"""REST: schedules."""

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.http.bodies import read_json, refuse_body
from gristmill.core.http.endpoints import check_permission, needs, principal_of
from gristmill.core.http.idempotency import idempotency_key, request_hash
from gristmill.core.http.links import next_page
from gristmill.jobs.endpoints import answer_write, keyed, preferring, request_of
from gristmill.jobs.job_types.declaration import JobType
from gristmill.schedules.schemas import ROOT
from gristmill.schedules.service import ScheduleService

MAX_BODY_BYTES = 256 * 1024
_WAIT = "seconds to wait for the job to end; more than `api.max_wait` (30) count as that"


def build_router(service: ScheduleService) -> APIRouter:
    """Return the routes /schedules."""
    router = APIRouter(tags=["schedules"])

    @router.post("/schedules", status_code=201, dependencies=[Depends(needs("read")), Depends(keyed)])
    async def create_schedule(http: Request) -> JSONResponse:
        """Create a schedule: it submits a job at each of its times. The job type says which permission that needs."""
        key = idempotency_key(http)
        body = await read_json(http, MAX_BODY_BYTES, "A schedule")
        named = None if key is None else f"{key} {request_hash(http, body)}"
        made = await run_in_threadpool(service.create, body, principal_of(http).name, named, partial(_allow, http))
        return JSONResponse(made, 201, {"Location": f"{ROOT}/{made['name']}"})

    @router.get("/schedules", dependencies=[Depends(needs("read"))])
    def list_schedules(
        http: Request,
        type: Annotated[str | None, Query(max_length=200, description="of jobs of this type only")] = None,
        state: Annotated[Literal["running", "paused"] | None, Query(description="in this state only")] = None,
        page_size: Annotated[int, Query(ge=1, le=200)] = 50,
        page_token: Annotated[str | None, Query(max_length=2000)] = None,
    ) -> JSONResponse:
        """List schedules in the order of their names, each with its next runs."""
        page = service.list(type, state, page_size, page_token)
        return JSONResponse(page, headers=next_page(http, page["next_page_token"]))

    @router.get("/schedules/{schedule}", dependencies=[Depends(needs("read"))])
    def get_schedule(schedule: str) -> JSONResponse:
        """Return a schedule: its next runs, its last job, and why it is paused."""
        return JSONResponse(service.get(schedule))

    @router.patch("/schedules/{schedule}", dependencies=[Depends(needs("read"))])
    async def change_schedule(http: Request, schedule: str) -> JSONResponse:
        """Pause or resume a schedule, or change its times, or the arguments, labels or priority of its jobs."""
        body = await read_json(http, MAX_BODY_BYTES, "A change of a schedule")
        changed = partial(service.change, schedule, body, principal_of(http).name, partial(_allow, http))
        return JSONResponse(await run_in_threadpool(changed))

    @router.post(
        "/schedules/{schedule}/run-now", status_code=202,
        dependencies=[Depends(needs("read")), Depends(keyed), Depends(preferring), Depends(refuse_body)],
    )  # fmt: skip
    async def run_schedule(
        http: Request, schedule: str, wait: Annotated[str | None, Query(description=_WAIT)] = None
    ) -> Response:
        """Submit a job of the schedule now; its next run stays when it is."""
        request = request_of(http, request_hash(http, b""))
        job = await run_in_threadpool(service.run_now, schedule, request, partial(_allow, http))
        return await answer_write(http, job, request)

    @router.delete("/schedules/{schedule}", status_code=204, dependencies=[Depends(needs("read"))])
    async def delete_schedule(http: Request, schedule: str) -> Response:
        """Delete a schedule: it submits nothing more. Its jobs stay."""
        await run_in_threadpool(service.delete, schedule, partial(_allow, http))
        return Response(status_code=204)

    return router


def _allow(http: Request, job_type: JobType) -> None:
    check_permission(http, job_type.permission, f"A schedule of jobs of the type {job_type.name}")
