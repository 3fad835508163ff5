"""The load generator: an HTTP client in a process of its own that costs little, so that it takes little from what it
measures.

Closed loop: each of ``connections`` sends its next request when the last one was answered, until ``requests`` or
``seconds`` are used up. Open loop (``rate``): requests are sent when they are due, whatever the answers do, and a time
counts from when the request was due, so that a server that stalls cannot hide it by slowing the client down.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Plan:
    """What to send.

    bodies: taken in turn; ``{n}`` in one, in the path or in a header is replaced by the number of the request, counted
        from ``first``; ``{n:012}`` by its twelve digits, ``{k}`` by the number modulo ``records``.
    headers: all but Host and Content-Length.
    rate: requests per second of the open loop; 0 is the closed loop.
    wait_every: of so many requests on one connection, the last one waits for its job (``?wait=30``), so that the jobs
        under way stay bounded by connections * wait_every; 0 never waits.
    keep: return the bodies of the answers too.
    """

    port: int
    path: str
    bodies: list[str]
    first: int = 0
    requests: int = 0
    seconds: float = 0.0
    connections: int = 1
    rate: float = 0.0
    wait_every: int = 0
    keep: bool = False
    records: int = 1
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})

    def message(self, number: int, waits: bool) -> bytes:
        """Return the request with this number, counted from 0."""
        path = self.path
        if waits:
            path += ("&" if "?" in path else "?") + "wait=30"
        named = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        number += self.first
        head = self._numbered(f"{self.method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{named}", number)
        body = self._numbered(self.bodies[number % len(self.bodies)], number).encode()
        # A DELETE has no body, and no word about one.
        length = f"Content-Length: {len(body)}\r\n" if body or self.method == "POST" else ""
        return f"{head}{length}\r\n".encode() + body

    def _numbered(self, text: str, number: int) -> str:
        text = text.replace("{n}", str(number)).replace("{n:012}", f"{number:012d}")
        return text.replace("{k}", str(number % self.records))


@dataclass
class Answers:
    """What came back. times: milliseconds by order of sending, without the requests that waited for their job."""

    times: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    bodies: list[str] = field(default_factory=list)
    complaint: str = ""
    began_at: float = 0.0
    wall: float = 0.0
    cpu: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.statuses.values())

    def require_finished(self) -> None:
        """Raise RuntimeError if a request that waited was answered before its job had ended."""
        if set(self.statuses) != {"200"}:
            raise RuntimeError(f"some jobs had not ended when their requests were answered: {self.statuses}")


def drive(plan: Plan) -> Answers:
    """Carry the plan out in a process of its own. Raises RuntimeError if any request was not answered with 2xx."""
    # The answers may be many megabytes: they go through a file, which no reader has to keep up with.
    with tempfile.TemporaryFile() as out:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load"],
            input=json.dumps(asdict(plan)).encode(), stdout=out, stderr=subprocess.PIPE, cwd=ROOT, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"the load generator failed: {done.stderr.decode(errors='replace').strip()[-1500:]}")
        out.seek(0)
        answers = Answers(**json.load(out))
    if any(not status.startswith("2") for status in answers.statuses):
        raise RuntimeError(f"{plan.path}: statuses {answers.statuses}; one answer: {answers.complaint}")
    return answers


class _Connection(asyncio.Protocol):
    """One keep-alive connection; answers carry a Content-Length, as Gristmill's do."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        place = head.index(b"content-length:") + 15
        length = int(head[place:].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        body, self._buffer = self._buffer[end + 4 :], b""
        assert self._answer is not None
        self._answer.set_result((int(head[9:12]), body))

    def send(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self._transport.close()


class _Generator:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._statuses: Counter[str] = Counter()
        self._answers = Answers()
        self._free: list[_Connection] = []
        self._done = asyncio.Event()

    async def run(self) -> Answers:
        plan = self._plan
        self._free = [await self._connect() for _ in range(plan.connections)]
        cpu, began = time.process_time(), time.perf_counter()
        self._answers.began_at = time.time()
        await (self._open_loop() if plan.rate else self._closed_loop(began))
        self._answers.wall = time.perf_counter() - began
        self._answers.cpu = time.process_time() - cpu
        self._answers.statuses = dict(self._statuses)
        return self._answers

    async def _connect(self) -> _Connection:
        _, made = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", self._plan.port)
        return made

    async def _closed_loop(self, began: float) -> None:
        plan = self._plan
        numbers = itertools.count()

        async def go_on(connection: _Connection) -> None:
            for own in itertools.count(1):
                number = next(numbers)
                if plan.requests and number >= plan.requests:
                    return
                if plan.seconds and time.perf_counter() - began >= plan.seconds:
                    return
                waits = bool(plan.wait_every) and own % plan.wait_every == 0
                await self._ask(connection, number, time.perf_counter(), waits)

        await asyncio.gather(*(go_on(connection) for connection in self._free))

    async def _open_loop(self) -> None:
        plan = self._plan
        loop = asyncio.get_running_loop()
        total = plan.requests or int(plan.rate * plan.seconds)
        asked: set[asyncio.Task[None]] = set()
        began = time.perf_counter() + 0.05

        def fire(number: int) -> None:
            asked.add(loop.create_task(self._ask_on_any(number, began + number / plan.rate)))
            if number == total - 1:
                self._done.set()

        def pace() -> None:
            # An event loop's timers are late by up to a millisecond; this thread's sleep is not.
            for number in range(total):
                time.sleep(max(0.0, began + number / plan.rate - time.perf_counter()))
                loop.call_soon_threadsafe(fire, number)

        threading.Thread(target=pace, daemon=True).start()
        await self._done.wait()
        await asyncio.gather(*asked)

    async def _ask_on_any(self, number: int, due: float) -> None:
        connection = self._free.pop() if self._free else await self._connect()
        await self._ask(connection, number, due, waits=False)
        self._free.append(connection)

    async def _ask(self, connection: _Connection, number: int, since: float, waits: bool) -> None:
        plan = self._plan
        status, answer = await connection.send(plan.message(number, waits))
        self._statuses[str(status)] += 1
        if not waits:
            self._answers.times.append((time.perf_counter() - since) * 1000)
        if plan.keep:
            self._answers.bodies.append(answer.decode())
        if status >= 300:
            self._answers.complaint = answer.decode()[:500]


def main() -> None:
    plan = Plan(**json.load(sys.stdin))

    async def generate() -> Answers:
        # The generator makes futures and events, which belong into a running loop.
        return await _Generator(plan).run()

    print(json.dumps(asdict(uvloop.run(generate()))))


if __name__ == "__main__":
    main()
