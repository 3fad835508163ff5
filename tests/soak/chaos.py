"""Kills what it likes, when it likes, and starts it again."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from tests.support.faults import FaultStack

WORKERS = ("worker", "worker2")
DISPATCHERS = ("dispatcher", "dispatcher2")


class Chaos:
    """One fault after the other, in a thread of its own, until ``stop``; now and then the next comes at once."""

    def __init__(self, stack: FaultStack, seed: int) -> None:
        self._stack = stack
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.faults: Counter[str] = Counter()
        self.error: BaseException | None = None
        # A fault and how often it is chosen among the others.
        self._kinds: list[tuple[str, Callable[[], None], int]] = [
            ("worker killed", self._kill_worker, 5),
            ("dispatcher killed", lambda: self._kill(self._chance.choice(DISPATCHERS)), 3),
            ("api killed", lambda: self._kill("api"), 3),
            ("broker killed, back empty", lambda: self._restart_broker(empty=True), 1),
            ("broker killed, back with its data", lambda: self._restart_broker(empty=False), 1),
            ("postmaster killed", self._restart_postgres, 1),
            ("worker frozen beyond its lease", self._freeze_worker, 1),
        ]

    def start(self) -> None:
        self._thread.start()

    def complete(self) -> bool:
        """Say whether every kind of fault has come up."""
        return len(self.faults) == len(self._kinds)

    def stop(self) -> None:
        """Finish the fault at hand, mend everything, and end."""
        self._stop.set()
        self._thread.join(180)
        if self.error is not None:
            raise self.error
        assert not self._thread.is_alive(), "the last fault does not end"

    def _run(self) -> None:
        names, acts, weights = zip(*self._kinds, strict=True)
        # Every kind once before chance decides, so that short runs see each of them.
        planned = self._chance.sample(range(len(names)), len(names))
        try:
            while not self._stop.wait(self._chance.uniform(0.2, 2.0)):
                place = planned.pop() if planned else self._chance.choices(range(len(names)), weights)[0]
                acts[place]()
                self.faults[names[place]] += 1
                if self._chance.random() < 0.7:
                    self._see_work()
        except BaseException as error:  # noqa: BLE001 - told to whoever stops this
            self.error = error

    def _see_work(self) -> None:
        """Wait until some more jobs have finished: a fault tells most about a system that is at work.

        Not for ever, though: what never comes back is found when the books are checked.
        """
        deadline = time.monotonic() + 20
        before = self._finished()
        while self._finished() < before + 10 and time.monotonic() < deadline and not self._stop.is_set():
            time.sleep(0.1)

    def _finished(self) -> int:
        found = self._stack.system.query("SELECT count(*) AS n FROM gristmill.jobs WHERE finished_at IS NOT NULL")
        return int(found[0]["n"])

    def _pause(self) -> None:
        time.sleep(self._chance.uniform(0, 1.5))

    def _kill(self, name: str) -> None:
        self._stack.system.kill(name)
        self._pause()
        self._stack.system.spawn(name)

    def _kill_worker(self) -> None:
        self._kill(self._chance.choice(WORKERS))

    def _restart_broker(self, empty: bool) -> None:
        self._stack.kill_broker()
        self._pause()
        self._stack.start_broker(empty=empty)

    def _restart_postgres(self) -> None:
        self._stack.kill_postgres()
        self._pause()
        self._stack.start_postgres()

    def _freeze_worker(self) -> None:
        name = self._chance.choice(WORKERS)
        self._stack.pause(name)
        # Longer than the lease, so that what it works on is given to the other one.
        time.sleep(float(self._stack.system.settings["jobs_lease"]) + 1.5)
        self._stack.resume(name)
