"""REST: jobs by id, lists, cancel, retry; and the answer that every write gives."""

import asyncio
import re
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from pydantic import Field as Described
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams

from gristmill.core.errors import Invalid, Violation
from gristmill.core.http import routes
from gristmill.core.http.endpoints import needs, principal_of
from gristmill.jobs.completion import JobCompletion
from gristmill.jobs.errors import UnknownJob
from gristmill.jobs.schemas import BASE, job_body
from gristmill.jobs.service import JobFilter, JobService
from gristmill.jobs.states import JobState
from gristmill.jobs.submit import WriteRequest

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d+)", re.IGNORECASE)
_NO_QUERY = QueryParams()
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,255}")


_WAIT = "seconds to wait for the job to end"
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
WRITE_ANSWERS = {202: "The job that was accepted", 200: "The finished job, where it was waited for"}


async def write_options(
    wait: Annotated[str | None, Query(description=_WAIT)] = None,
    priority: Annotated[str | None, Query(description=_PRIORITY)] = None,
    label: Annotated[list[str] | None, Query(description=_LABEL)] = None,
    run_at: Annotated[str | None, Query(description=_RUN_AT)] = None,
    idempotency_key: Annotated[str | None, Header(description=_KEY)] = None,
    prefer: Annotated[str | None, Header(description=_PREFER)] = None,
) -> None:
    """A dependency that declares what every write takes, for the routes that the framework documents."""


class JobQuery(BaseModel):
    """The query of one job."""

    wait: float | None = Described(None, description="seconds to wait for the job to end")


def request_of(http: HttpRequest, body_hash: str | None = None) -> WriteRequest:
    """Return what a submission needs to know about its HTTP request. Raises Invalid for bad headers and parameters."""
    # Checked before anything is queued, though it only counts afterwards.
    _wait_seconds(http)
    key = http.headers.get("idempotency-key")
    if key is not None and not _PRINTABLE.fullmatch(key):
        raise _bad_header("Idempotency-Key", key, "1 to 255 printable ASCII characters without spaces")
    traceparent = http.headers.get("traceparent")
    query = http.query_params if http.scope["query_string"] else _NO_QUERY
    return WriteRequest(
        principal=principal_of(http).name,
        request_id=http.scope["state"]["request_id"],
        traceparent=traceparent if traceparent and _TRACEPARENT.fullmatch(traceparent) else None,
        idempotency_key=key,
        body_hash=body_hash,
        priority=_priority(query.get("priority")),
        labels=_labels(query.getlist("label")),
        run_at=_moment("run_at", query.get("run_at")),
        idempotency_hours=http.app.state.idempotency_hours,
    )


async def answer_write(http: HttpRequest, job_id: uuid.UUID, request: WriteRequest | None = None) -> Response:
    """Answer a write: 202 with the job and its Location, or, having waited for it, 200 with the finished job."""
    http.app.state.notifier.due()
    seconds = _wait_seconds(http)
    made = None if request is None else request.receipt.row
    known = job_body(made) if made is not None and made["id"] == job_id else None
    body = await _wait_for(http, job_id, seconds, known)
    headers = {"Location": body["links"]["self"]}
    if seconds and "prefer" in http.headers:
        headers["Preference-Applied"] = f"wait={seconds:g}"
    return Response(to_json(body), 200 if seconds and body["done"] else 202, headers, "application/json")


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


def _wait_seconds(http: HttpRequest) -> float:
    longest: float = http.app.state.max_wait
    given = http.query_params.get("wait") if http.scope["query_string"] else None
    if given is not None:
        try:
            seconds = float(given)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            raise _bad_query("wait", given, f"a number of seconds from 0 to {longest:g}")
        return min(seconds, longest)
    prefer = _PREFER_WAIT.search(http.headers.get("prefer", ""))
    return min(float(prefer[1]), longest) if prefer else 0.0


def build_calls() -> list[routes.Call[Any]]:
    """Return the hot call: one job."""

    async def get_job(http: HttpRequest, _: JobQuery) -> Response:
        """Return a job; with ``wait`` hold the answer until it has finished, at most that many seconds."""
        body = await _wait_for(http, job_id_of(http.path_params["job_id"]), _wait_seconds(http))
        return Response(to_json(body), media_type="application/json")

    return [routes.Call("GET", "/jobs/{job_id}", "read", get_job, JobQuery, "jobs", {200: "The job"})]


def build_router(service: JobService) -> APIRouter:
    """Return the other routes under /jobs."""
    router = APIRouter(prefix="/jobs", tags=["jobs"])

    @router.get("", dependencies=[Depends(needs("read"))])
    def list_jobs(
        state: Annotated[list[JobState] | None, Query()] = None,
        type: Annotated[str | None, Query(max_length=100)] = None,
        dataset: Annotated[str | None, Query(max_length=100)] = None,
        label: Annotated[list[str] | None, Query(description="name=value")] = None,
        created_after: Annotated[str | None, Query(description="RFC 3339 time with offset")] = None,
        page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
        page_token: Annotated[str | None, Query(max_length=2000)] = None,
    ) -> JSONResponse:
        """List jobs, newest first."""
        for name, value in (("type", type), ("dataset", dataset)):
            if value is not None and "\0" in value:
                raise _bad_query(name, value, "text without NUL")
        filters = JobFilter(
            state=[one.value for one in state] if state else None,
            type=type,
            dataset=dataset,
            labels=tuple(sorted(_labels(label or []).items())),
            created_after=_moment("created_after", created_after),
        )
        return JSONResponse(service.list(filters, page_size, page_token))

    @router.post("/{job_id}/cancel", status_code=202, dependencies=[Depends(needs("write"))])
    async def cancel_job(http: HttpRequest, job_id: str) -> Response:
        """Cancel a job: chunks not yet claimed never run, running ones stop at their next step."""
        asked_by = principal_of(http).name
        body = await run_in_threadpool(service.cancel, job_id_of(job_id), asked_by)
        return JSONResponse(body, 200 if body["done"] else 202, {"Location": f"{BASE}/{job_id}"})

    @router.post("/{job_id}/retry", status_code=202, dependencies=[Depends(needs("write"))])
    async def retry_job(
        http: HttpRequest, job_id: str, wait: Annotated[str | None, Query(description="as for writes")] = None
    ) -> Response:
        """Run the failed chunks of a failed job again."""
        _wait_seconds(http)
        await run_in_threadpool(service.retry, job_id_of(job_id))
        return await answer_write(http, job_id_of(job_id))

    return router


def job_id_of(text: str) -> uuid.UUID:
    """Return the job's id in a path. Raises UnknownJob for what is no UUID."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise UnknownJob(f"There is no job {text[:80]!r}: a job id is a UUID") from None


def _priority(text: str | None) -> int:
    if text is None:
        return 5
    if not re.fullmatch(r"[0-9]", text):
        raise _bad_query("priority", text, "an integer from 0 to 9; 9 goes first")
    return int(text)


def _labels(pairs: list[str]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9_.-]{1,63}", name) or len(value) > 255 or "\0" in value:
            raise _bad_query("label", pair, "name=value, the name of 1 to 63 letters, digits, '_', '.', '-'")
        labels[name] = value
    if len(labels) > 20:
        raise _bad_query("label", str(len(labels)), "at most 20 labels")
    return labels


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
        if value.tzinfo is not None:
            return value.astimezone(UTC)
    except (ValueError, OverflowError):
        value = None
    raise _bad_query(name, text, "an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z")


def _bad_query(name: str, value: str, valid: str) -> Invalid:
    reason = f"{name}={value[:80]!r} is not valid: give {valid}"
    return Invalid(reason, [Violation(pointer=f"/query/{name}", code="bad_parameter", reason=reason, field=name)])


def _bad_header(name: str, value: str, valid: str) -> Invalid:
    reason = f"{name}: {value[:80]!r} is not valid: give {valid}"
    return Invalid(reason, [Violation(pointer=f"/header/{name}", code="bad_header", reason=reason, field=name)])
