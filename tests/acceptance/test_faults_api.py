"""The API killed before its answer; and five hundred clients that wait."""

import asyncio
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.faults import FaultStack
from tests.support.ledger import Ledger, batch
from tests.support.system import eventually

WAITING = 500


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
    sent = 0

    async def trace(event: str, _: Any) -> None:
        nonlocal sent
        sent += event == "http11.receive_response_headers.started"

    async def wait(client: httpx.AsyncClient) -> None:
        answer = await client.get(f"{url}/api/v1/jobs/{held}?wait=30", extensions={"trace": trace})
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded"), answer.text
        order.append("waited")

    limits = httpx.Limits(max_connections=WAITING, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits) as many, httpx.AsyncClient(timeout=60) as other:
        waiting = [asyncio.create_task(wait(many)) for _ in range(WAITING)]
        while sent < WAITING:
            await asyncio.sleep(0.01)
        assert (await other.get(f"{url}/healthz")).status_code == 200
        order.append("healthz")
        ledger.enter(await other.post(ledger.url, json=batch(2)), batch(2))
        order.append("post")
        answer = await other.post(ledger.url, json=batch(2, "w"), params={"wait": 20})
        assert answer.status_code == 200
        ledger.enter(answer, batch(2, "w"))
        order.append("post with its job finished")
        assert (await other.get(f"{url}/healthz")).status_code == 200
        order.append("healthz")
        # All of them have sent their request, on a connection of its own, and none has an answer.
        assert not any(task.done() for task in waiting)
        gate.touch()
        await asyncio.gather(*waiting)
    return order
