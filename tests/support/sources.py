"""A source kind that does what a test tells it to, and runners in threads of the test."""

import contextlib
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from gristmill.bootstrap import sources as wiring
from gristmill.bootstrap.shared import Gristmill
from gristmill.sources.port import MalformedItem, Pace, Position, Read, Reader, SourceKind, SourceSettings
from tests.support.in_process import InProcess
from tests.support.system import eventually

Json = dict[str, Any]
Item = Mapping[str, Any] | MalformedItem | Exception | pa.Table
CONTRACT: Json = {
    "fields": [
        {"name": "timestamp", "type": "timestamp", "required": True},
        {"name": "id", "type": "uuid", "required": True},
        {"name": "value", "type": "float", "minimum": 10, "maximum": 100},
    ]
}
NUMBERS: Json = {"fields": [{"name": "n", "type": "integer", "required": True, "minimum": 0}]}


class ScriptedSettings(SourceSettings):
    """Settings of the scripted kind."""

    script: str = Field("", description="which script it reads from")
    ends: bool = Field(False, description="whether the source ends with its script")


class Scripted(SourceKind[ScriptedSettings]):
    """Emits the items of a script, which a test may lengthen at any time. An exception in it is raised once."""

    name = "scripted"
    summary = "Emits what a test tells it to."
    Settings = ScriptedSettings
    scripts: ClassVar[defaultdict[str, list[Item]]] = defaultdict(list)
    opened: ClassVar[list[tuple[str, Position]]] = []
    closed: ClassVar[list[str]] = []

    def open(self, position: Position, pace: Pace) -> Reader:
        script = self.scripts[self.settings.script]
        place = 0 if position is None else position["place"]
        self.opened.append((self.settings.script, position))
        try:
            while not self.settings.ends or place < len(script):
                if place == len(script):
                    pace.wait(0.02)
                    yield None
                    continue
                item = script[place]
                if isinstance(item, Exception):
                    del script[place]
                    raise item
                place += 1
                malformed = [item] if isinstance(item, MalformedItem) else []
                records: Any = item if isinstance(item, pa.Table) else [] if malformed else [item]
                yield Read({"place": place}, records, malformed)
        finally:
            self.closed.append(self.settings.script)


class SourcesInProcess:
    """The REST interface of sources, and runners in threads."""

    def __init__(self, app: InProcess) -> None:
        self.app = app
        self._runners: list[tuple[threading.Event, threading.Thread]] = []

    def start_runner(self, owner: str = "runner-1", gristmill: Gristmill | None = None) -> threading.Event:
        """Start a runner; what it gives ends it when it is set."""
        stop = threading.Event()
        runner = wiring.build_runner(gristmill or self.app.gristmill, owner, stop)
        thread = threading.Thread(target=runner.run, name=owner)
        thread.start()
        self._runners.append((stop, thread))
        return stop

    def stop_runners(self) -> None:
        for stop, _ in self._runners:
            stop.set()
        for _, thread in self._runners:
            thread.join(20)
            assert not thread.is_alive(), f"{thread.name} does not stop"
        self._runners.clear()

    def create(self, dataset: str, kind: str = "scripted", settings: Json | None = None, **more: Any) -> str:
        """Create a source and return its name."""
        name = more.pop("name", f"s-{uuid.uuid4().hex[:8]}")
        if kind == "scripted":
            settings = {"script": name, "batch_size": 10, "batch_seconds": 0.05, **(settings or {})}
        body = {"name": name, "kind": kind, "dataset": dataset, "settings": settings or {}, **more}
        answer = self.app.http.post("/api/v1/sources", json=body)
        assert answer.status_code == 201, answer.text
        return name

    def get(self, name: str) -> Json:
        answer = self.app.http.get(f"/api/v1/sources/{name}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def patch(self, name: str, **change: Any) -> Json:
        answer = self.app.http.patch(f"/api/v1/sources/{name}", json=change)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def until(self, name: str, condition: Callable[[Json], Any], what: str, seconds: float = 20) -> Json:
        """Wait until the source is as ``condition`` wants it, and return it."""
        found: Json = {}

        def look() -> bool:
            found.clear()
            found.update(self.get(name))
            return bool(condition(found))

        eventually(look, lambda: f"{what}: {found}", seconds)
        return found

    def jobs(self, name: str) -> list[Json]:
        """The jobs of a source, oldest first."""
        found: list[Json] = []
        token = None
        while True:
            query = {"label": f"source={name}", "page_size": 200, **({"page_token": token} if token else {})}
            page = self.app.http.get("/api/v1/jobs", params=query).json()
            found += page["jobs"]
            token = page["next_page_token"]
            if token is None:
                return found[::-1]


def numbers(count: int, start: int = 0) -> list[Item]:
    return [{"n": number} for number in range(start, start + count)]


@contextlib.contextmanager
def scripted() -> Iterator[type[Scripted]]:
    """Register the scripted kind while the block runs."""
    wiring.KINDS.append(Scripted)
    try:
        yield Scripted
    finally:
        wiring.KINDS.remove(Scripted)
        Scripted.scripts.clear()
        Scripted.opened.clear()
        Scripted.closed.clear()


def steady(look: Callable[[], Any], seconds: float = 0.3) -> Any:
    """Return what ``look`` gives, which must not change for so long."""
    first, until = look(), time.monotonic() + seconds
    while time.monotonic() < until:
        assert look() == first
        time.sleep(0.02)
    return first


def values(rows: Sequence[Json]) -> list[int]:
    return sorted(row["n"] for row in rows)
