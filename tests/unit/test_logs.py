"""What a process logs on a terminal."""

import os
import pty
import subprocess
import sys

FAILING = """
from gristmill.core.logs import configure_logs, get_logger
configure_logs("test")
value = "of a " + "record"
try:
    1 / 0
except ZeroDivisionError:
    get_logger().exception("chunk.failed", job=7)
"""


def test_a_traceback_on_a_terminal_names_lines_and_no_values() -> None:
    outside, inside = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", FAILING], stderr=inside, check=True)
        said = os.read(outside, 100_000).decode()
    finally:
        os.close(outside)
        os.close(inside)
    assert "chunk.failed" in said
    assert 'File "<string>", line 6, in <module>' in said
    assert "ZeroDivisionError: division by zero" in said
    assert "of a record" not in said
