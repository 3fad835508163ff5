"""The short way through the framework for the calls that come most often: a small POST of records, and a search.

FastAPI's routing, parameters and dependencies cost more than the rest of such a POST, and a good part of what a search
costs outside of Postgres; there is nothing for them to find: no query, no header that changes what is done. Whatever is
not as plain as that goes the long way with its body and is answered there.
"""

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from starlette.concurrency import run_in_threadpool

from gristmill.api.middleware import API, Application, Message, Receive, Scope, Send
from gristmill.api.problems import encode_problem
from gristmill.core.errors import GristmillError, Internal
from gristmill.core.http.endpoints import PERMISSIONS, Principal
from gristmill.core.logs import get_logger
from gristmill.jobs.notifications import Notifier
from gristmill.jobs.schemas import job_body
from gristmill.jobs.submit import WriteRequest
from gristmill.records.ingest.service import IngestOptions
from gristmill.records.ingest.small import MOST_BYTES, SmallIngest
from gristmill.records.readers import JSON
from gristmill.records.spool import BodySpool, Spool
from gristmill.search.query.service import SearchService

log = get_logger()
# Headers that say nothing about what is to be done; a request with any other one goes the long way.
_PLAIN = frozenset(
    b"host accept accept-encoding accept-language authorization x-api-key user-agent content-type content-length "
    b"connection x-request-id cache-control pragma origin referer cookie".split()
)
_OPTIONS = IngestOptions()
# A search by a vector of 2,000 numbers has 40 kB; one by a hundred of them may as well go the long way.
_MOST_SEARCH_BYTES = 64 * 1024


class _Route(NamedTuple):
    path: str


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]


class ShortCall(Protocol):
    """One call that has a short way. route: what metrics name it by, as the framework does. kinds: media types."""

    route: _Route
    needs: str
    most_bytes: int
    kinds: Mapping[bytes, str]

    async def answer(self, scope: Scope, dataset: str, kind: str, body: bytes) -> Answer | None:
        """Return the answer, or None for a request that has to go the long way. Raises GristmillError."""
        ...


class RecordsCall:
    """A small POST of records."""

    route = _Route("/datasets/{dataset}/records")
    needs = "write"
    most_bytes = MOST_BYTES
    kinds: Mapping[bytes, str] = MappingProxyType(
        {b"application/json": JSON, b"application/x-ndjson": "application/x-ndjson"}
    )

    def __init__(self, small: SmallIngest, spool: Spool, notifier: Notifier) -> None:
        self._small = small
        self._spool = spool
        self._notifier = notifier

    async def answer(self, scope: Scope, dataset: str, kind: str, body: bytes) -> Answer | None:
        principal: Principal = scope["state"]["principal"]
        spooled = BodySpool(self._spool, MOST_BYTES, None)
        try:
            spooled.write(body)
            request = WriteRequest(principal.name, scope["state"]["request_id"])
            await self._small.submit(dataset, spooled, kind, _OPTIONS, request)
        finally:
            spooled.close()
        if request.receipt.row is None:
            return None
        self._notifier.due()
        job = job_body(request.receipt.row)
        text = json.dumps(job, ensure_ascii=False, separators=(",", ":")).encode()
        return Answer(202, text, {"content-type": JSON, "location": job["links"]["self"]})


class SearchCall:
    """A search."""

    route = _Route("/datasets/{dataset}/search")
    needs = "read"
    most_bytes = _MOST_SEARCH_BYTES
    kinds: Mapping[bytes, str] = MappingProxyType({b"application/json": JSON})

    def __init__(self, service: SearchService) -> None:
        self._service = service

    async def answer(self, scope: Scope, dataset: str, kind: str, body: bytes) -> Answer | None:
        return Answer(200, await run_in_threadpool(self._service.answer, dataset, body), {"content-type": JSON})


class Shortcut:
    """Wraps the application."""

    def __init__(self, app: Application, calls: Sequence[ShortCall]) -> None:
        self._app = app
        self._calls = {call.route.path.rpartition("/")[2]: call for call in calls}
        self._path = re.compile(f"{API}/datasets/([^/]+)/({'|'.join(self._calls)})")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._path.fullmatch(scope["path"]) if scope["type"] == "http" else None
        call = None if found is None else self._calls[found[2]]
        kind = None if call is None else _kind(call, scope)
        if found is None or call is None or kind is None:
            await self._app(scope, receive, send)
            return
        messages = await _receive_all(receive)
        answer = None
        if messages[-1]["type"] == "http.request":
            body = b"".join(message.get("body", b"") for message in messages)
            answer = await self._answer(call, scope, found[1], kind, body)
        if answer is None:
            await self._app(scope, _again(messages, receive), send)
            return
        scope["route"] = call.route
        await _send(send, answer)

    async def _answer(self, call: ShortCall, scope: Scope, dataset: str, kind: str, body: bytes) -> Answer | None:
        try:
            return await call.answer(scope, dataset, kind, body)
        except Exception as error:
            if not isinstance(error, GristmillError):
                log.error("request.defect", path=scope["path"], exc_info=error)
                error = Internal("The server made a mistake; its log has the cause under this request_id")
            return Answer(*encode_problem(error, scope["path"], scope["state"]["request_id"]))


def _kind(call: ShortCall, scope: Scope) -> str | None:
    """Return the media type of a request that may take the short way."""
    if scope["method"] != "POST" or scope["query_string"]:
        return None
    principal: Principal = scope["state"]["principal"]
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or int(length) > call.most_bytes or not headers.keys() <= _PLAIN:
        return None
    if PERMISSIONS.index(principal.scope) < PERMISSIONS.index(call.needs):
        return None
    return call.kinds.get(headers.get(b"content-type", b""))


async def _receive_all(receive: Receive) -> list[Message]:
    """Return the messages of a body, which is as short as its length says; or up to where the client went away."""
    messages = [await receive()]
    while messages[-1]["type"] == "http.request" and messages[-1].get("more_body", False):
        messages.append(await receive())
    return messages


def _again(messages: list[Message], receive: Receive) -> Receive:
    """Return a ``receive`` that gives the messages first."""
    held = messages[::-1]

    async def give() -> Message:
        return held.pop() if held else await receive()

    return give


async def _send(send: Send, answer: Answer) -> None:
    headers = {**answer.headers, "content-length": str(len(answer.body))}
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    await send({"type": "http.response.body", "body": answer.body})
