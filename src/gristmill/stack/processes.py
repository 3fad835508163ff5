"""Processes of this machine: waiting for conditions, finding and ending leftovers of a stack."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable

import psutil  # type: ignore[import-untyped]

from gristmill.stack.errors import StackFailed, WaitedTooLong
from gristmill.stack.program import MARK


def wait_until(condition: Callable[[], bool], seconds: float, what: str, every: float = 0.05) -> None:
    """Poll ``condition`` until it holds. Raises WaitedTooLong with ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise WaitedTooLong(f"{what} (waited {seconds:g} s)")
        time.sleep(every)


def is_alive(process: psutil.Process) -> bool:
    """True if the process runs. A zombie has ended, and only waits for its parent to notice."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def marked(mark: str, but_not: str = "") -> list[psutil.Process]:
    """Return the living processes whose environment carries the mark of a stack, but for programs named ``but_not``.

    The mark is random, so no other process can be meant, whatever pids were reused.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            ours = process.environ().get(MARK) == mark and process.name() != but_not
            if ours and process.pid != os.getpid() and is_alive(process):
                found.append(process)
    return found


def with_argument(pid: int, argument: str) -> psutil.Process | None:
    """Return the living process ``pid``, or None unless ``argument`` is on its command line: pids are reused."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        # Some servers rewrite their command line into one string.
        words = process.cmdline()
        if (argument in words or argument in " ".join(words).split()) and is_alive(process):
            return process
    return None


def end(processes: Iterable[psutil.Process], stop_signal: int, seconds: float) -> None:
    """Send ``stop_signal``, wait, then SIGKILL what is still there. psutil checks each pid's start time first."""
    listed = list(processes)
    for process in listed:
        with contextlib.suppress(psutil.Error):
            process.send_signal(stop_signal)
    deadline = time.monotonic() + seconds
    while (listed := [process for process in listed if is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in listed:
        with contextlib.suppress(psutil.Error):
            process.kill()
    with contextlib.suppress(StackFailed):
        wait_until(lambda: not any(is_alive(process) for process in listed), 5, "processes do not end")
