"""What every request passes: request id, Host, API key, body limit, and its entry in log and metrics.

Plain ASGI rather than a middleware that wraps streams: it costs microseconds and never buffers a body.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from starlette.requests import Request

from gristmill.access.keys import KeyRing
from gristmill.api.compression import Compressor, coding_of
from gristmill.api.cors import ANY, read_origins
from gristmill.api.metrics import REQUEST_SECONDS
from gristmill.api.problems import encode_problem
from gristmill.api.rate_limit import RateLimit
from gristmill.core.config import Settings
from gristmill.core.errors import Forbidden, GristmillError, TooLarge, Unauthenticated
from gristmill.core.http.endpoints import LINK, LOCAL, Principal
from gristmill.core.http.head import as_get, without_body
from gristmill.core.http.links import path_of
from gristmill.core.logs import get_logger
from gristmill.kit.ids import uuid7

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

log = get_logger()
API = "/api/v1"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Open to everybody: probes and metrics carry no data of the users'.
OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/metrics", "/version", "/docs", "/redoc", "/openapi.json"})
# Methods that change nothing.
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
# A signed link, which the call itself checks, and other calls refuse.
_LINKED = f"{API}/exports/"
_SIGNED = re.compile(rb"(^|&)signature=")
# What an answer depends on beside its address: who asks, and how it is to travel.
_VARY = ((b"vary", b"Accept-Encoding, Authorization, X-Api-Key"),)
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class ApiMiddleware:
    """Wraps the application."""

    def __init__(self, app: Application, settings: Settings, keys: KeyRing) -> None:
        self._app = app
        self._keys = keys
        self._max_body = settings.api_max_body_bytes
        self._origins = read_origins(settings.api_cors_origins) - {ANY}
        self._rate = RateLimit(settings.api_requests_per_second)
        self._needs_key = settings.api_require_key or settings.api_host not in LOOPBACK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else str(uuid7())
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *vary]
            await send(message)

        head = scope["method"] == "HEAD"
        inner = as_get(scope) if head else scope
        # Only what is asked for by GET is kept by anybody.
        vary = _VARY if inner["method"] == "GET" else ()
        answer = without_body(send_with_id) if head else send_with_id
        coding = coding_of(headers[b"accept-encoding"]) if b"accept-encoding" in headers else None
        trace = headers.get(b"traceparent", b"")
        traced = {"traceparent": trace.decode()} if _REQUEST_ID.fullmatch(trace) else {}
        with structlog.contextvars.bound_contextvars(request_id=request_id, **traced):
            try:
                self._check_length(headers)
                state["principal"] = principal = await self._identify(scope, headers)
                if scope["path"] not in OPEN_PATHS:
                    # Callers without a key are told apart by their addresses.
                    self._rate.take(_address(scope) if principal in (LOCAL, LINK) else principal.name)
            except GristmillError as error:
                await _refuse(error, scope, request_id, answer)
            else:
                await self._app(inner, receive, answer if coding is None else Compressor(answer, coding))
            seconds = time.perf_counter() - started
            route = _route(inner)
            REQUEST_SECONDS.labels(scope["method"] if route != "other" else "any", route, str(status)).observe(seconds)
            log.info(
                "request.ended",
                method=scope["method"],
                path=scope["path"],
                status=status,
                seconds=round(seconds, 5),
                principal=getattr(state.get("principal"), "name", None),
            )

    def _check_length(self, headers: dict[bytes, bytes]) -> None:
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._max_body:
            raise TooLarge(
                f"The body has {int(length)} bytes and the limit is {self._max_body} (api_max_body_bytes)",
                limit=self._max_body,
            )

    async def _identify(self, scope: Scope, headers: dict[bytes, bytes]) -> Principal:
        """Return the caller. Raises Unauthenticated, and RateLimited once an address has failed too often.

        Failures are counted apart from what else comes from the address, which may be that of a proxy.
        """
        try:
            return await self._principal(scope, headers)
        except Unauthenticated:
            self._rate.take(_failures_of(scope))
            raise

    async def _principal(self, scope: Scope, headers: dict[bytes, bytes]) -> Principal:
        token = _token(headers)
        if token is None:
            if scope["path"] in OPEN_PATHS or scope["path"].startswith("/static-offline-docs"):
                return LOCAL
            if scope["path"].startswith(_LINKED) and _SIGNED.search(scope["query_string"]):
                return LINK
            if self._needs_key:
                raise Unauthenticated("Send an API key: Authorization: Bearer <key>")
            _check_host(headers)
            if scope["method"] not in _READING:
                _check_site(headers, self._origins)
            return LOCAL
        known, found = self._keys.recall(token)
        if not known:
            # Before Postgres is asked: keys are not to be guessed faster than that. One in use is known already.
            self._rate.check(_failures_of(scope))
            found = await asyncio.to_thread(self._keys.find, token)
        if found is None:
            raise Unauthenticated("The API key is not valid: it is unknown or was revoked")
        return Principal(f"key:{found[0]}", found[1])  # type: ignore[arg-type]


def _address(scope: Scope) -> str:
    address: str = (scope.get("client") or ("",))[0]
    return address


def _failures_of(scope: Scope) -> str:
    """Return by what name requests are counted that come from an address without a valid key."""
    return f"failed:{_address(scope)}"


def _route(scope: Scope) -> str:
    """Return the call as its path is written in the documentation, or ``other``."""
    path: str = getattr(scope.get("route"), "path_format", "")
    if not path:
        return "other"
    # The framework names the route within its router.
    return path if path.startswith(API) or not scope["path"].startswith(API) else API + path


def _token(headers: dict[bytes, bytes]) -> str | None:
    key = headers.get(b"x-api-key")
    if key:
        return key.decode("latin-1")
    scheme, _, credentials = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" and credentials.strip() else None


def _check_host(headers: dict[bytes, bytes]) -> None:
    """Without keys, a page in a browser on this machine could reach the API under a name of its own (DNS rebinding)."""
    host = headers.get(b"host", b"").decode("latin-1")
    name = host.rsplit(":", 1)[0].strip("[]") if not host.endswith("]") else host.strip("[]")
    if name not in LOOPBACK:
        raise Forbidden(f"Without an API key the Host must be one of {', '.join(LOOPBACK)}; it is {name[:80]!r}")


def _check_site(headers: dict[bytes, bytes], listed: frozenset[str]) -> None:
    """Without keys any page in a browser on this machine could write. Browsers say where a request is from.

    listed: origins that may write all the same.
    """
    site = headers.get(b"sec-fetch-site", b"").decode("latin-1")
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin in listed:
        return
    host = headers.get(b"host", b"").decode("latin-1")
    foreign = bool(origin) and origin.partition("://")[2].lower() != host.lower()
    # Pages cannot set the first one; browsers that do not send it send the other one.
    if site not in ("none", "same-origin") if site else foreign:
        raise Forbidden(
            f"Without an API key pages of other sites may not write; this request is from {(origin or site)[:80]!r}"
        )


async def _refuse(error: GristmillError, scope: Scope, request_id: str, send: Send) -> None:
    status, body, headers = encode_problem(error, path_of(Request(scope)), request_id)
    headers["content-length"] = str(len(body))
    # The body was not read: the connection cannot be used again.
    headers["connection"] = "close"
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
