"""The API's translator: every error becomes an RFC 9457 problem, 404s, 405s and defects included."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from gristmill.core.errors import (
    Forbidden,
    GristmillError,
    Internal,
    Invalid,
    Malformed,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    Violation,
)
from gristmill.core.http.head import is_head
from gristmill.core.http.links import path_of
from gristmill.core.logs import get_logger
from gristmill.kit.json_pointer import pointer_to

log = get_logger()
MEDIA_TYPE = "application/problem+json"
_BY_STATUS: dict[int, type[GristmillError]] = {
    400: Malformed,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    413: TooLarge,
    415: UnsupportedMedia,
    422: Invalid,
    503: Unavailable,
}


def encode_problem(error: GristmillError, instance: str, request_id: str) -> tuple[int, bytes, dict[str, str]]:
    """Return status, body and headers of the answer. instance: the path of the request, percent-encoded."""
    body = {**error.problem(), "instance": instance, "request_id": request_id}
    text = json.dumps(body, ensure_ascii=False, default=str)
    return error.status, text.encode("utf-8", "replace"), {**error.headers(), "content-type": MEDIA_TYPE}


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every exception of the application with a problem."""

    async def answer(request: Request, error: Exception) -> Response:
        found = _translate(request, error)
        request_id = request.scope.get("state", {}).get("request_id", "")
        status, body, headers = encode_problem(found, path_of(request), request_id)
        if status >= 500 and not isinstance(found, Unavailable):
            log.error("request.defect", path=request.url.path, exc_info=error)
        return Response(body, status, headers)

    for kind in (GristmillError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answer)


def _translate(request: Request, error: Exception) -> GristmillError:
    if isinstance(error, GristmillError):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors())
    if isinstance(error, HTTPException):
        if error.status_code == 404:
            return NotFound(f"There is nothing at {request.url.path[:200]}; the calls are listed at /docs")
        if error.status_code == 405:
            allowed = _allowed_methods(request)
            method = "HEAD" if is_head(request) else request.method
            found = MethodNotAllowed(
                f"{method} is not possible at {request.url.path[:200]}; possible: {allowed}", allow=allowed
            )
            found.headers = lambda: {"Allow": allowed}  # type: ignore[method-assign]
            return found
        return _BY_STATUS.get(error.status_code, Internal)(str(error.detail))
    return Internal("The server made a mistake; its log has the cause under this request_id")


def _allowed_methods(request: Request) -> str:
    """Return every method that the path has; Starlette names only those of the first route that fits."""
    found: set[str] = set()
    for method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] == Match.FULL for route in request.app.routes):
            found |= {"GET", "HEAD"} if method == "GET" else {method}
    return ", ".join(sorted(found))


def _invalid(errors: Sequence[Mapping[str, Any]]) -> Invalid:
    violations = []
    for item in errors:
        location = [str(part) for part in item["loc"]]
        value = repr(item.get("input"))[:80]
        violations.append(
            Violation(
                pointer=pointer_to(location),
                code=str(item["type"]),
                reason=f"{'.'.join(location[1:]) or location[0]}: {item['msg']} (got {value})",
                field=location[-1],
            )
        )
    return Invalid("; ".join(violation.reason for violation in violations[:3]), violations)
