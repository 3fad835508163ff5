"""The tests' own way to stop a process: whoever has called it may rely on that nothing of it runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.freeze import freeze

# Threads that are always about to run, so that a signal finds one of them running.
BUSY = """
import threading, time
def work():
    while True:
        sum(range(1000)), time.sleep(0)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def busy() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def states(pid: int) -> list[str]:
    return [one.read_text().rpartition(")")[2].split()[0] for one in Path(f"/proc/{pid}/task").glob("*/stat")]


def test_no_thread_runs_when_it_returns(busy: "subprocess.Popen[str]") -> None:
    for _ in range(50):
        freeze(busy.pid)
        assert states(busy.pid) == ["T"] * 4
        os.kill(busy.pid, signal.SIGCONT)


def test_what_has_ended_is_passed_over(busy: "subprocess.Popen[str]") -> None:
    busy.kill()
    os.waitid(os.P_PID, busy.pid, os.WEXITED | os.WNOWAIT)
    freeze(busy.pid)  # A zombie.
    busy.wait()
    freeze(busy.pid)
