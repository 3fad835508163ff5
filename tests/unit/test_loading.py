"""Processes load their modules without a pass of the garbage collector, and none looks at them later."""

import subprocess
import sys

import pytest

PROGRAM = """
import gc
from gristmill.kit.loading import loading
passes = []
gc.callbacks.append(lambda phase, info: passes.append(phase))
with loading():
    made = [[number] for number in range(50_000)]
    assert not gc.isenabled()
assert gc.isenabled()
assert passes == [], "garbage was looked for"
assert gc.get_freeze_count() > 50_000
try:
    with loading():
        raise ImportError("no such module")
except ImportError:
    assert gc.isenabled()
more = [[number] for number in range(50_000)]
assert passes != []
"""


def test_there_is_no_pass_while_modules_are_loaded_and_what_was_loaded_is_left_out_of_later_ones() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


# A worker's process loads in its main(), after its logs are set up.
@pytest.mark.parametrize("process", ["api", "dispatcher", "source_runner"])
def test_each_process_loads_so(process: str) -> None:
    # The module is run as a process runs it, up to its main().
    program = (
        "import gc, runpy; passes = []; gc.callbacks.append(lambda phase, info: passes.append(info['generation']));"
        f"runpy.run_module('gristmill.{process}.__main__', run_name='loaded');"
        "print(gc.get_freeze_count(), passes.count(2), gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    frozen, full_passes, enabled = done.stdout.split()
    assert int(frozen) > 100_000
    assert (full_passes, enabled) == ("0", "True")
