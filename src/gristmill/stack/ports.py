"""Which ports a stack listens on: as configured, as last time, or free ones."""

import random
import socket

from gristmill.stack.errors import StackFailed

# Below the range that the kernel takes for outgoing connections, so that a remembered port is still free next time.
_CANDIDATES = range(15_000, 32_000)


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
    """Return a free port. Random, so that stacks that start at the same moment do not take the same one."""
    for port in random.sample(_CANDIDATES, 200):
        if is_free(port):
            return port
    raise StackFailed("No free port found between 15000 and 32000")


def choose(name: str, configured: int, default: int, remembered: int | None, host: str = "127.0.0.1") -> int:
    """Return the port for a service.

    configured: 0 = any. remembered: what the last start used for the same configuration, or None.
    A taken default moves to the next free port; a port that somebody asked for does not: raises StackFailed.
    """
    if remembered and is_free(remembered, host):
        return remembered
    if configured == 0:
        return any_free()
    if is_free(configured, host):
        return configured
    if configured != default:
        raise StackFailed(
            f"Port {configured} is taken, but {name} is configured to use it: stop what uses it, or set 0"
        )
    for port in range(configured + 1, configured + 100):
        if is_free(port, host):
            return port
    return any_free()
