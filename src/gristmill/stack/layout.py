"""The data folder of a stack: where things lie, and what is remembered from one start to the next."""

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TextIO

from gristmill.stack.errors import StackFailed

BrokerKind = Literal["rabbitmq", "valkey"]

# A Unix socket's path may have 107 bytes; supervisord appends its pid while it binds.
_LONGEST_SOCKET = 95


@dataclass
class Application:
    """A program of a user beside the stack. file: of Python. Its variables are in ``application_variables``."""

    file: str
    port: int


@dataclass
class Memory:
    """What ``stack.json`` keeps.

    asked: the configured port numbers for which ``ports`` were chosen. place: the folder at the last start.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(16))
    broker: BrokerKind = "rabbitmq"
    ports: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    api_host: str = "127.0.0.1"
    socket: str = ""
    place: str = ""
    applications: dict[str, Application] = field(default_factory=dict)


class DataFolder:
    """All paths of one stack. Nothing is created before ``create``."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().absolute()
        self.postgres = self.path / "postgres"
        self.rabbitmq = self.path / "rabbitmq"
        self.valkey = self.path / "valkey"
        self.flower = self.path / "flower"
        self.flower_password = self.flower / "password"
        self.spool = self.path / "spool"
        self.files = self.path / "files"
        self.images = self.path / "images"
        self.logs = self.path / "logs"
        self.run = self.path / "run"
        self.memory_file = self.path / "stack.json"

    def create(self) -> None:
        """Make the folders. Only files inside are secret: root's Postgres must be able to pass through the folder."""
        for folder in (self.path, self.flower, self.spool, self.files, self.images, self.logs, self.run):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.flower, self.spool, self.files, self.images, self.logs, self.run):
            folder.chmod(0o700)

    def application_variables(self, name: str) -> Path:
        """Return the file that holds the variables of an application, its API key among them: secrets, as JSON."""
        return self.run / f"{name}.variables"

    def description(self, name: str) -> Path:
        """Return the file that describes the program called ``name`` to ``child.py``."""
        return self.run / f"{name}.json"

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"

    def remembered(self) -> Memory | None:
        """Return what the last start kept, or None before the first one. Raises StackFailed if the file is broken."""
        try:
            found = json.loads(self.memory_file.read_text(encoding="utf-8"))
            listed = {
                name: Application(one["file"], one["port"]) for name, one in found.pop("applications", {}).items()
            }
            return Memory(**found, applications=listed)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise StackFailed(f"{self.memory_file} cannot be read ({error}); delete it to choose new ports") from error

    def remember(self, memory: Memory) -> None:
        """Keep ``memory``; a reader sees the old or the new content, never a part."""
        if not memory.socket or not Path(memory.socket).parent.is_dir():
            memory.socket = self._socket()
        memory.place = str(self.path)
        temporary = self.memory_file.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(memory), indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.memory_file)

    def _socket(self) -> str:
        path = self.run / "supervisor.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET:
            path = Path(tempfile.mkdtemp(prefix="gristmill-")) / "supervisor.sock"
        return str(path)

    @contextlib.contextmanager
    def locked(self, seconds: float = 0.0) -> Iterator[None]:
        """Hold the stack against another ``up`` or ``down``.

        Raises StackFailed if one is under way, and is still after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        with (self.run / "lock").open("w") as file:
            while not _lock(file):
                if time.monotonic() >= deadline:
                    raise StackFailed(f"Another command is starting or stopping the stack in {self.path}")
                time.sleep(0.05)
            yield


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
