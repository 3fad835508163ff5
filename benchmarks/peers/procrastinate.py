"""procrastinate behind the same kind of endpoint: jobs over HTTP, submit to done, by the same load generator.

Plan: {url, workers, concurrencies, history, trial_seconds, seconds, connections, wait_every, request}; request is what
``load.Plan`` takes: path, method, headers with an Idempotency-Key, bodies.

Settings: the async connector and an ``async def`` task (docs: discussions, "asynchronous"; the way its docs recommend),
``uvicorn`` with uvloop and one process, as Gristmill's API; as many worker processes as Gristmill has. Its docs say of
throughput "launch multiple workers, each using their own process" and ``--concurrency=30`` (howto/concurrency): each of
``concurrencies`` is tried for ``trial_seconds``, and the best one measured. Jobs are kept when done, the default.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from importlib.metadata import version
from typing import Any

import psycopg

from benchmarks import load
from benchmarks.figures import Times
from benchmarks.peers import environment

_APP = "benchmarks.peers.procrastinate_app"


def main() -> None:
    plan = json.load(sys.stdin)
    os.environ["PEER_URL"] = plan["url"]
    _prepare(plan["url"])
    with psycopg.connect(plan["url"], autocommit=True) as connection:
        trials = {}
        for concurrency in plan["concurrencies"]:
            found = _measure(plan, connection, concurrency, plan["history"] if not trials else 0, plan["trial_seconds"])
            trials[concurrency] = found["done_per_second"]
        best = max(trials, key=lambda concurrency: trials[concurrency])
        found = _measure(plan, connection, best, 0, plan["seconds"])
    print(json.dumps({"version": version("procrastinate"), "concurrency": best, "trials": trials, **found}))


def _prepare(url: str) -> None:
    # Imported here: the module takes the address of Postgres from the environment when it is read.
    from benchmarks.peers.procrastinate_app import TABLE, queue  # noqa: PLC0415 - as said above

    async def apply() -> None:
        async with queue.open_async():
            await queue.schema_manager.apply_schema_async()

    asyncio.run(apply())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLE)


def _measure(
    plan: dict[str, Any], connection: psycopg.Connection[Any], concurrency: int, history: int, seconds: float
) -> dict[str, Any]:
    """Return the rates of ``seconds`` of load, after ``history`` more jobs that are not counted."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"env": environment(), "stdout": subprocess.DEVNULL, "stderr": sys.stderr}
    serve = [sys.executable, "-m", "uvicorn", f"{_APP}:api", "--port", str(port), "--no-access-log", "--loop", "uvloop"]
    work = [sys.executable, "-m", "procrastinate", f"--app={_APP}.queue", "worker", f"--concurrency={concurrency}"]
    started = [subprocess.Popen(serve, **quiet)]  # type: ignore[call-overload]
    started += [subprocess.Popen(work, **quiet) for _ in range(plan["workers"])]  # type: ignore[call-overload]
    shape = {"connections": plan["connections"], "wait_every": plan["wait_every"]}
    try:
        _await_port(port, started[0])
        _await_workers(connection, plan["workers"], started)
        load.drive(load.Plan(port, **_renewed(plan["request"]), requests=max(history, 100), **shape))
        _drain(connection)
        before = _done(connection)
        answers = load.drive(load.Plan(port, **_renewed(plan["request"]), seconds=seconds, **shape))
        done = _done(connection) - before
        waited = time.perf_counter()
        _drain(connection)
        failed = connection.execute("SELECT count(*) FROM procrastinate_jobs WHERE status = 'failed'").fetchone()
        if failed != (0,):
            raise RuntimeError(f"{failed} jobs failed")
        return {
            "submitted_per_second": round(answers.count / answers.wall, 1),
            "done_per_second": round(done / answers.wall, 1),
            "drain_seconds": round(time.perf_counter() - waited, 2),
            "post": Times.of(answers.times).values(),
        }
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


def _renewed(request: dict[str, Any]) -> dict[str, Any]:
    """Return the request with keys that no earlier one has had."""
    key = uuid.uuid4().hex[:20] + "{n:012}"
    return {**request, "headers": {**request["headers"], "idempotency-key": key}}


def _await_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.1)


def _await_workers(
    connection: psycopg.Connection[Any], wanted: int, processes: "list[subprocess.Popen[bytes]]", seconds: float = 60
) -> None:
    """Wait until all workers have their heart beating; those of the trial before are gone from the table or stale."""
    deadline = time.monotonic() + seconds
    beating = "SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > now() - interval '15 s'"
    while (found := connection.execute(beating).fetchone()) is None or found[0] < wanted:
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            raise RuntimeError(f"procrastinate's workers did not start: {found}")
        time.sleep(0.1)


def _done(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'").fetchone()
    assert row is not None
    return int(row[0])


def _drain(connection: psycopg.Connection[Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    unfinished = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
    while connection.execute(unfinished).fetchone() != (0,):
        if time.monotonic() > deadline:
            raise RuntimeError(f"jobs are unfinished after {seconds:g} s")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
