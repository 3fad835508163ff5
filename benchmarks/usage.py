"""CPU time and memory of the processes of a stack, by kind."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]

# Kinds as they are shown; whatever a service starts counts for it.
KINDS = ("api", "dispatcher", "worker", "worker-long", "source-runner", "postgres", "rabbitmq", "flower", "supervisor")


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU time that each service has used so far, its children included, dead ones too."""
    return {kind: sum(map(_used, _tree(pids, kind))) for kind in KINDS if kind in pids}


def machine_busy() -> tuple[float, float]:
    """Return (seconds in which cores were busy, with whatever or for other machines of the host; seconds passed)."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice, time.monotonic()


def forget_peaks(pids: Mapping[str, int]) -> None:
    """Let the peak of each process' memory begin anew at what it holds now."""
    for kind in pids:
        for process in _tree(pids, kind):
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def peak_mib(pids: Mapping[str, int], kind: str) -> float:
    """Return the highest resident memory, in MiB, that any one process of the service had since ``forget_peaks``."""
    return max((_status_kib(process.pid, "VmHWM:") for process in _tree(pids, kind)), default=0) / 1024


def private_mib(pids: Mapping[str, int], kind: str) -> float:
    """Return the resident memory, in MiB, that one process of the service shares with nobody, the largest of them."""
    return max((_status_kib(process.pid, "RssAnon:") for process in _tree(pids, kind)), default=0) / 1024


def _tree(pids: Mapping[str, int], kind: str) -> Iterator[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pids[kind])
        yield root
        # Everything is a child of the supervisor, which counts for the log lines that it writes only.
        if root.pid != pids.get("supervisor"):
            yield from root.children(recursive=True)


def _used(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _status_kib(pid: int, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0
