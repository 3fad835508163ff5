"""The registry of continents, countries and cities, by its own interface and nothing else."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx

from tests.support.example import Example
from tests.support.system import eventually

Json = dict[str, Any]
PLENTY = 10**12


class Registry:
    """The application, and names of this test's own."""

    def __init__(self, example: Example) -> None:
        self.example = example
        self.frozen, self.kill, self.processes = example.frozen, example.kill, example.processes
        self.http = httpx.Client(base_url=f"{example.url}/api/v1", timeout=60, limits=httpx.Limits(max_connections=60))

    def create(self, kind: str, above: str | None, name: str, area: int = 1, population: int = 1, **more: Any) -> Any:
        """Submit a place and return the answer."""
        path = f"{kind}/create" if above is None else f"{kind}/{segment(above)}"
        return self.http.post(path, json={"name": name, "area": area, "population": population, **more})

    def change(self, kind: str, name: str, /, **changes: Any) -> Any:
        return self.http.patch(f"{kind}/{segment(name)}", json=changes)

    def delete(self, kind: str, name: str) -> Any:
        return self.http.delete(f"{kind}/{segment(name)}")

    def message(self, answer: httpx.Response) -> Json:
        """Return what became of a write that was accepted, once it is done."""
        assert answer.status_code == 202, answer.text
        path = f"message/{answer.json()['message_id']}"
        assert answer.headers["Location"] == f"/api/v1/{path}"

        def done() -> Any:
            found = self.http.get(path).json()
            return found if found["done"] else None

        return eventually(done, f"{path} is done", 90)  # type: ignore[no-any-return]

    def made(self, answer: httpx.Response) -> None:
        """Expect a write to succeed."""
        message = self.message(answer)
        assert (message["state"], message["error"]) == ("succeeded", None), message

    def refused(self, answer: httpx.Response) -> Json:
        """Return the problem of a write that is refused, at once or by its task."""
        if answer.status_code != 202:
            assert answer.headers["content-type"] == "application/problem+json"
            return answer.json()  # type: ignore[no-any-return]
        message = self.message(answer)
        assert message["state"] == "failed", message
        return message["error"]  # type: ignore[no-any-return]

    def page(self, kind: str, **params: Any) -> list[Json]:
        answer = self.http.get(kind, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def every(self, kind: str, size: int = 1000) -> Iterator[Json]:
        """Yield all places of a kind, page by page."""
        skip = 0
        while found := self.page(kind, skip=skip, limit=size):
            yield from found
            skip += len(found)

    def find(self, kind: str, name: str) -> Json | None:
        """Return one place with everything in it."""
        return next((one for one in self.every(kind) if one["name"] == name), None)

    def at_once(self, creates: Sequence[tuple[Any, ...]]) -> list[httpx.Response]:
        """Submit creates, all of them at the same time, and return the answers."""
        with ThreadPoolExecutor(len(creates)) as pool:
            return list(pool.map(lambda one: self.create(*one), creates))

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Let everything be accepted and nothing be worked at."""
        return self.frozen("worker")


def segment(name: str) -> str:
    """Return a name as part of a path. Dots alone would be taken for steps in a tree."""
    return name.replace(".", "%2E") if name in (".", "..") else quote(name, safe="")


def own(name: str) -> str:
    """Return a name that no other test uses."""
    return f"{name} {uuid.uuid4().hex[:8]}"
