"""An example's application beside a stack, started by make as its users start it."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from gristmill.stack import ServiceStatus
from gristmill.stack.ports import any_free
from tests.support.freeze import freeze
from tests.support.stacks import SharedStack
from tests.support.system import eventually

ROOT = Path(__file__).parents[2]


class Example:
    """One example beside a shared stack; its commands have the settings of that stack in their environment."""

    def __init__(self, name: str, shared: SharedStack) -> None:
        self.name = name
        self.port = any_free()
        self.url = f"http://127.0.0.1:{self.port}"
        self.stack = shared.stack
        given = {
            "stack_data": shared.stack.folder.path,
            "stack_broker": shared.broker,
            "api_port": 0,
            "flower_port": 0,
            **shared.given,
        }
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            **{f"GRISTMILL_{name.upper()}": str(value) for name, value in given.items()},
        }

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "--no-print-directory", "--silent", "--old-file=setup", *words]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )

    def gristmill(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / ".venv/bin/gristmill"), *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=300, check=False)

    def service(self, name: str) -> ServiceStatus:
        """Return one of the processes of the stack."""
        return next(one for one in self.stack.status().services if one.name == name)

    @contextlib.contextmanager
    def frozen(self, service: str) -> Iterator[None]:
        """Stop the processes of a service, which answer nothing meanwhile."""
        processes = self.processes(service)
        freeze(*(process.pid for process in processes))
        try:
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def kill(self, service: str) -> None:
        """Kill the processes of a service, kill -9; the stack starts others."""
        for process in self.processes(service):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def processes(self, service: str) -> list[psutil.Process]:
        first = psutil.Process(eventually(lambda: self.service(service).pid, f"{service} runs"))
        return [first, *first.children(recursive=True)]


@contextlib.contextmanager
def running(name: str, shared: SharedStack, arguments: str = "") -> Iterator[Example]:
    """Run an example, whose command starts the stack unless it runs; end it with the block."""
    found = Example(name, shared)
    try:
        made = found.make("example", f"NAME={name}", f"PORT={found.port}", f"ARGS={arguments}")
        assert made.returncode == 0, made.stdout + made.stderr
        assert f"ready {found.url}" in made.stdout.splitlines()
        yield found
    finally:
        if name in {one.name for one in found.stack.status().services}:
            found.gristmill("app", "stop", name)
