"""Lines of the log and processes that are forked meanwhile."""

import subprocess
import sys

FORKS = """
import os, sys, threading, time

class Slow:
    # The lock of the log is held nearly all the time.
    def write(self, text):
        time.sleep(0.005)
    def flush(self): pass
    def isatty(self): return False

sys.stderr = Slow()
from gristmill.core.logs import configure_logs, get_logger
configure_logs("test")
log = get_logger()

def write_forever():
    while True:
        log.info("line")

threading.Thread(target=write_forever, daemon=True).start()
for _ in range(10):
    if (pid := os.fork()) == 0:
        log.info("line of a child")
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
print("all of them wrote")
"""


class TestFork:
    def test_a_process_that_is_forked_while_a_thread_writes_a_line_can_write_too(self) -> None:
        done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == "all of them wrote\n", done.stderr
