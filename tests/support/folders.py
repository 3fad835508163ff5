"""Folders for servers that root runs as another user: pytest's own are closed to everybody else."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every user may enter, removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="gristmill-stack-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
