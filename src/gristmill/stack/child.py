"""Becomes one supervised child: ties its life to the supervisor's and replaces itself by the program.

Before Postgres starts, what a killed predecessor left in its folder is ended. Run as a script with the path of a
description (see program.py) as the only argument. It imports nothing of Gristmill, so that it starts in some 20 ms, and
keeps passwords out of the process list and of supervisord's configuration.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
# Seconds that processes of a killed predecessor have to end by themselves once they are told to.
ORPHAN_SECONDS = 1.0


def main(path: str) -> None:
    parent = os.getppid()
    with open(path, encoding="utf-8") as file:
        spec = json.load(file)
    if spec["lock_file"] is not None:
        end_orphans(spec["command"][0], spec["lock_file"])
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
    # A description of the release before, whose supervisor runs still, has no prefix.
    os.execvpe(spec["command"][0], spec["command"], {**inherited(spec.get("drop_prefix")), **spec["environment"]})


def inherited(drop_prefix: str | None) -> dict[str, str]:
    """Return the supervisor's environment, without the variables whose names begin with ``drop_prefix``, if given."""
    return {
        name: value for name, value in os.environ.items() if drop_prefix is None or not name.startswith(drop_prefix)
    }


def end_orphans(program: str, lock_file: str) -> None:
    """End processes of ``program`` that work in the folder of ``lock_file``, and wait until they are gone.

    A postmaster that was killed leaves backends; those in the middle of a statement hold its shared memory for as long
    as that takes, and no new postmaster starts meanwhile. Nothing that they do can be committed any more but what is in
    the log already: to Postgres their end is part of the same crash. Where the process that the lock names is alive
    nothing is touched: the new server says so itself. Without /proc the new server has to try again.
    """
    began = time.monotonic()
    while orphans := _running(os.path.realpath(program), os.path.realpath(os.path.dirname(lock_file))):
        if _holder(lock_file) in orphans:
            return
        stop = signal.SIGQUIT if time.monotonic() - began < ORPHAN_SECONDS else signal.SIGKILL
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, stop)
        time.sleep(0.02)


def _holder(lock_file: str) -> int | None:
    try:
        with open(lock_file, encoding="ascii") as file:
            # Negative in single-user mode.
            return abs(int(file.readline()))
    except (OSError, ValueError):
        return None


def _running(program: str, directory: str) -> list[int]:
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        # What has ended meanwhile, or is another user's, cannot be read.
        with contextlib.suppress(OSError):
            # A program that was replaced on disk since is marked as deleted.
            here = name.isdigit() and os.readlink(f"/proc/{name}/cwd") == directory
            if here and os.readlink(f"/proc/{name}/exe").removesuffix(" (deleted)") == program:
                found.append(int(name))
    return found


if __name__ == "__main__":
    main(sys.argv[1])
