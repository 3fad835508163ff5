"""Which ports a stack listens on: as configured, as last time, or free ones."""

import random
import socket
from collections import deque
from collections.abc import Container

from gristmill.stack.errors import StackFailed

# Below the range that the kernel takes for outgoing connections, so that a remembered port is still free next time.
_CANDIDATES = range(15_000, 32_000)
# Ports that this process has chosen, until it ends or has chosen this many more.
_held: deque[socket.socket] = deque(maxlen=100)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True if a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def any_free() -> int:
    """Return a free port, which is given to nobody else while its server starts."""
    for port in random.sample(_CANDIDATES, 200):
        if _hold(port):
            return port
    raise StackFailed("No free port found between 15000 and 32000")


def choose(
    name: str,
    configured: int,
    default: int,
    remembered: int | None,
    host: str = "127.0.0.1",
    chosen: Container[int] = (),
) -> int:
    """Return the port for a service.

    configured: 0 = any. remembered: what the last start used for the same configuration, or None.
    chosen: those of the same stack's other services, which do not listen yet.
    A taken default moves to the next free port; a port that somebody asked for does not: raises StackFailed.
    """

    def fits(port: int) -> bool:
        # What ended a moment ago leaves connections behind: a server may listen all the same, but it cannot be held.
        return port not in chosen and (_hold(port, host) or is_free(port, host))

    if remembered and fits(remembered):
        return remembered
    if configured == 0:
        return any_free()
    if fits(configured):
        return configured
    if configured != default:
        raise StackFailed(
            f"Port {configured} is taken, but {name} is configured to use it: stop what uses it, or set 0"
        )
    for port in range(configured + 1, configured + 100):
        if fits(port):
            return port
    return any_free()


def _hold(port: int, host: str = "127.0.0.1") -> bool:
    """Keep a port that nothing is bound to, and tell whether it is one.

    It is bound, so that no other process that chooses a port in this way gets it. It is not listened on, so that a
    server listens on it all the same: with SO_REUSEADDR, which servers set to be able to start again.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.bind((host, port))
    except OSError:
        held.close()
        return False
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _held.append(held)
    return True
