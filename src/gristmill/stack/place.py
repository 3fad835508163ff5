"""A data folder that was moved while its processes run: they have the old paths, and need them to stop in order.

Postgres, for one, writes its last checkpoint by the absolute path of its cluster, and panics where that leads nowhere.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gristmill.stack import processes
from gristmill.stack.errors import StackFailed
from gristmill.stack.layout import DataFolder, Memory


def left_place(folder: DataFolder, memory: Memory) -> Path | None:
    """Return where the stack was started, if that is another place than ``folder`` and its processes run still."""
    if not memory.place or Path(memory.place) == folder.path:
        return None
    return Path(memory.place) if processes.marked(memory.id) else None


@contextlib.contextmanager
def at_its_place(folder: DataFolder, memory: Memory) -> Iterator[None]:
    """Let a link stand where a folder was that was moved under its processes, as long as the block runs.

    Raises StackFailed where something else is there: then ``folder`` may be the copy of a stack that runs.
    """
    place = left_place(folder, memory)
    if place is None:
        yield
        return
    if place.is_symlink() or place.exists():
        raise StackFailed(
            f"{folder.path} is a copy of {place}, whose stack runs, or was moved from there and something else is"
            f" there now. Stop that stack first: gristmill down --data {place}"
        )
    made = []
    missing = place.parent
    while not missing.exists():
        made.append(missing)
        missing = missing.parent
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(folder.path)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        for parent in made:
            with contextlib.suppress(OSError):  # Somebody has put something there meanwhile.
                parent.rmdir()
