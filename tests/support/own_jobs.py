"""Declared job types for tests, each with a fault that its arguments ask for.

Each writes one row per attempt to ``data.own_effects``: the transactional ones within their transaction.
"""

import contextlib
import os
import signal
import time
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import AwareDatetime, BaseModel, Field, field_validator
from sqlalchemy import text

from gristmill.plugin import Conflict, GristmillError, JobRun, job_type

TABLE = """
CREATE TABLE IF NOT EXISTS data.own_effects (
    job_id uuid, type text, attempt int, fence int, note text, at timestamptz DEFAULT clock_timestamp())
"""
INSERT = "INSERT INTO data.own_effects (job_id, type, attempt, fence, note) VALUES (:j, :t, :a, :f, :n)"


def effect(run: JobRun, connection: Any, note: str = "") -> None:
    connection.execute(text(INSERT), {"j": run.job_id, "t": run.type, "a": run.attempt, "f": run.fence, "n": note})


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    weight: Decimal = Field(gt=0)
    colour: Colour = Colour.RED


class Report(BaseModel):
    name: str = Field(min_length=1, max_length=20)
    since: AwareDatetime | None = None
    parts: list[Part] = []
    value: int | str = 0


@job_type("own.report", max_attempts=3)
def report(run: JobRun, args: Report) -> dict[str, Any]:
    """Write a report

    It says what it was asked for.
    """
    effect(run, run.connection, args.name)
    run.report(0.5)
    run.check()
    return {
        "name": args.name,
        "weight": sum((part.weight for part in args.parts), Decimal(0)),
        "since": args.since,
        "job": run.job_id,
        "who": run.submitted_by,
        "labels": run.labels,
    }


@job_type("own.plain")
def plain(run: JobRun) -> None:
    """Nothing but its effect."""
    effect(run, run.connection)


@job_type("own.small", shares=True)
def small(run: JobRun, args: Report) -> dict[str, Any]:
    """Many of them share a transaction; one called ``bad`` is refused."""
    effect(run, run.connection, args.name)
    if args.name == "bad":
        raise Conflict("a bad one")
    return {"name": args.name}


@job_type("own.line", shares=True, exclusive=True)
def line(run: JobRun, args: Report) -> dict[str, Any]:
    """One after another, many in a transaction, each under a savepoint."""
    with run.connection.begin_nested():
        effect(run, run.connection, args.name)
    if args.name == "bad":
        raise Conflict("a bad one")
    if args.name == "open":
        run.connection.begin_nested()
    return {"name": args.name}


@job_type("own.admin", permission="admin")
def for_admins(run: JobRun) -> dict[str, str]:
    return {"for": "admins"}


@job_type("own.reader", permission="read")
def for_readers(run: JobRun) -> dict[str, str]:
    return {"for": "readers"}


class About(BaseModel):
    dataset: str
    other: str | None = None


@job_type("own.count", dataset="{dataset}", exclusive=True)
def count(run: JobRun, args: About) -> dict[str, Any]:
    """Count the rows of a dataset."""
    return {"rows": run.connection.execute(text(f'SELECT count(*) FROM data."{args.dataset}"')).scalar_one()}


@job_type("own.copy", dataset="{dataset}", scopes={"dataset:{other}": "exclusive", "press": "shared"})
def copy(run: JobRun, args: About) -> dict[str, Any]:
    return {"dataset": run.dataset}


class Chain(BaseModel):
    left: int
    fail: bool = False


@job_type("own.chain")
def chain(run: JobRun, args: Chain) -> dict[str, Any]:
    """Submit the next of its kind in its own transaction."""
    effect(run, run.connection, str(args.left))
    following = run.submit(chain, Chain(left=args.left - 1), labels={"chain": "yes"}) if args.left else None
    if args.fail:
        raise Conflict("after the next one was submitted")
    return {"next": following}


class Fault(BaseModel):
    do: str
    until: int = 1000
    file: str = ""


@job_type("own.faulty", max_attempts=2, retry_on=(ConnectionError, KeyError))
def faulty(run: JobRun, args: Fault) -> Any:
    """Does what no function should."""
    effect(run, run.connection, args.do)
    if run.attempt >= args.until:
        return {"attempt": run.attempt}
    return FAULTS[args.do](run, args)


def _raise(run: JobRun, args: Fault) -> Any:
    raise ZeroDivisionError("no such number")


def _raise_listed(run: JobRun, args: Fault) -> Any:
    raise ConnectionError("nobody answers")


def _swallow(run: JobRun, args: Fault) -> Any:
    try:
        run.connection.execute(text("SELECT 1/0"))
    except Exception:  # noqa: BLE001 - what the test is about
        return {"swallowed": True}
    return None


def _leave_savepoint(run: JobRun, args: Fault) -> Any:
    run.connection.begin_nested()
    return {}


def _statement(sql: str) -> Any:
    def do(run: JobRun, args: Fault) -> Any:
        run.connection.exec_driver_sql(sql)
        return {}

    return do


def _raw_commit(run: JobRun, args: Fault) -> Any:
    run.connection.connection.commit()
    return {}


def _sleep(run: JobRun, args: Fault) -> Any:
    while not Path(args.file).exists():
        time.sleep(0.02)
    return {}


def _deaf(run: JobRun, args: Fault) -> Any:
    while not Path(args.file).exists():
        try:
            time.sleep(0.02)
        except Exception:  # noqa: BLE001 - what the test is about
            run.log.info("own.deaf")
    return {}


def _sleep_in_sql(run: JobRun, args: Fault) -> Any:
    run.connection.exec_driver_sql("SELECT pg_sleep(3600)")
    return {}


def _sleep_checked(run: JobRun, args: Fault) -> Any:
    while not Path(args.file).exists():
        run.check()
        time.sleep(0.02)
    return {}


def _commit_caught(run: JobRun, args: Fault) -> Any:
    with contextlib.suppress(GristmillError):
        run.connection.commit()
    return {}


FAULTS: dict[str, Any] = {
    "raise": _raise,
    "raise_listed": _raise_listed,
    "swallow": _swallow,
    "leave_savepoint": _leave_savepoint,
    "commit": lambda run, args: run.connection.commit(),
    "commit_caught": _commit_caught,
    "rollback": lambda run, args: run.connection.rollback(),
    "close": lambda run, args: run.connection.close(),
    "raw_commit": _raw_commit,
    "sql_commit": _statement("COMMIT"),
    "sql_commit_begin": _statement("COMMIT; BEGIN"),
    "sql_rollback": _statement("ROLLBACK"),
    "database": lambda run, args: run.database,
    "die": lambda run, args: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda run, args: os._exit(3),
    "sleep": _sleep,
    "deaf": _deaf,
    "sleep_in_sql": _sleep_in_sql,
    "sleep_checked": _sleep_checked,
    "nan": lambda run, args: {"days": [1.0, float("nan")]},
    "nul": lambda run, args: {"text": "a\0b"},
    "object": lambda run, args: {"thing": object()},
    "list": lambda run, args: [1, 2],
    "large": lambda run, args: {"text": "x" * 100_000},
    "values": lambda run, args: {
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "id": uuid.UUID(int=7),
        "d": Decimal("1.10"),
        "numpy": [np.int64(7), np.float32(0.5)],
    },
}


LEAKED: list[Any] = []


class Outside(BaseModel):
    folder: str
    wait: str = ""
    leak: bool = False
    die_until: int = 0


@job_type("own.outside", idempotent=True)
def outside(run: JobRun, args: Outside) -> dict[str, Any]:
    """Makes a file named by the job, in two steps, and waits between them if asked to."""
    path = Path(args.folder, f"{run.job_id}.{run.fence}")
    path.with_suffix(".begun").touch()
    with run.database.transaction() as connection:
        effect(run, connection, "begun")
    if run.attempt <= args.die_until:
        os.kill(os.getpid(), signal.SIGKILL)
    while args.wait and not Path(args.wait).exists():
        run.check()
        time.sleep(0.02)
    if args.leak:
        LEAKED.append(run.database.transaction())
        LEAKED[-1].__enter__()
    path.write_text("whole")
    # What an attempt before has left is adopted: there is one file of each job.
    for other in Path(args.folder).glob(f"{run.job_id}.*"):
        if other != path:
            other.unlink()
    return {"fence": run.fence}


class Checked(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def known(cls, value: str) -> str:
        if value == "boom":
            raise KeyError(value)
        if value == "odd":
            raise ValueError("an even name is needed")
        return value


@job_type("own.checked")
def checked(run: JobRun, args: Checked) -> None:
    """Its model has a check of its own, which itself may fail."""
