"""Clients that submit batches without a pause to think, and repeat with its Idempotency-Key what is not answered."""

import random
import threading
import time
from dataclasses import dataclass, field

import httpx

from tests.support.ledger import Ledger, Record

# Few names, so that jobs that run at the same time write the same rows.
NAMES = 200
# Mostly small; one that goes by COPY; one of several chunks (see CHUNK_RECORDS).
SIZES = (1, 1, 1, 2, 2, 3, 3, 5, 5, 8, 8, 20, 20, 250, 250, 700)
CHUNK_RECORDS = 300


@dataclass
class Load:
    """Threads that submit to the ledgers until ``stop``; what went wrong is in ``violations``."""

    ledgers: list[Ledger]
    seed: int
    clients: int = 4
    pause: float = 0.05
    repeated: int = 0
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._submit, args=(random.Random(self.seed * 1000 + number),), daemon=True)
            for number in range(self.clients)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every request that has begun come to its answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join(180)
            if thread.is_alive():
                self.violations.append("a client still waits for its answer")

    def _submit(self, chance: random.Random) -> None:
        # A short time limit: an API that hangs is asked again, while the first request may still go on inside it.
        with httpx.Client(timeout=10) as client:
            while not self._stop.is_set():
                ledger = chance.choice(self.ledgers)
                try:
                    _, asked = ledger.post_until_answered(client, _records(chance), seconds=150)
                    self.repeated += asked - 1
                except AssertionError as error:
                    self.violations.append(str(error))
                time.sleep(chance.uniform(0, 2 * self.pause))


def _records(chance: random.Random) -> list[Record]:
    size = chance.choice(SIZES)
    return [{"name": f"n{chance.randrange(NAMES)}", "value": chance.randrange(2**60)} for _ in range(size)]
