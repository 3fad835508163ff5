"""Source runners killed, frozen, doubled and stopped at placed moments; Postgres away; no room in the queue.

The simulator's ids follow from its seed and their number, so that the table itself says whether one is lost or there
twice.
"""

import json
import random
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.support.faults import FaultStack
from tests.support.sources import CONTRACT
from tests.support.system import eventually

from gristmill.sources.kinds.simulator import Simulator, SimulatorSettings

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2)]
RUNNER = "gristmill-source-runner"
LEASE = 3
SETTINGS = {"sources_lease": LEASE, "sources_heartbeat": 0.5, "sources_poll": 0.2}
LOCK_ROW = "SELECT FROM gristmill.sources WHERE name = %s FOR UPDATE"
# Backends of runners that have inserted jobs and wait for a lock, with those who hold it.
BLOCKED = """
SELECT a.pid, pg_blocking_pids(a.pid) AS by
FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND l.mode = 'RowExclusiveLock' AND l.granted
WHERE a.application_name = %s AND a.wait_event_type = 'Lock' AND l.relation = 'gristmill.jobs'::regclass
"""
WAITING = """
SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid
WHERE a.application_name = %s AND NOT l.granted AND l.relation = %s::regclass
"""
IDLE = "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND state = 'idle in transaction'"


class Watched:
    """A simulator with its dataset, and what has to be true of both in the end."""

    def __init__(self, stack: FaultStack, **settings: Any) -> None:
        self.stack = stack
        self.name = f"s-{uuid.uuid4().hex[:8]}"
        self.dataset = f"d_{uuid.uuid4().hex[:8]}"
        self.settings = {"interval": 0.005, "batch_size": 5, "seed": 11, "batch_seconds": 1.0, **settings}
        self.http = stack.system.http()
        self.call("POST", "datasets", json={**CONTRACT, "name": self.dataset}, params={"wait": 30})
        body = {"name": self.name, "kind": "simulator", "dataset": self.dataset, "settings": self.settings}
        self.call("POST", "sources", json=body)

    def call(self, method: str, path: str, **options: Any) -> Any:
        def answered() -> httpx.Response | None:
            # After a fault of the test before the API may still hold connections that are lost.
            answer = self.http.request(method, f"/api/v1/{path}", **options)
            return None if answer.status_code == 503 else answer

        answer = eventually(answered, f"{method} {path} is answered")
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    @property
    def row(self) -> dict[str, Any]:
        return self.stack.system.query("SELECT * FROM gristmill.sources WHERE name = %s", (self.name,))[0]

    def goes_on(self, batches: int = 3, seconds: float = 30) -> dict[str, Any]:
        """Wait until it has submitted so many batches more."""
        before = self.row["batches"]
        return dict(
            eventually(
                lambda: (row := self.row)["batches"] >= before + batches and row,
                lambda: f"it submits batches: {self.row}",
                seconds,
            )
        )

    def check(self) -> int:
        """Pause it, wait for its jobs, and compare the table with what the simulator emits; return how many rows."""
        self.call("PATCH", f"sources/{self.name}", json={"state": "paused"})
        query = self.stack.system.query
        label = json.dumps({"source": self.name})
        unfinished = "SELECT id FROM gristmill.jobs WHERE labels @> %s AND finished_at IS NULL"
        eventually(lambda: not query(unfinished, (label,)), "its jobs have finished", 60)
        row = self.row
        jobs = query("SELECT state FROM gristmill.jobs WHERE labels @> %s", (label,))
        assert {one["state"] for one in jobs} == {"succeeded"}
        assert len(jobs) == row["batches"], "each batch is one job"
        count = row["position"]["count"]
        assert (row["records"], row["rejected"]) == (count, 0)
        kind = Simulator(SimulatorSettings(**self.settings))
        expected = {(one["id"], one["value"]) for one in (kind._record(number, 0.0) for number in range(count))}
        rows = query(f'SELECT id::text, value FROM data."{self.dataset}"')
        assert len(rows) == count, "none is there twice, and none is lost"
        assert {(one["id"], one["value"]) for one in rows} == expected
        return int(count)

    def close(self) -> None:
        self.http.delete(f"/api/v1/sources/{self.name}")
        self.http.close()


@pytest.fixture
def watched(stack: FaultStack) -> Iterator[Watched]:
    found = Watched(stack)
    yield found
    found.close()


def start(stack: FaultStack, *names: str, **settings: Any) -> None:
    stack.system.start(*names, **{**SETTINGS, **settings})


def blocked_in_transaction(stack: FaultStack, by: Any) -> bool:
    """Say whether a runner has staged its jobs and waits for a row that the connection ``by`` has locked."""
    rows = stack.system.query(BLOCKED, (RUNNER,))
    return any(by.info.backend_pid in row["by"] for row in rows)


class TestKilledRunner:
    def test_before_it_submits(self, stack: FaultStack, watched: Watched) -> None:
        start(stack, "runner")
        watched.goes_on()
        with stack.locked("LOCK TABLE gristmill.jobs IN ACCESS EXCLUSIVE MODE"):
            eventually(lambda: stack.system.query(WAITING, (RUNNER, "gristmill.jobs")), "it waits for the table")
            before = watched.row
            stack.system.kill("runner")
        assert watched.row["batches"] == before["batches"], "nothing of it is there"
        start(stack, "runner2")
        assert watched.goes_on()["epoch"] > before["epoch"]
        assert watched.check() > 0

    def test_inside_its_transaction(self, stack: FaultStack, watched: Watched) -> None:
        start(stack, "runner")
        watched.goes_on()
        with stack.locked(LOCK_ROW, (watched.name,)) as row:
            eventually(lambda: blocked_in_transaction(stack, row), "jobs are staged, the position is not moved")
            before = watched.row
            stack.system.kill("runner")
        start(stack, "runner2")
        watched.goes_on()
        assert watched.row["epoch"] > before["epoch"]
        assert watched.check() > 0

    def test_after_its_commit_again_and_again(self, stack: FaultStack, watched: Watched) -> None:
        for turn in range(4):
            name = f"runner{turn}"
            start(stack, name)
            seen = watched.goes_on(1)["batches"]
            eventually(lambda seen=seen: watched.row["batches"] > seen, "the next commit", every=0.001)
            stack.system.kill(name)
        start(stack, "runner")
        watched.goes_on()
        assert watched.check() > 0


@pytest.mark.promise(8)
class TestFrozenRunner:
    def test_beyond_its_lease_and_woken_it_submits_nothing_more(self, stack: FaultStack, watched: Watched) -> None:
        start(stack, "runner")
        before = watched.goes_on()
        stack.pause("runner")
        start(stack, "runner2")
        after = watched.goes_on()
        assert after["epoch"] > before["epoch"]
        assert after["owner"] != before["owner"]
        stack.resume("runner")
        eventually(lambda: stack.events("runner", "source.lease_lost", source=watched.name), "it finds out")
        owner = watched.goes_on()["owner"]
        assert owner == after["owner"], "the second one keeps it"
        assert watched.check() > 0

    def test_inside_its_transaction_is_rolled_back(self, stack: FaultStack, watched: Watched) -> None:
        """Its last statement is through, and nobody will ever send the COMMIT before the lease is over."""
        # Its session idles in the transaction for as long as a lease: long enough to be seen on a busy machine.
        start(stack, "runner", sources_lease=10)
        watched.goes_on()
        with stack.locked(LOCK_ROW, (watched.name,)) as row:
            eventually(lambda: blocked_in_transaction(stack, row), "jobs are staged, the position is not moved")
            before = watched.row
            stack.pause("runner")
        eventually(lambda: stack.system.query(IDLE, (RUNNER,)), "the position is moved, and not committed")
        start(stack, "runner2")
        after = watched.goes_on()
        assert after["epoch"] > before["epoch"]
        stack.resume("runner")
        eventually(lambda: stack.events("runner", "source.lease_lost", source=watched.name), "it finds out")
        watched.goes_on()
        assert watched.check() > 0


class TestStoppedRunner:
    def test_gives_its_leases_back_at_once(self, stack: FaultStack, watched: Watched) -> None:
        start(stack, "runner")
        watched.goes_on()
        process = stack.system.processes["runner"]
        stack.system.terminate("runner", seconds=20)
        assert process.returncode == 0
        row = watched.row
        assert (row["owner"], row["lease_until"], row["state"]) == (None, None, "running")
        began = time.monotonic()
        start(stack, "runner2", sources_lease=60)
        watched.goes_on(1)
        assert time.monotonic() - began < 30, "no lease has to run out"
        assert watched.check() > 0


class TestSeveralRunners:
    def test_each_source_is_one_runners_and_the_other_takes_what_is_left(self, stack: FaultStack) -> None:
        sources = [Watched(stack, seed=seed) for seed in range(4)]
        try:
            start(stack, "runner", "runner2", sources_most=2)
            for one in sources:
                one.goes_on()
            owners = [one.row["owner"] for one in sources]
            assert sorted(owners.count(owner) for owner in set(owners)) == [2, 2]
            stack.system.kill("runner")
            start(stack, "runner3", sources_most=2)
            for one in sources:
                one.goes_on()
                one.check()
        finally:
            for one in sources:
                one.close()


class TestPostgresAway:
    def test_it_waits_and_goes_on(self, stack: FaultStack, watched: Watched) -> None:
        start(stack, "runner")
        watched.goes_on()
        pid = stack.system.processes["runner"].pid
        stack.kill_postgres()
        eventually(lambda: stack.events("runner", "source.waiting", source=watched.name), "it waits")
        assert "database_unavailable" in stack.events("runner", "source.waiting")[0]["reason"]
        stack.start_postgres()
        watched.goes_on(seconds=60)
        process = stack.system.processes["runner"]
        assert (process.pid, process.poll()) == (pid, None)
        assert watched.check() > 0


@pytest.mark.promise(7)
class TestNoRoomInTheQueue:
    def test_it_keeps_what_it_has_and_goes_on(self, stack: FaultStack, watched: Watched) -> None:
        stack.system.kill("dispatcher")
        start(stack, "runner", jobs_max_queued=5)
        found = eventually(
            lambda: (body := watched.call("GET", f"sources/{watched.name}"))["waits_for"] and body["runner"] and body,
            "it waits",
        )
        assert found["waits_for"].startswith("too_many: "), found["waits_for"]
        held = watched.row["position"]
        eventually(
            lambda: (
                watched.call("GET", f"sources/{watched.name}")["lag"]["seconds"] > 2
                and watched.row["lag_records"] > 100
            ),
            "it falls behind",
        )
        assert watched.row["position"] == held
        text = watched.http.get("/metrics").text
        assert f'gristmill_source_lag_records{{kind="simulator",source="{watched.name}"}}' in text
        stack.system.start("dispatcher")
        watched.goes_on(20, 60)
        assert watched.check() > 100


class TestAnyFaults:
    """Two runners and three sources; what befalls them is drawn, and the seed is printed where it fails."""

    def test_in_any_order(self, stack: FaultStack) -> None:
        seed = random.SystemRandom().randrange(10**6)
        draw = random.Random(seed)
        sources = [Watched(stack, seed=number, batch_size=size) for number, size in enumerate((1, 5, 40))]
        alive = ["runner", "runner2"]
        start(stack, *alive)
        done: list[str] = []
        try:
            for turn in range(14):
                victim, source = draw.choice(alive), draw.choice(sources)
                what = draw.choice(("kill", "freeze", "stop", "pause", "change", "nothing"))
                done.append(f"{what} {victim} {source.name}")
                if what in ("kill", "stop"):
                    (stack.system.kill if what == "kill" else stack.system.terminate)(victim)
                    alive.remove(victim)
                    alive.append(f"runner{turn + 3}")
                    start(stack, alive[-1])
                elif what == "freeze":
                    stack.pause(victim)
                    source.goes_on(1, 60)
                    stack.resume(victim)
                elif what == "pause":
                    source.call("PATCH", f"sources/{source.name}", json={"state": "paused"})
                    held = source.row["records"]
                    source.call("PATCH", f"sources/{source.name}", json={"state": "running"})
                    assert source.row["records"] >= held
                elif what == "change":
                    settings = {"batch_size": draw.randrange(1, 50), "interval": draw.choice((0.002, 0.005, 0.02))}
                    source.call("PATCH", f"sources/{source.name}", json={"settings": settings})
                source.goes_on(2, 60)
            for one in sources:
                one.goes_on(1, 60)
                one.check()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {done}: {error}") from error
        finally:
            for one in sources:
                one.close()
