"""Whole stacks as ``gristmill up`` starts them: made, taken over by one test from another, and looked at."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from gristmill.core.config import Settings
from gristmill.stack import Stack, StackStatus
from gristmill.stack.processes import is_alive
from gristmill.stack.program import MARK
from tests.support.freeze import freeze
from tests.support.servers import WANTED
from tests.support.system import eventually


def make(folder: Path, broker: Any = WANTED, say: Callable[[str], None] = lambda line: None, **settings: Any) -> Stack:
    return Stack(configured(folder, broker, **settings), say)


def configured(folder: Path, broker: Any, **settings: Any) -> Settings:
    return Settings(stack_data=str(folder), stack_broker=broker, api_port=0, flower_port=0, **settings)


class SharedStack:
    """A stack that tests take over from each other. Whoever has stopped or moved it leaves it so.

    folder: of the data. settings: as in Settings; it keeps them wherever it is moved.
    """

    def __init__(self, folder: Path, broker: Any = WANTED, **settings: Any) -> None:
        self.broker = broker
        self.given = settings
        self.stack = make(folder, broker, **settings)

    @property
    def settings(self) -> Settings:
        """Of the stack where it is now."""
        return configured(self.stack.folder.path, self.broker, **self.given)

    def running(self) -> Stack:
        """Return it with every service answering, whatever the test before has done to it."""
        assert self.stack.up().ok
        return self.stack

    def stopped(self) -> Stack:
        self.stack.down()
        return self.stack

    def move(self, target: Path) -> Stack:
        """Move its folder, running or not; return the stack of the folder in its new place."""
        assert not target.exists()
        self.stack = make(self.stack.folder.path.rename(target), self.broker, **self.given)
        return self.stack


def patiently(condition: Callable[[], Any], what: str | Callable[[], str], seconds: float) -> Any:
    """Wait as ``eventually``, for what asks all services or looks at all processes: a tenth of a second's work."""
    return eventually(condition, what, seconds, every=0.3)


def pids(status: StackStatus) -> dict[str, int]:
    return {service.name: service.pid for service in status.services if service.pid is not None}


def alive_of(stack: Stack) -> list[psutil.Process]:
    """Every living process of the stack: by its mark, or by its data folder on the command line."""
    memory = stack.folder.remembered()
    assert memory is not None
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK) == memory.id or str(stack.folder.path) in " ".join(process.cmdline())
        except psutil.Error:
            continue
        if ours and process.pid != os.getpid() and is_alive(process):
            found.append(process)
    return found


def supervisor_of(stack: Stack) -> int:
    return int((stack.folder.run / "supervisor.pid").read_text())


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Within the block the process keeps its connections and answers nothing."""
    freeze(pid)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
