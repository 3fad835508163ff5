"""Requests as the shipped client sends them: path, headers and body are what ``gristmill.client`` itself gives away.

What is asked for names ``NUMBER`` and ``RECORD``, which become ``{n}`` and ``{k}`` of ``load.Plan``. Each request has
an Idempotency-Key of its own, as long as the client's.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx

from gristmill.client import Client

# Stand for numbers where braces would be encoded: that of the request, and that of one of the plan's records.
NUMBER, RECORD = "numberofrequest", "numberofrecord"
_DONE = {"id": "0", "done": True, "state": "succeeded"}
_OWN = ("host", "content-length")
_KEY = "idempotency-key"


@dataclass(frozen=True)
class Request:
    """What ``load.Plan`` takes: path with query, method, headers but Host and Content-Length, body."""

    method: str
    path: str
    headers: dict[str, str]
    body: str

    def without_key(self) -> "Request":
        return replace(self, headers={name: value for name, value in self.headers.items() if name != _KEY})

    def with_headers(self, added: dict[str, str]) -> "Request":
        return replace(self, headers={**self.headers, **{name.lower(): value for name, value in added.items()}})

    def plan(self) -> dict[str, Any]:
        return {"path": self.path, "method": self.method, "headers": self.headers, "bodies": [self.body]}

    @property
    def key_prefix(self) -> str:
        """What the Idempotency-Keys of these requests begin with; the number follows, in twelve digits."""
        return self.headers[_KEY].removesuffix("{n:012}")


def sent(ask: Callable[[Client], Any]) -> Request:
    """Return the first request that ``ask`` makes of a client; with ``NUMBER`` and ``RECORD`` where numbers belong."""
    seen: list[Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name not in _OWN}
        if _KEY in headers:
            headers[_KEY] = uuid.uuid4().hex[:20] + "{n:012}"
        path, body = (_numbered(text) for text in (request.url.raw_path.decode(), request.read().decode()))
        seen.append(Request(request.method, path, headers, body))
        return httpx.Response(200, json=_DONE)

    with Client("http://127.0.0.1:1", transport=httpx.MockTransport(answer)) as client:
        ask(client)
    return seen[0]


def _numbered(text: str) -> str:
    return text.replace(NUMBER, "{n}").replace(RECORD, "{k}")
