"""The asynchronous client: every call of the blocking one, on an event loop and with none of its own code."""

import asyncio
import contextvars
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from gristmill.client import AsyncClient, Client, ConnectionFailed, NotFound, Retry

NOW = Retry(first_delay=0, longest_delay=0)
_WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def client(answer: Any, **options: Any) -> AsyncClient:
    return AsyncClient("http://x", transport=httpx.MockTransport(answer), retry=NOW, **options)


def test_it_has_every_call_of_the_blocking_client_with_the_same_arguments() -> None:
    calls = {name: one for name, one in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    calls.pop("close")
    for name, method in calls.items():
        assert inspect.signature(getattr(AsyncClient, name)) == inspect.signature(method), name
        assert getattr(AsyncClient, name).__doc__ == method.__doc__
    assert {"submit", "records", "get_many", "export", "search"} <= set(calls)


def test_bodies_answers_and_errors_are_those_of_the_blocking_client() -> None:
    sent: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        await request.aread()
        sent.append(request)
        if request.url.path.endswith("/records"):
            return httpx.Response(202, json={"id": "j", "done": True, "state": "succeeded"})
        return httpx.Response(404, json={"code": "unknown_record", "detail": "no"})

    async def main() -> None:
        async with client(answer, api_key="secret") as found:
            job = await found.submit("d", [{"n": 1}, {"n": 2}], wait=True)
            assert job["id"] == "j"
            with pytest.raises(NotFound, match="no"):
                await found.record("d", 5)

    asyncio.run(main())
    assert sent[0].content == b'{"n":1}\n{"n":2}\n'
    assert sent[0].headers["authorization"] == "Bearer secret"


def test_pages_are_an_asynchronous_iteration_that_may_be_left() -> None:
    asked: list[Any] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(await request.aread())
        asked.append(body.get("page_token"))
        return httpx.Response(200, json={"records": [{"n": len(asked)}], "next_page_token": str(len(asked))})

    async def main() -> list[int]:
        found = []
        async with client(answer) as one:
            async for record in one.records("d"):
                found.append(record["n"])
                if len(found) == 3:
                    break
        return found

    assert asyncio.run(main()) == [1, 2, 3]
    assert asked == [None, "1", "2"]


def test_calls_run_at_once_each_in_the_context_of_its_task() -> None:
    arrived, seen = asyncio.Event(), []

    async def answer(request: httpx.Request) -> httpx.Response:
        seen.append(_WHO.get())
        if len(seen) == 50:
            arrived.set()
        # None is answered before all have asked.
        await asyncio.wait_for(arrived.wait(), 30)
        return httpx.Response(200, json={"n": request.url.path})

    async def one(found: AsyncClient, number: int) -> Any:
        _WHO.set(f"task {number}")
        return await found.record("d", number)

    async def main() -> None:
        async with client(answer) as found:
            answers = await asyncio.gather(*(one(found, number) for number in range(50)))
            assert [record["n"].rpartition("/")[2] for record in answers] == [str(number) for number in range(50)]

    asyncio.run(main())
    assert sorted(seen) == sorted(f"task {number}" for number in range(50))


def test_a_call_that_is_cancelled_ends_and_the_client_goes_on() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("slow"):
            await asyncio.Event().wait()
        return httpx.Response(200, json={"n": 1})

    async def main() -> None:
        async with client(answer) as found:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(found.record("d", "slow"), 0.05)
            assert await found.record("d", "quick") == {"n": 1}

    asyncio.run(main())


def test_a_failed_call_is_repeated_and_pauses_on_the_loop() -> None:
    attempts: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        attempts.append(request.headers["idempotency-key"])
        raise httpx.ConnectError("refused", request=request)

    async def main() -> None:
        async with client(answer) as found:
            with pytest.raises(ConnectionFailed):
                await found.cancel("j")

    asyncio.run(main())
    assert len(attempts) > 1
    assert len(set(attempts)) == 1


def test_the_client_and_the_command_line_need_nothing_that_servers_run_on() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    server = {re.match(r"[a-z0-9-]+", one)[0].replace("-", "_") for one in project["optional-dependencies"]["server"]}  # type: ignore[index]
    # The command line's own library brings it along.
    server = server - {"pydantic"} | {"psycopg2"}
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(server)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import gristmill.client
from typer.testing import CliRunner
from gristmill.cli.main import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
assert CliRunner().invoke(app, ["records", "list", "d", "--url", "http://127.0.0.1:1"]).exit_code == 4
missing = CliRunner().invoke(app, ["up"])
assert missing.exit_code == 2 and "gristmill[server" in missing.output, missing.output
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
