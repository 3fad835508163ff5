"""Where and under which settings was measured: hardware, versions, and durability as the running services tell it."""

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]

from benchmarks.harness import Bench
from gristmill.stack import RabbitServer
from gristmill.stack import rabbitmq as rabbit

PACKAGES = ("gristmill", "celery", "kombu", "sqlalchemy", "psycopg2-binary", "fastapi", "uvicorn", "pyarrow", "flower")


def describe_machine(data: Path) -> dict[str, Any]:
    """Return processor, memory, kernel, the disk below ``data``, and how busy the machine is with other things."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "disk": _file_system(data),
        "fsync_ms": round(_fsync_ms(data), 2),
        "load_before": [round(load, 1) for load in os.getloadavg()],
    }


def describe_versions(bench: Bench) -> dict[str, str]:
    """Return the versions of Python, servers and libraries."""
    server, vector = bench.row("SELECT split_part(version(), ' ', 2), (SELECT extversion FROM pg_extension "
                               "WHERE extname = 'vector')")  # fmt: skip
    found = {"Python": platform.python_version(), "Postgres": server, "pgvector": vector, "RabbitMQ": rabbit.version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def read_durability(bench: Bench) -> dict[str, Any]:
    """Return what protects data and makes messages safe, asked of the services that are measured.

    Raises RuntimeError where it is not what Gristmill promises: figures without it are worth nothing.
    """
    # First: the dispatcher's channel goes into confirm mode with its first message.
    seen = _flower_sees(bench)
    settings = {name: bench.row(f"SHOW {name}")[0] for name in ("fsync", "full_page_writes", "synchronous_commit")}
    broker = _broker(bench)
    queues = {name: kind for name, kind in _listed(broker, "list_queues", "name", "type") if name.startswith("gris")}
    confirming = sum(row == ["true"] for row in _listed(broker, "list_channels", "confirm"))
    found = {
        **{f"Postgres {name}": value for name, value in settings.items()},
        **{f"queue {name}": kind for name, kind in sorted(queues.items())},
        "channels in confirm mode": confirming,
        "events seen by Flower": seen,
        "worker processes": bench.settings.worker_processes,
        "settings that are not the defaults": bench.changed_settings(),
    }
    if set(settings.values()) != {"on"} or set(queues.values()) != {"quorum"} or not queues or not confirming:
        raise RuntimeError(f"The stack does not run with the durability that is promised: {found}")
    return found


def _broker(bench: Bench) -> RabbitServer:
    memory = bench.stack.folder.remembered()
    assert memory is not None
    ports = memory.ports
    return RabbitServer(bench.stack.folder.rabbitmq, ports["broker"], ports["names"], ports["node"])


def _listed(broker: RabbitServer, *command: str) -> list[list[str]]:
    lines = broker.control("--quiet", *command, "--no-table-headers").splitlines()
    return [line.split("\t") for line in lines]


def _flower_sees(bench: Bench) -> str:
    """Return the state in which Flower shows a job that has just ended: it learns of it through events alone."""
    job = bench.client.submit(bench.small_dataset(), [bench.small_record(0)], wait=True)
    found: dict[str, Any] = {}
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and found.get("state") != "SUCCESS":
        url = f"{bench.url('flower')}/api/task/info/{job['id']}.0.1"
        answer = httpx.get(url, auth=(bench.settings.flower_user, bench.settings.flower_password), timeout=5)
        found = answer.json() if answer.status_code == 200 else {}
        time.sleep(0.2)
    if found.get("state") != "SUCCESS":
        raise RuntimeError(f"Flower does not show the job {job['id']}: events are off, or Flower lags behind")
    return f"{found['name']} {found['state']}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _file_system(path: Path) -> str:
    above = [part for part in psutil.disk_partitions(all=True) if path.resolve().is_relative_to(part.mountpoint)]
    found = max(above, key=lambda part: len(part.mountpoint))
    return f"{found.fstype} on {found.device}"


def _fsync_ms(path: Path) -> float:
    """Return the median time of writing one page through to the disk: the floor of every commit."""
    times = []
    probe = path / "fsync-probe"
    descriptor = os.open(probe, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        for _ in range(100):
            os.pwrite(descriptor, b"x" * 8192, 0)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            times.append((time.perf_counter() - began) * 1000)
    finally:
        os.close(descriptor)
        probe.unlink()
    return sorted(times)[50]
