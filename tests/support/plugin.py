"""Job types for tests of the protocol; loaded by the setting jobs_plugins = tests.support.plugin.

Each writes one row per chunk to ``data.effects``: what was done, and how often.
"""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import Connection, text

from gristmill.plugin import (
    ChunkTask,
    Conflict,
    IdempotentHandler,
    Outcome,
    Pair,
    Registry,
    SharingHandler,
    TransactionalHandler,
    Unavailable,
)

EFFECTS = """
CREATE TABLE IF NOT EXISTS data.effects (
    job_id uuid, number int, fence int, attempt int, payload text, at timestamptz DEFAULT clock_timestamp())
"""


def _record(connection: Connection, task: ChunkTask) -> None:
    connection.execute(
        text("INSERT INTO data.effects (job_id, number, fence, attempt, payload) VALUES (:j, :n, :f, :a, :p)"),
        {"j": task.job_id, "n": task.number, "f": task.fence, "a": task.attempt, "p": (task.payload or b"").decode()},
    )


class Echo(TransactionalHandler):
    type = "test.echo"

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        _record(connection, task)
        return Outcome(succeeded=task.records)


class Crash(TransactionalHandler):
    """Kills its own process at every attempt below ``args.until`` (default: at every one)."""

    type = "test.crash"

    def prepare(self, task: ChunkTask) -> None:
        if task.attempt < task.args.get("until", 1000):
            os.kill(os.getpid(), signal.SIGKILL)

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        _record(connection, task)
        return Outcome(succeeded=task.records)


class Fail(TransactionalHandler):
    """Fails for good, or with ``args.retryable`` below attempt ``args.until``, or in chunk ``args.chunk`` only."""

    type = "test.fail"

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        _record(connection, task)
        if task.number == task.args.get("chunk", task.number) and not Path(task.args.get("unless", "/none")).exists():
            if task.args.get("retryable"):
                if task.attempt < task.args.get("until", 1000):
                    raise Unavailable("not now")
            else:
                raise Conflict("never")
        return Outcome(succeeded=task.records)


class Wait(TransactionalHandler):
    """Waits in steps until the file ``args.file`` exists; ``args.deaf``: never looks for a cancel.

    ``args.report``: the share of the chunk that it says is done. ``args.waits``: the chunks that wait; all by default.
    """

    type = "test.wait"

    def prepare(self, task: ChunkTask) -> None:
        waits = task.number in task.args.get("waits", [task.number])
        while waits and not Path(task.args["file"]).exists():
            if "report" in task.args:
                task.report(task.args["report"])
            if not task.args.get("deaf"):
                task.check()
            time.sleep(0.02)

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        _record(connection, task)
        return Outcome(succeeded=task.records)


class Slow(TransactionalHandler):
    """Waits for the file ``args.file``; ``args.deaf``: goes on waiting when its time limit is announced."""

    type = "test.slow"

    def prepare(self, task: ChunkTask) -> None:
        while not Path(task.args["file"]).exists():
            try:
                time.sleep(0.02)
            except SoftTimeLimitExceeded:
                if not task.args.get("deaf"):
                    raise

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        _record(connection, task)
        return Outcome(succeeded=task.records)


class Shared(SharingHandler):
    """Writes all chunks of a message at once; ``args.kill``: kills its own process at each attempt; ``fail``: fails."""

    type = "test.shared"

    def prepare(self, task: ChunkTask) -> None:
        if task.args.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if task.args.get("fail"):
            raise Conflict("never")

    def groups(self, pairs: Sequence[Pair]) -> list[list[Pair]]:
        return [list(pairs)]

    def apply_all(self, connection: Connection, group: Sequence[Pair]) -> list[Outcome]:
        for task, _ in group:
            _record(connection, task)
        return [Outcome(succeeded=task.records) for task, _ in group]


class LongWait(Wait):
    type = "test.long"
    queue = "long"


class Outside(IdempotentHandler):
    """An outside effect named by the job: a file that a second attempt overwrites."""

    type = "test.outside"

    def run(self, task: ChunkTask) -> Outcome:
        Path(task.args["folder"], f"{task.job_id}.{task.number}").write_text(str(task.fence))
        return Outcome(succeeded=task.records, result={"fence": task.fence})


def register(registry: Registry, gristmill: Any) -> None:
    for handler in (Echo(), Crash(), Fail(), Wait(), Slow(), Shared(), LongWait(), Outside()):
        registry.add(handler)
