"""REST: datasets and their contracts."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.http.bodies import parse_json, read_json
from gristmill.core.http.conditions import if_match
from gristmill.core.http.endpoints import needs
from gristmill.core.http.idempotency import request_hash
from gristmill.core.http.links import next_page
from gristmill.core.http.parameters import read_flag
from gristmill.datasets.errors import Unconfirmed
from gristmill.datasets.schemas import contract_tag
from gristmill.datasets.service import DatasetService
from gristmill.jobs.endpoints import answer_write, request_of, write_options
from gristmill.jobs.submit import WriteRequest

# The largest contract, 250 fields with all their limits, is far smaller.
MAX_CONTRACT_BYTES = 1024 * 1024


def build_router(service: DatasetService) -> APIRouter:
    """Return the routes under /datasets that are about datasets themselves."""
    router = APIRouter(prefix="/datasets", tags=["datasets"])
    admin = [Depends(needs("admin")), Depends(write_options)]

    @router.get("", dependencies=[Depends(needs("read"))])
    def list_datasets(
        http: HttpRequest,
        page_size: Annotated[int, Query(ge=1, le=200)] = 50,
        page_token: Annotated[str | None, Query(max_length=2000)] = None,
    ) -> JSONResponse:
        """List datasets in the order of their names."""
        page = service.list(page_size, page_token)
        return JSONResponse(page, headers=next_page(http, page["next_page_token"]))

    @router.post("", status_code=202, dependencies=admin)
    async def create_dataset(
        http: HttpRequest,
        if_not_exists: Annotated[
            str | None, Query(max_length=10, description="a dataset with this contract that is there will do")
        ] = None,
    ) -> Response:
        """Create a dataset from its contract; records may be submitted as soon as this is accepted."""
        present_will_do = read_flag("if_not_exists", if_not_exists)
        return await submit_body(http, lambda body, request: service.create(body, request, present_will_do))

    @router.get("/{dataset}", dependencies=[Depends(needs("read"))])
    def get_dataset(dataset: str) -> JSONResponse:
        """Return a dataset: its contract, state, rows, sizes and the state of its index."""
        body = service.get(dataset)
        return JSONResponse(body, headers={"ETag": str(contract_tag(body["id"], body["version"]))})

    matched = [*admin, Depends(_matched)]

    @router.patch("/{dataset}", status_code=202, dependencies=matched)
    async def alter_dataset(http: HttpRequest, dataset: str) -> Response:
        """Add optional fields, or widen the limits of fields."""
        tags = if_match(http)
        return await submit_body(http, lambda change, request: service.alter(dataset, change, request, tags))

    @router.delete("/{dataset}", status_code=202, dependencies=matched)
    async def drop_dataset(
        http: HttpRequest,
        dataset: str,
        confirm: Annotated[str | None, Query(max_length=100, description="the name of the dataset once more")] = None,
    ) -> Response:
        """Drop a dataset with all its records; its name is free at once.

        `confirm` repeats its name: a client that resolves `records/..` in a path would drop a dataset by mistake.
        """
        if confirm != dataset:
            # One that is not there needs no confirmation.
            await run_in_threadpool(service.get, dataset)
            given = "" if confirm is None else f"{confirm!r} is not the name of the dataset. "
            raise Unconfirmed(f"{given}Dropping {dataset} deletes all its records: confirm it with ?confirm={dataset}")
        request, tags = request_of(http, request_hash(http, b"")), if_match(http)
        return await answer_write(http, await run_in_threadpool(service.drop, dataset, request, tags), request)

    return router


async def _matched(
    if_match: Annotated[str | None, Header(description="ETags, of which the dataset's must be one: else 412")] = None,
) -> None:
    """A dependency that declares the condition of what changes a dataset."""


async def submit_body(http: HttpRequest, submit: Callable[[Any, WriteRequest], UUID]) -> Response:
    """Answer a write whose body is JSON; ``submit`` gets it parsed."""
    body = await read_json(http, MAX_CONTRACT_BYTES, "A contract")
    request = request_of(http, request_hash(http, body))
    return await answer_write(http, await run_in_threadpool(submit, parse_json(body), request), request)
