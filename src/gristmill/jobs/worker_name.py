"""The name under which a worker process holds chunks, and whether the process that a name means has ended.

``<host>:<pid>/<boot>-<namespace>-<start>``. Host and pid are for people. The rest makes a name unique and the question
exact: pids are used again, and containers may share a host name while none sees the processes of another.
Without Linux' /proc a name is ``<host>:<pid>``, and only its lease says that the process is lost.
"""

import contextlib
import os
import socket
import threading
from pathlib import Path

_PROC = Path("/proc")
_ENDED = ("Z", "X")


def worker_name() -> str:
    """Return the name of the calling process. A thread that is not the main one has a name of its own."""
    identity = threading.get_native_id()
    name = f"{host_prefix()}{identity}"
    with contextlib.suppress(OSError):
        return f"{name}/{_namespace()}-{_stat(identity)[1]}"
    return name


def host_prefix() -> str:
    """Return what all names of this host begin with."""
    return f"{socket.gethostname()}:"


def has_ended(name: str) -> bool:
    """True if the process of this name was seen by this one's kernel and namespace, and is no more; False if in doubt.

    Its threads and its connections' client side have ended with it; a statement that Postgres runs for it may not have.
    """
    address, _, where = name.partition("/")
    namespace, _, started = where.rpartition("-")
    pid = address.removeprefix(host_prefix())
    try:
        if pid == address or not namespace or namespace != _namespace():
            return False
        # Asked first: where /proc hides the processes of other users, they are there all the same.
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    except (OSError, ValueError):
        return False
    try:
        state, now = _stat(int(pid))
    except OSError:
        return False
    return state in _ENDED or now != started


def _namespace() -> str:
    """Return what tells a boot of a kernel and a namespace of pids from any other. Raises OSError without /proc."""
    boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii")
    return f"{boot[:8]}-{(_PROC / 'self/ns/pid').stat().st_ino}"


def _stat(pid: int) -> tuple[str, str]:
    """Return the state of a process and its start, in clock ticks since the boot. Raises OSError if it is not seen."""
    # The name of the program stands in parentheses and may hold anything, parentheses and spaces too.
    fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return fields[0], fields[19]
