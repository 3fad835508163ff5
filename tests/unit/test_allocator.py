"""Arrays of some hundred kilobytes come from memory that was used before."""

import subprocess
import sys

_CODE = """
import resource
import numpy as np
from gristmill.core.allocator import reuse_freed_blocks
{call}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(200):
        np.ones(100_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(call: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _CODE.format(call=call)], capture_output=True, text=True, check=True,
        env={"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"},
    )  # fmt: skip
    return int(done.stdout)


def test_pages_are_asked_for_once() -> None:
    # Each array has some two hundred pages.
    assert faults("reuse_freed_blocks()") < 1_000 < 20_000 < faults("")
