"""One run: load and faults for some seconds, then peace, then the books: every 202 against jobs and table contents."""

import time
from dataclasses import dataclass
from typing import Any

from tests.soak.chaos import DISPATCHERS, WORKERS, Chaos
from tests.soak.load import CHUNK_RECORDS, Load
from tests.support.faults import FaultStack
from tests.support.ledger import Ledger

SETTINGS: dict[str, Any] = {
    "jobs_chunk_records": CHUNK_RECORDS,
    # An attempt is spent whenever a worker is killed under a chunk; so many kills may well hit one of them five times.
    "jobs_max_attempts": 50,
    "jobs_retry_max": 2,
    # The clients are held back by 429 as soon as the workers do not keep up, so that the end is never far.
    "jobs_max_queued": 300,
}


@dataclass
class Report:
    """What happened and what was found."""

    figures: list[tuple[str, str]]
    violations: list[str]

    def __str__(self) -> str:
        width = max(len(name) for name, _ in self.figures)
        lines = [f"  {name:<{width}}  {value:>12}" for name, value in self.figures]
        verdict = self.violations or ["No job was lost, none was applied twice, every row is what it must be."]
        return "\n".join([*lines, "", *verdict])


def run(stack: FaultStack, seconds: float, seed: int, *, pause: float = 0.05) -> Report:
    """Run load and faults on a stack whose settings include SETTINGS, then check everything.

    seconds: how long; longer if by then some kind of fault has not come up yet. pause: what each client rests
    between two submissions, on average.
    """
    stack.ensure(*WORKERS, *DISPATCHERS)
    ledgers = [Ledger(stack.system), Ledger(stack.system, keyed=True)]
    load, chaos = Load(ledgers, seed, pause=pause), Chaos(stack, seed)
    started = time.monotonic()
    load.start()
    chaos.start()
    while time.monotonic() - started < seconds or not chaos.complete():
        if load.violations or chaos.error is not None:
            break
        time.sleep(0.2)
    chaos.stop()
    load.stop()
    calm = time.monotonic()
    for name in list(stack.system.processes):
        stack.system.wait_ready(name)
    violations = load.violations
    for ledger in ledgers:
        try:
            ledger.settle(180)
        except AssertionError as error:
            violations.append(str(error))
        violations += ledger.violations()
    figures = [
        ("seconds under fire", f"{calm - started:.0f}"),
        ("seconds until all had finished", f"{time.monotonic() - calm:.1f}"),
        *((name, str(count)) for name, count in sorted(chaos.faults.items())),
        *_figures(stack, ledgers, load),
    ]
    return Report(figures, violations)


def _figures(stack: FaultStack, ledgers: list[Ledger], load: Load) -> list[tuple[str, str]]:
    names = [ledger.name for ledger in ledgers]
    found = stack.system.query(
        "SELECT count(*) AS chunks, count(*) FILTER (WHERE c.fence > 1) AS again, "
        "count(*) FILTER (WHERE c.dispatch > 1) AS resent, max(c.attempts) AS attempts, max(c.fence) AS fence "
        "FROM gristmill.chunks c JOIN gristmill.jobs j ON j.id = c.job_id WHERE j.dataset = ANY(%s)",
        (names,),
    )[0]
    slowest = stack.system.query(
        "SELECT max(extract(epoch FROM finished_at - created_at))::float AS slowest FROM gristmill.jobs "
        "WHERE dataset = ANY(%s)",
        (names,),
    )[0]["slowest"]
    return [
        ("jobs accepted", str(sum(len(ledger.accepted) for ledger in ledgers))),
        ("records accepted", str(sum(len(batch) for ledger in ledgers for batch in ledger.accepted.values()))),
        ("rows at the end", str(sum(len(ledger.rows()) for ledger in ledgers))),
        ("requests repeated", str(load.repeated)),
        ("chunks", str(found["chunks"])),
        ("chunks sent more than once", str(found["resent"])),
        ("chunks claimed more than once", str(found["again"])),
        ("most claims of one chunk", str(found["fence"])),
        ("most attempts of one chunk", str(found["attempts"])),
        ("slowest job, seconds", f"{slowest or 0:.1f}"),
    ]
