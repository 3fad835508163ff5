"""A server that the client and the command line ask for things that have names: it keeps the calls."""

import json
from typing import Any

import httpx

from gristmill.client import Client, Retry


class NamedServer:
    """Answers with ``thing`` to calls of /``plural``, in lists of two pages; ``others`` by what their paths end with.

    statuses: of the first answers, which are problems unless they are 200.
    """

    def __init__(
        self, plural: str, thing: dict[str, Any], statuses: tuple[int, ...], others: dict[str, tuple[int, Any]]
    ) -> None:
        self.plural, self.thing, self.others = plural, thing, others
        self.statuses = list(statuses)
        self.calls: list[tuple[str, str, Any]] = []
        self.headers: list[httpx.Headers] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else dict(request.url.params)
        path = request.url.path
        self.calls.append((request.method, path.removeprefix("/api/v1"), body))
        self.headers.append(request.headers)
        status = self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            return httpx.Response(status, json={"code": "x", "detail": "no"})
        if request.method == "DELETE":
            return httpx.Response(204)
        for end, (code, answer) in self.others.items():
            if path.endswith(end):
                return httpx.Response(code, json=answer)
        if request.method == "GET" and path.endswith(f"/{self.plural}"):
            last = "page_token" in request.url.params
            page = {
                "next_page_token": None if last else "t",
                self.plural: [{**self.thing, "name": "b" if last else "a"}],
            }
            return httpx.Response(200, json=page)
        return httpx.Response(201 if request.method == "POST" else 200, json=self.thing)

    def client(self, *_: Any, **__: Any) -> Client:
        return Client(retry=Retry(attempts=2), transport=httpx.MockTransport(self), sleep=lambda _: None)
