"""A fault stack whose API and worker for long jobs have a storage on a small disk."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from typing import Any, Self

import httpx

from tests.support.disk import SmallDisk
from tests.support.faults import FaultStack
from tests.support.system import System

Json = dict[str, Any]


class StoredStack:
    """Each process that is started has ``settings`` beside those of the stack."""

    def __init__(self, stack: FaultStack, disk: SmallDisk, **settings: Any) -> None:
        self.stack = stack
        self.disk = disk
        self.settings = {"storage_url": str(disk.path), "worker_long_processes": 1, "export_grace": 0, **settings}

    @property
    def system(self) -> System:
        return self.stack.system

    def restart(self, *names: str, **settings: Any) -> None:
        for name in names:
            if name in self.system.processes:
                self.system.kill(name)
            self.system.start(name, **{**self.settings, **settings})

    @contextlib.contextmanager
    def serving(self) -> Iterator[Self]:
        """Within the block API and dispatcher have the storage."""
        self.restart("api", "dispatcher")
        yield self
        for name in ("api", "dispatcher"):
            self.system.kill(name)

    def empty(self) -> None:
        """Remove every export and its files, and make the disk the storage of the installation again."""
        self.system.query("DELETE FROM gristmill.exports")
        for name in ("exports", "output"):
            shutil.rmtree(self.disk.path / name, ignore_errors=True)
        mark = str(uuid.uuid4())
        (self.disk.path / "gristmill.id").write_text(mark)
        self.system.query("DELETE FROM gristmill.file_storage")
        self.system.query("INSERT INTO gristmill.file_storage (id, place) VALUES (%s, 'a test')", (mark,))

    def job(self, job: str) -> Json:
        found: Json = httpx.get(f"{self.system.url}/api/v1/jobs/{job}", timeout=60).json()
        return found
