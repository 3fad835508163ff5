"""The API killed before its answer; and five hundred clients that wait."""

import asyncio
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.support.faults import FaultStack
from tests.support.ledger import Ledger, batch
from tests.support.system import eventually

WAITING = 500
# Seconds that each of them waits at most; more than the usual 30, so that a busy machine does not end it too early.
PATIENCE = 100


@pytest.mark.promise(1)
@pytest.mark.promise(2)
class TestKilledApi:
    def test_after_its_commit_before_its_answer(self, stack: FaultStack) -> None:
        ledger = Ledger(stack.system)
        stack.system.kill("dispatcher")
        key = uuid.uuid4().hex
        errors: list[Exception] = []

        def ask() -> None:
            try:
                ledger.post(batch(3), key, wait=30)
            except httpx.HTTPError as error:
                errors.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        jobs = "SELECT id::text, state FROM gristmill.jobs WHERE dataset = %s AND type = 'records.ingest'"
        committed = eventually(lambda: stack.system.query(jobs, (ledger.name,)), "the job is committed")
        assert asking.is_alive(), "the client has no answer yet"
        stack.system.kill("api")
        asking.join(30)
        assert errors, "the client got no answer"
        assert not ledger.accepted

        stack.system.start("api")
        # The client may wait differently this time: the key and the body are the same.
        assert ledger.post(batch(3), key) == committed[0]["id"]
        assert ledger.post(batch(3), key) == committed[0]["id"]
        assert stack.system.query(jobs, (ledger.name,)) == committed
        stack.system.start("dispatcher")
        ledger.check()


@pytest.mark.promise(2)
class TestTwins:
    def test_requests_with_one_key_at_the_same_moment_make_one_job(self, stack: FaultStack) -> None:
        ledger = Ledger(stack.system)
        for _ in range(5):
            key = uuid.uuid4().hex
            with ThreadPoolExecutor(8) as pool:
                jobs = list(pool.map(lambda _, key=key: ledger.post(batch(2), key), range(8)))
            assert len(set(jobs)) == 1
        assert len(ledger.accepted) == 5
        ledger.check()


@pytest.mark.promise(7)
class TestWaiting:
    def test_500_waiting_clients_delay_neither_a_post_nor_healthz(self, stack: FaultStack, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        held = stack.submit("test.wait", args={"file": str(gate)})
        ledger = Ledger(stack.system)
        order = asyncio.run(_wait_together(stack.system.url, ledger, held, gate))
        assert order[:4] == ["healthz", "post", "post with its job finished", "healthz"]
        assert order[4:] == ["waited"] * WAITING
        ledger.check()


async def _wait_together(url: str, ledger: Ledger, held: str, gate: Path) -> list[str]:
    """Return in which order the requests were answered."""
    order: list[str] = []
    waiting = [await _ask_to_wait(url, held) for _ in range(WAITING)]
    answers = [asyncio.create_task(_answer(reader, order)) for reader, _ in waiting]
    async with httpx.AsyncClient(timeout=60) as client:
        assert (await client.get(f"{url}/healthz")).status_code == 200
        order.append("healthz")
        ledger.enter(await client.post(ledger.url, json=batch(2)), batch(2))
        order.append("post")
        answer = await client.post(ledger.url, json=batch(2, "w"), params={"wait": 30})
        assert answer.status_code == 200
        ledger.enter(answer, batch(2, "w"))
        order.append("post with its job finished")
        assert (await client.get(f"{url}/healthz")).status_code == 200
        order.append("healthz")
    # All of them have sent their request, on a connection of its own, and none has an answer.
    assert not any(task.done() for task in answers)
    gate.touch()
    await asyncio.gather(*answers)
    for _, writer in waiting:
        writer.close()
    return order


async def _ask_to_wait(url: str, job_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request of a waiting client; httpx spends tens of milliseconds on each of so many connections."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    path = f"/api/v1/jobs/{job_id}?wait={PATIENCE}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    return reader, writer


async def _answer(reader: asyncio.StreamReader, order: list[str]) -> None:
    answer = await reader.read()
    order.append("waited")
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:500]
    assert b'"state":"succeeded"' in answer
