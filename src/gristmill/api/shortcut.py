"""The short way through the framework for the call that comes most often: a small POST of records without options.

FastAPI's routing, parameters and dependencies cost more than the rest of such a request, and there is nothing for them
to find: no query, no header that changes what is done. Whatever is not as plain as that, or is to be refused, goes the
long way with its body and is answered there.
"""

import json
import re
from typing import Any, NamedTuple

from gristmill.api.gate import API, Application, Message, Receive, Scope, Send
from gristmill.api.problems import encode_problem
from gristmill.core.endpoints import SCOPES, Principal
from gristmill.core.errors import GristmillError, Internal
from gristmill.core.logs import get_logger
from gristmill.jobs.notices import Notifier
from gristmill.jobs.schemas import job_body
from gristmill.jobs.submit import Request
from gristmill.records.ingest_small import MOST_BYTES, SmallIngest
from gristmill.records.readers import JSON
from gristmill.records.service import IngestOptions
from gristmill.records.spool import BodySpool, Spool

log = get_logger()
_PATH = re.compile(API + r"/datasets/([^/]+)/records")
# Headers that say nothing about what is to be done; a request with any other one goes the long way.
_PLAIN = frozenset(
    b"host accept accept-encoding accept-language authorization x-api-key user-agent content-type content-length "
    b"connection x-request-id cache-control pragma origin referer cookie".split()
)
_KINDS = {b"application/json": JSON, b"application/x-ndjson": "application/x-ndjson"}
_OPTIONS = IngestOptions()
_WRITE = SCOPES.index("write")


class _Route(NamedTuple):
    path: str


# What metrics name the call by, as the framework does.
_ROUTE = _Route("/datasets/{dataset}/records")


class Shortcut:
    """Wraps the application."""

    def __init__(self, app: Application, small: SmallIngest, spool: Spool, notifier: Notifier) -> None:
        self._app = app
        self._small = small
        self._spool = spool
        self._notifier = notifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = self._kind(scope)
        if kind is None:
            await self._app(scope, receive, send)
            return
        message = await receive()
        if message["type"] != "http.request" or message.get("more_body", False):
            await self._app(scope, _again(message, receive), send)
            return
        try:
            answer = await self._submit(scope, kind, message.get("body", b""))
        except Exception as error:
            scope["route"] = _ROUTE
            if not isinstance(error, GristmillError):
                log.error("request.defect", path=scope["path"], exc_info=error)
                error = Internal("The server made a mistake; its log has the cause under this request_id")
            status, body, headers = encode_problem(error, scope["path"], scope["state"]["request_id"])
            await _send(send, status, body, headers)
            return
        if answer is None:
            await self._app(scope, _again(message, receive), send)
            return
        scope["route"] = _ROUTE
        self._notifier.due()
        headers = {"content-type": JSON, "location": answer["links"]["self"]}
        await _send(send, 202, json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode(), headers)

    def _kind(self, scope: Scope) -> str | None:
        """Return the media type of a request that may take the short way."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"]:
            return None
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > MOST_BYTES or not headers.keys() <= _PLAIN:
            return None
        return _KINDS.get(headers.get(b"content-type", b""))

    async def _submit(self, scope: Scope, kind: str, body: bytes) -> dict[str, Any] | None:
        """Return the body of the answer, or None. Raises DatabaseUnavailable."""
        found = _PATH.fullmatch(scope["path"])
        principal: Principal = scope["state"]["principal"]
        if found is None or SCOPES.index(principal.scope) < _WRITE:
            return None
        spooled = BodySpool(self._spool, MOST_BYTES, None)
        try:
            spooled.write(body)
            request = Request(principal.name, scope["state"]["request_id"])
            await self._small.submit(found[1], spooled, kind, _OPTIONS, request)
        finally:
            spooled.close()
        return None if request.receipt.row is None else job_body(request.receipt.row)


def _again(message: Message, receive: Receive) -> Receive:
    """Return a ``receive`` that gives ``message`` first."""
    held: list[Message] = [message]

    async def give() -> Message:
        return held.pop() if held else await receive()

    return give


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    headers["content-length"] = str(len(body))
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
