"""REST: jobs by id, lists, cancel, retry; and the answer that every write gives."""

import asyncio
import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from pydantic import Field as Described
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams

from gristmill.core.http import routes
from gristmill.core.http.bodies import refuse_body
from gristmill.core.http.conditions import not_modified
from gristmill.core.http.endpoints import check_permission, needs, principal_of
from gristmill.core.http.idempotency import idempotency_key
from gristmill.core.http.links import next_page
from gristmill.core.http.parameters import bad_query, read_moment
from gristmill.core.http.waits import wait_of
from gristmill.core.permissions import Permission
from gristmill.jobs.completion import JobCompletion
from gristmill.jobs.errors import UnknownJob
from gristmill.jobs.idempotency import IdempotencyKey
from gristmill.jobs.schemas import job_body, look_again
from gristmill.jobs.service import JobFilter, JobService
from gristmill.jobs.states import JobState
from gristmill.jobs.submit import WriteRequest
from gristmill.kit.entity_tags import Tag

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_QUERY = QueryParams()
_LABEL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,63}")
MOST_LABELS = 20
LABEL = "the name of 1 to 63 letters, digits, '_', '.', '-'"

_WAIT = "seconds to wait for the job to end; more than `api.max_wait` (30) count as that"
_PRIORITY = "0 to 9, 9 goes first; 5 without it"
_LABEL = "name=value, at most 20"
_RUN_AT = "RFC 3339 time with offset; not run before it"
_KEY = "the same key and request: the same job"
_PREFER = "wait=N, as the parameter wait"


class WriteQuery(BaseModel):
    """The query parameters that every write takes; ``request_of`` and ``answer_write`` read and check them."""

    wait: str | None = Described(None, description=_WAIT)
    priority: str | None = Described(None, description=_PRIORITY)
    label: list[str] | None = Described(None, description=_LABEL)
    run_at: str | None = Described(None, description=_RUN_AT)


WRITE_HEADERS = (routes.Header("idempotency-key", _KEY), routes.Header("prefer", _PREFER))


async def write_options(
    wait: Annotated[str | None, Query(description=_WAIT)] = None,
    priority: Annotated[str | None, Query(description=_PRIORITY)] = None,
    label: Annotated[list[str] | None, Query(description=_LABEL)] = None,
    run_at: Annotated[str | None, Query(description=_RUN_AT)] = None,
    idempotency_key: Annotated[str | None, Header(description=_KEY)] = None,
    prefer: Annotated[str | None, Header(description=_PREFER)] = None,
) -> None:
    """A dependency that declares what every write takes, for the routes that the framework documents."""


async def keyed(idempotency_key: Annotated[str | None, Header(description=_KEY)] = None) -> None:
    """A dependency that declares the key of what changes a job."""


async def preferring(prefer: Annotated[str | None, Header(description=_PREFER)] = None) -> None:
    """A dependency that declares the preference of what may be waited for."""


class JobQuery(BaseModel):
    """The query of one job."""

    wait: float | None = Described(None, description=_WAIT)


def request_of(http: HttpRequest, body_hash: str | None = None) -> WriteRequest:
    """Return what a submission needs to know about its HTTP request. Raises Invalid for bad headers and parameters."""
    # Checked before anything is queued, though it only counts afterwards.
    wait_of(http)
    traceparent = http.headers.get("traceparent")
    query = http.query_params if http.scope["query_string"] else _NO_QUERY
    return WriteRequest(
        principal=principal_of(http).name,
        request_id=http.scope["state"]["request_id"],
        traceparent=traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None,
        idempotency_key=idempotency_key(http),
        body_hash=body_hash,
        priority=_priority(query.get("priority")),
        labels=_labels(query.getlist("label")),
        run_at=read_moment("run_at", query.get("run_at")),
        idempotency_hours=http.app.state.idempotency_hours,
    )


async def answer_write(http: HttpRequest, job_id: uuid.UUID, request: WriteRequest | None = None) -> Response:
    """Answer a write: 202 with the job and its Location, or, having waited for it, 200 with the finished job."""
    http.app.state.notifier.due()
    wait = wait_of(http)
    made = None if request is None else request.receipt.row
    known = job_body(made) if made is not None and made["id"] == job_id else None
    body = await _wait_for(http, job_id, wait.seconds, known)
    return _job_answer(body, 200 if wait.seconds and body["done"] else 202, wait.headers)


def _job_answer(body: dict[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    """Return a job as the answer to what changed it."""
    headers = {"Location": body["links"]["self"], **headers}
    if status == 202:
        headers["Retry-After"] = look_again(body)
    return Response(to_json(body), status, headers, "application/json")


async def _wait_for(
    http: HttpRequest, job_id: uuid.UUID, seconds: float, known: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the job when it has finished or the time is up. known: its body, where it was just made."""
    service: JobService = http.app.state.jobs
    completion: JobCompletion = http.app.state.completion
    if seconds <= 0:
        return await run_in_threadpool(service.get, job_id) if known is None else known
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        async with completion.of(job_id, unread=known is not None) as finished:
            body = await run_in_threadpool(service.get, job_id) if known is None else known
            left = deadline - loop.time()
            if body["done"] or left <= 0:
                return body
            # A wake-up can be lost with its connection: poll as well.
            await asyncio.wait([finished], timeout=min(left, 5.0))
            known = finished.result() if finished.done() and not finished.cancelled() else None


class LabelQuery(BaseModel):
    """The query of the labels that jobs have."""

    dataset: str | None = Described(None, max_length=100, description="of jobs of this dataset")
    type: str | None = Described(None, max_length=100, description="of jobs of this type")
    name: str | None = Described(None, max_length=63, description="this label alone")
    values: int = Described(20, ge=1, le=1000, description="how many values of a label are listed, the frequent first")


def build_calls() -> list[routes.Call[Any]]:
    """Return the hot call: one job. And the one whose path looks like that of a job, before it."""

    async def list_labels(http: HttpRequest, query: LabelQuery) -> Response:
        """List the labels that jobs have, with their values and how many jobs have each."""
        _refuse_nul(dataset=query.dataset, type=query.type, name=query.name)
        service: JobService = http.app.state.jobs
        found = await run_in_threadpool(service.labels, query.dataset, query.type, query.name, query.values)
        return JSONResponse(found)

    async def get_job(http: HttpRequest, _: JobQuery) -> Response:
        """Return a job; with ``wait`` hold the answer until it has finished, at most that many seconds."""
        wait = wait_of(http)
        body = await _wait_for(http, job_id_of(http.path_params["job_id"]), wait.seconds)
        text = to_json(body)
        # Weak, as it names what the body says: the same members in another order would be the same job.
        tag = Tag(hashlib.blake2b(text, digest_size=12).hexdigest(), weak=True)
        # What is answered without waiting is not what somebody else waited for.
        headers = {"Vary": "Prefer", "ETag": str(tag), **wait.headers}
        same = not_modified(http, tag)
        if same is not None:
            return Response(status_code=304, headers={**headers, **same})
        return Response(text, headers=headers, media_type="application/json")

    headers = [routes.Header("prefer", _PREFER), routes.Header("if-none-match", "ETags: 304 where one is the job's")]
    return [
        routes.Call("GET", "/jobs/labels", "read", list_labels, LabelQuery, "jobs"),
        routes.Call("GET", "/jobs/{job_id}", "read", get_job, JobQuery, "jobs", headers),
    ]


def build_router(service: JobService, permission_of: Callable[[str], Permission]) -> APIRouter:
    """Return the other routes under /jobs. permission_of: what a key needs for jobs of a type."""
    router = APIRouter(prefix="/jobs", tags=["jobs"])

    @router.get("", dependencies=[Depends(needs("read"))])
    def list_jobs(
        http: HttpRequest,
        state: Annotated[list[JobState] | None, Query()] = None,
        type: Annotated[str | None, Query(max_length=100)] = None,
        dataset: Annotated[str | None, Query(max_length=100)] = None,
        label: Annotated[list[str] | None, Query(description="name=value")] = None,
        created_after: Annotated[str | None, Query(description="RFC 3339 time with offset")] = None,
        page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
        page_token: Annotated[str | None, Query(max_length=2000)] = None,
    ) -> JSONResponse:
        """List jobs, newest first."""
        _refuse_nul(type=type, dataset=dataset)
        filters = JobFilter(
            state=[one.value for one in state] if state else None,
            type=type,
            dataset=dataset,
            labels=tuple(sorted(_labels(label or []).items())),
            created_after=read_moment("created_after", created_after),
        )
        page = service.list(filters, page_size, page_token)
        return JSONResponse(page, headers=next_page(http, page["next_page_token"]))

    def may_change(http: HttpRequest, job_id: str) -> None:
        """Refuse a key that could not submit the job either. Raises Forbidden, UnknownJob."""
        type_ = service.get(job_id_of(job_id))["type"]
        check_permission(http, permission_of(type_), f"Cancelling or retrying a job of the type {type_}")

    changing = [Depends(needs("write")), Depends(keyed), Depends(refuse_body), Depends(may_change)]

    @router.post("/{job_id}/cancel", status_code=202, dependencies=changing)
    async def cancel_job(http: HttpRequest, job_id: str) -> Response:
        """Cancel a job: chunks not yet claimed never run, running ones stop at their next step."""
        asked_by, key = principal_of(http).name, _key_of(http)
        body = await run_in_threadpool(service.cancel, job_id_of(job_id), asked_by, key)
        return _job_answer(body, 200 if body["done"] else 202, {})

    @router.post("/{job_id}/retry", status_code=202, dependencies=[*changing, Depends(preferring)])
    async def retry_job(
        http: HttpRequest, job_id: str, wait: Annotated[str | None, Query(description=_WAIT)] = None
    ) -> Response:
        """Run the failed chunks of a failed job again."""
        wait_of(http)
        await run_in_threadpool(service.retry, job_id_of(job_id), _key_of(http))
        return await answer_write(http, job_id_of(job_id))

    return router


def job_id_of(text: str) -> uuid.UUID:
    """Return the job's id in a path. Raises UnknownJob for what is no UUID."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise UnknownJob(f"There is no job {text[:80]!r}: a job id is a UUID") from None


def _key_of(http: HttpRequest) -> IdempotencyKey | None:
    """Return the key of a request that changes a job; the same request has the same path, and no body."""
    key = idempotency_key(http)
    if key is None:
        return None
    body_hash = hashlib.sha256(f"{http.method} {http.url.path}".encode("utf-8", "surrogateescape")).hexdigest()
    return IdempotencyKey(principal_of(http).name, key, body_hash, http.app.state.idempotency_hours)


def _refuse_nul(**values: str | None) -> None:
    for name, value in values.items():
        if value is not None and "\0" in value:
            raise bad_query(name, value, "text without NUL")


def _priority(text: str | None) -> int:
    if text is None:
        return 5
    if not re.fullmatch(r"[0-9]", text):
        raise bad_query("priority", text, "an integer from 0 to 9; 9 goes first")
    return int(text)


def _labels(pairs: list[str]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not is_label(name, value):
            raise bad_query("label", pair, f"name=value, {LABEL}")
        labels[name] = value
    if len(labels) > MOST_LABELS:
        raise bad_query("label", str(len(labels)), f"at most {MOST_LABELS} labels")
    return labels


def is_label(name: str, value: str) -> bool:
    """Say whether a job may have this label."""
    return bool(_LABEL_NAME.fullmatch(name)) and len(value) <= 255 and "\0" not in value
