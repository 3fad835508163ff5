"""Processes that are forked while a thread of their parent talks to Postgres, as pools of workers are."""

import os
import subprocess
import sys
import threading
import time

import pytest

from gristmill.core import forks

pytestmark = pytest.mark.promise(8)

# Its thread connects to Postgres again and again; each child does once, and stands still where it cannot.
FORKS = """
import os, signal, sys, threading
from gristmill.core.database import Database
from gristmill.core.forks import between_forks
from gristmill.core.logs import configure_logs, get_logger
configure_logs("test")
log = get_logger()

def connect():
    database = Database(sys.argv[1], "test-forks", pool=1)
    with database.autocommit() as connection:
        connection.exec_driver_sql("SELECT 1")
    log.info("connected")
    database.close()

def connect_forever():
    while True:
        with between_forks():
            connect()

threading.Thread(target=connect_forever, daemon=True).start()
for _ in range(200):
    if (pid := os.fork()) == 0:
        signal.alarm(20)
        connect()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7, "a child stood still"
print("all of them have connected")
"""


class TestFork:
    def test_each_child_connects_to_postgres(self, database_url: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", FORKS, database_url], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.stdout == "all of them have connected\n", done.stderr[-2000:]

    def test_a_fork_waits_for_a_thread_at_work(self) -> None:
        begun, end = threading.Event(), threading.Event()
        order: list[str] = []

        def work() -> None:
            with forks.between_forks():
                begun.set()
                end.wait(30)
                order.append("work")

        thread = threading.Thread(target=work)
        thread.start()
        begun.wait(30)
        threading.Timer(0.2, end.set).start()
        if (pid := os.fork()) == 0:
            os._exit(0)
        order.append("fork")
        thread.join(30)
        os.waitpid(pid, 0)
        assert order == ["work", "fork"]

    def test_one_that_hangs_holds_a_fork_up_for_a_limited_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(forks, "PATIENCE", 0.1)
        with forks.between_forks():
            began = time.monotonic()
            pid = os.fork()
            waited = time.monotonic() - began
        if pid == 0:
            # Nobody is at work in the child, whoever was in its parent.
            with forks.between_forks():
                os._exit(7)
        assert waited >= 0.1
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
