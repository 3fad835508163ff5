"""From a kill -9 of each part to jobs flowing again, with the default lease of a minute; and ``gristmill status``.

The yardsticks are bare boots of the same servers, and the import of the API in a new interpreter.
"""

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from gristmill.client import Client, ClientError, Retry
from gristmill.stack import PostgresServer, RabbitServer
from gristmill.stack.server import Server

_LOADERS = 4
_LOAD_RECORDS = 2_000
_PATIENCE = 180.0


def run(bench: Bench) -> Iterator[Row]:
    """Yield one row for each part that is killed, quiet first, then what is measured under load."""
    bench.small_dataset()
    imported = _median(lambda: _seconds(_python("-c", "import gristmill.api.__main__")))
    yield _row("import of the API, a new interpreter, median of 5", imported, 0.8)
    boots = {server.name: _bare_boot(server) for server in _bare_servers(bench.folder / "bare")}
    yield Row("  bare boots", ", ".join(f"{name} {show(took)} s" for name, took in boots.items()), values=boots)
    yield _row("gristmill status, quiet, median of 5", _median(lambda: _status(bench)), 0.5)
    _flow(bench, time.perf_counter())
    yield from _kills_of_a_worker(bench)
    for name, limit in (("api", 3.0), ("rabbitmq", boots["rabbitmq"] + 2), ("postgres", 4.0)):
        yield _row(f"kill -9 of {name}: until a job was submitted and done", _killed(bench, name), limit)
    yield _row(
        "kill -9 of the supervisor, then `up`: until a job was submitted and done",
        _supervisor_killed(bench),
        sum(boots.values()) + 3,
    )
    with _load(bench):
        yield _row("gristmill status, loaded, median of 5", _median(lambda: _status(bench)), 2.0)
        took = _killed(bench, "postgres")
        yield _row("kill -9 of postgres under load: until a job was submitted and done", took, 10.0)
    bench.up()
    bench.wait_idle()


def _row(what: str, seconds: float, limit: float) -> Row:
    return Row(what, f"{show(seconds)} s", f"≤ {show(limit)} s", seconds <= limit, {"seconds": round(seconds, 3)})


def _median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(5))


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def _status(bench: Bench) -> float:
    return _seconds(_python("-m", "gristmill.cli.main", "status", "--data", str(bench.stack.folder.path)))


def _bare_servers(folder: Path) -> list[Server]:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # root's Postgres runs as a system user, who must be able to enter
    return [PostgresServer(folder / "postgres"), RabbitServer(folder / "rabbitmq")]


def _bare_boot(server: Server) -> float:
    """Return how long it takes to boot a second time, after a kill, until it answers."""
    server.start()
    server.kill()
    began = time.perf_counter()
    server.start()
    took = time.perf_counter() - began
    server.kill()
    return took


def _flow(bench: Bench, began: float) -> float:
    """Submit a small job again and again until one is done; return the seconds since ``began``."""
    url, dataset = bench.client.base_url, bench.small_dataset()
    while time.perf_counter() - began < _PATIENCE:
        with contextlib.suppress(ClientError), Client(url, timeout=5, retry=Retry(attempts=1)) as client:
            # A job that was accepted goes on whatever becomes of the call that waits for it.
            job = client.submit(dataset, [bench.small_record("flow")])
            while not job["done"] and time.perf_counter() - began < _PATIENCE:
                time.sleep(0.01)
                with contextlib.suppress(ClientError):
                    job = client.job(job["id"])
            return time.perf_counter() - began
        time.sleep(0.02)
    raise RuntimeError(f"no job was done within {_PATIENCE:g} s")


def _killed(bench: Bench, name: str) -> float:
    pid = bench.pids()[name]
    began = time.perf_counter()
    os.kill(pid, signal.SIGKILL)
    took = _flow(bench, began)
    _settle(bench)
    return took


def _supervisor_killed(bench: Bench) -> float:
    began = time.perf_counter()
    os.kill(bench.pids()["supervisor"], signal.SIGKILL)
    # As a service manager or a person would, at once.
    starting = threading.Thread(target=bench.stack.up)
    starting.start()
    took = _flow(bench, began)
    starting.join()
    _settle(bench)
    return took


def _settle(bench: Bench) -> None:
    """Wait until every service answers again."""
    began = time.monotonic()
    while not bench.stack.status(10).ok:
        if time.monotonic() - began > _PATIENCE:
            raise RuntimeError("not every service answers again")
        time.sleep(0.1)


def _kills_of_a_worker(bench: Bench) -> Iterator[Row]:
    """Kill what runs a chunk that waits for a lock; then the parent of such a process."""
    for what in ("pool process", "worker parent"):
        table = f"data.{bench.small_dataset()}"
        with bench.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"BEGIN; SET idle_in_transaction_session_timeout = 0; LOCK TABLE {table}")
            job = bench.client.submit(bench.small_dataset(), [bench.small_record("held")])
            pid = _holder(bench, job["id"])
            victim = pid if what == "pool process" else psutil.Process(pid).ppid()
            began = time.perf_counter()
            os.kill(victim, signal.SIGKILL)
            while bench.row("SELECT state, fence FROM gristmill.chunks WHERE job_id = %s", (job["id"],)) == (
                "running",
                1,
            ):
                time.sleep(0.01)
            freed = time.perf_counter() - began
            cursor.execute("ROLLBACK")
        yield _row(f"kill -9 of a {what}: until its chunk is free", freed, 3.0)
        bench.client.wait(job["id"])
        yield Row("  until it has run again", f"{show(time.perf_counter() - began)} s")
        _settle(bench)


def _holder(bench: Bench, job_id: str) -> int:
    while True:
        state, worker = bench.row("SELECT state, worker FROM gristmill.chunks WHERE job_id = %s", (job_id,))
        if state == "running":
            # ``host:pid/…``
            return int(worker.partition("/")[0].rpartition(":")[2])
        time.sleep(0.01)


@contextlib.contextmanager
def _load(bench: Bench) -> Iterator[None]:
    """Keep the machine busy: clients that submit batches, each as soon as the one before was accepted."""
    stop = threading.Event()
    url, dataset = bench.client.base_url, bench.small_dataset()

    def load(loader: int) -> None:
        with Client(url, timeout=30) as client:
            number = 0
            while not stop.is_set():
                first, number = number, number + _LOAD_RECORDS
                records = [bench.small_record(f"{loader}-{n}") for n in range(first, number)]
                with contextlib.suppress(ClientError):
                    client.submit(dataset, records)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(_LOADERS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(bench.size(20, 3))
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
