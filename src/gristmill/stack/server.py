"""What Postgres, RabbitMQ and Valkey have in common: files, programs, readiness; and a start without supervisor."""

import os
import secrets
import signal
import subprocess
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from gristmill.stack.errors import StackFailed
from gristmill.stack.processes import wait_until
from gristmill.stack.program import Program

# The kernel's death signal follows the *thread* that made a child. All children are made by this one, which lives as
# long as the process, so that a server that was started in a short-lived thread survives it.
_spawner = ThreadPoolExecutor(1, thread_name_prefix="spawner")


def secret(path: Path) -> str:
    """Return the password kept in ``path`` (mode 600); it is made at the first call."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(20))
        return path.read_text(encoding="ascii")


def keep_secret(path: Path, password: str) -> None:
    """Keep this password in ``path`` (mode 600); whoever reads it finds the old one or the new one."""
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(password)
    temporary.replace(path)


def tail(path: Path, lines: int = 15) -> str:
    """Return the last lines of a log file, for error messages."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def _spawn(command: list[str], log: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


class Server(ABC):
    """A server with its own folder on 127.0.0.1. A supervisor asks for its programs; alone, it starts itself."""

    name: str
    start_seconds: float = 60

    def __init__(self, data_dir: Path | str, port: int) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.port = port
        self._children: list[tuple[Program, subprocess.Popen[bytes]]] = []

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, password included."""

    @abstractmethod
    def prepare(self) -> None:
        """Write what the server needs on disk. Safe to repeat; the server must not be running."""

    @abstractmethod
    def programs(self) -> list[Program]:
        """The processes, in the order of their start; the last one is the server itself."""

    @abstractmethod
    def ready(self) -> bool:
        """True if the server answers its protocol now."""

    def end_leftover(self) -> None:
        """End the server if it still runs though its supervisor is gone, and is not recognised by its mark."""
        return

    @property
    def log(self) -> Path:
        """The log of a server that was started alone."""
        return self.data_dir / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The process id of the server that ``start`` started. Raises StackFailed if it was not."""
        if not self._children:
            raise StackFailed(f"{self.name} was not started by this process")
        return self._children[-1][1].pid

    def start(self) -> None:
        """Start the server and wait until it answers. Raises StackFailed with the end of its log."""
        self.prepare()
        with self.log.open("ab") as log:
            for program in self.programs():
                command = program.write(self.data_dir / f"{program.name}.json", f"alone-{os.getpid()}")
                self._children.append((program, _spawner.submit(_spawn, command, log).result()))
        try:
            wait_until(self._ready_or_dead, self.start_seconds, f"{self.name} does not answer")
            if self._children[-1][1].poll() is not None:
                raise StackFailed(f"{self.name} ended with code {self._children[-1][1].returncode}")
        except StackFailed as error:
            self.kill()
            raise StackFailed(f"{error.detail}. Its log, {self.log}, ends:\n{tail(self.log)}") from error

    def _ready_or_dead(self) -> bool:
        return self._children[-1][1].poll() is not None or self.ready()

    def stop(self) -> None:
        """Stop in order; SIGKILL what takes longer than its ``stop_seconds``."""
        while self._children:
            program, child = self._children.pop()
            if child.poll() is None:
                child.send_signal(signal.Signals[f"SIG{program.stop_signal}"])
                try:
                    child.wait(program.stop_seconds)
                except subprocess.TimeoutExpired:
                    child.kill()
            child.wait()

    def kill(self) -> None:
        """SIGKILL, as a crash would end it; its data stay as they are."""
        while self._children:
            _program, child = self._children.pop()
            child.kill()
            child.wait()
