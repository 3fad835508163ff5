"""Becomes one supervised child: ties its life to the supervisor's and replaces itself by the program.

Run as a script with the path of a description (see program.py) as the only argument. It imports nothing of Gristmill,
so that it starts in some 20 ms, and keeps passwords out of the process list and of supervisord's configuration.
"""

import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(path: str) -> None:
    parent = os.getppid()
    with open(path, encoding="utf-8") as file:
        spec = json.load(file)
    if spec["uid"] is not None:
        os.setgroups([])
        os.setgid(spec["gid"])
        os.setuid(spec["uid"])
    if sys.platform == "linux":
        # When the supervisor is killed with -9 nobody else would stop its children. A change of user clears this, so
        # it comes after that; and the supervisor may have died before it took effect, hence the second look.
        stop_signal = signal.Signals[f"SIG{spec['stop_signal']}"]
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != parent:
            sys.exit("the supervisor is gone")
    os.chdir(spec["directory"])
    os.execvpe(spec["command"][0], spec["command"], {**os.environ, **spec["environment"]})


if __name__ == "__main__":
    main(sys.argv[1])
