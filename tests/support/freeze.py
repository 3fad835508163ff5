"""Stops processes without ending them: they keep their connections and answer nothing."""

import contextlib
import os
import signal
import time
from pathlib import Path

# Of a thread that does nothing more: stopped, a zombie, or gone.
_STILL = "TtZX"


def freeze(*pids: int, seconds: float = 30) -> None:
    """Send SIGSTOP, and return once all threads of the processes are stopped. What has ended is passed over.

    ``kill`` returns when the signal is sent. The threads run on until one of them takes it: on a busy machine long
    enough to receive an answer and to send the next statement.
    """
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + seconds
    for pid in pids:
        while running := _running(pid):
            assert time.monotonic() < deadline, f"threads of process {pid} run {seconds} s after SIGSTOP: {running}"
            time.sleep(0.001)


def _running(pid: int) -> list[str]:
    """Return the ids of the threads of a process that are not stopped."""
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The name of the command stands in parentheses and may hold any character; the state follows it.
            state = thread.read_text().rpartition(")")[2].split()[0]
            if state not in _STILL:
                found.append(thread.parent.name)
    return found
