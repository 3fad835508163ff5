"""A small disk: a tmpfs that a test may fill, and give room to again."""

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.stack.postgres import SYSTEM_USER

MIB = 1024 * 1024


class SmallDisk:
    """A mounted tmpfs of ``size`` MiB."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._filler = path / "filler"
        # Postgres demands that the folder of a tablespace is its own.
        self._owner = "mode=755"
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(SYSTEM_USER)
            self._owner += f",uid={user.pw_uid},gid={user.pw_gid}"
        options = f"size={size}m,{self._owner}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a disk that can be full is a tmpfs, and mounting one is not permitted: {done.stderr.strip()}")

    def resize(self, size: int) -> None:
        """Make it a disk of ``size`` MiB; what is on it stays."""
        subprocess.run(["mount", "-o", f"remount,size={size}m,{self._owner}", str(self.path)], check=True)

    @property
    def free(self) -> int:
        """Bytes that are left."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int) -> None:
        """Take all but ``leave`` bytes, as somebody else's file would."""
        with self._filler.open("ab") as file:
            while self.free > leave:
                file.write(bytes(min(MIB, self.free - leave)))
                file.flush()

    def make_room(self) -> None:
        """Take that file away again."""
        self._filler.unlink()

    def close(self) -> None:
        # Lazily: a server that was killed a moment ago may still hold a file.
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


@contextlib.contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """Mount a disk of ``size`` MiB at ``path``, which is made. Skips the test where mounting is not permitted."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small disk that this test fills")
    path.mkdir(parents=True, exist_ok=True)
    disk = SmallDisk(path, size)
    try:
        yield disk
    finally:
        disk.close()
