"""A fault stack whose API and worker for long jobs have a storage on a small disk."""

import shutil
import uuid
from typing import Any

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

    def empty(self) -> None:
        """Remove every export and every file of one."""
        self.system.query("DELETE FROM gristmill.exports")
        for name in ("exports", "output"):
            shutil.rmtree(self.disk.path / name, ignore_errors=True)
        self.mark()

    def mark(self) -> None:
        """Make the disk the storage of the installation, whatever was done to it."""
        mark = str(uuid.uuid4())
        (self.disk.path / "gristmill.id").write_text(mark)
        self.system.query("DELETE FROM gristmill.file_storage")
        self.system.query("INSERT INTO gristmill.file_storage (id, place) VALUES (%s, 'a test')", (mark,))

    def job(self, job: str) -> Json:
        found: Json = httpx.get(f"{self.system.url}/api/v1/jobs/{job}", timeout=60).json()
        return found
