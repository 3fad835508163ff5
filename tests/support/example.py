"""An example's application on a stack of its own, started by make as its users start it."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from gristmill.core.config import Settings
from gristmill.stack import ServiceStatus, Stack
from gristmill.stack.ports import any_free
from tests.support.folders import open_folder
from tests.support.servers import WANTED
from tests.support.system import eventually

ROOT = Path(__file__).parents[2]


class Example:
    """One example. settings: of the stack, as their environment variables have them."""

    def __init__(self, name: str, data: Path, **settings: str) -> None:
        self.name = name
        self.port = any_free()
        self.url = f"http://127.0.0.1:{self.port}"
        self.stack = Stack(Settings(stack_data=str(data), stack_broker=WANTED, api_port=0, flower_port=0))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            "GRISTMILL_STACK_DATA": str(data),
            "GRISTMILL_STACK_BROKER": WANTED,
            "GRISTMILL_API_PORT": "0",
            "GRISTMILL_FLOWER_PORT": "0",
            **settings,
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
        for process in processes:
            process.suspend()
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
def running(name: str, arguments: str = "", **settings: str) -> Iterator[Example]:
    """Run an example, and end it with its stack."""
    with open_folder() as path:
        found = Example(name, path / "data", **settings)
        try:
            made = found.make("example", f"NAME={name}", f"PORT={found.port}", f"ARGS={arguments}")
            assert made.returncode == 0, made.stdout + made.stderr
            assert f"ready {found.url}" in made.stdout.splitlines()
            yield found
        finally:
            found.stack.down()
