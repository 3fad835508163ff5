"""Starting and stopping applications beside a stack that runs."""

from pathlib import Path

from gristmill.core.config import Settings
from gristmill.stack.applications import check_application, check_port, keep_variables, with_key
from gristmill.stack.errors import StackFailed
from gristmill.stack.inventory import Inventory
from gristmill.stack.layout import DataFolder, Memory
from gristmill.stack.supervisor import Supervisor
from gristmill.stack.waiting import await_services


class Guests:
    """The applications of the stack under ``settings.stack_data``."""

    def __init__(self, settings: Settings) -> None:
        self._folder = DataFolder(settings.stack_data)
        self._inventory = Inventory(settings, self._folder)

    def start(self, name: str, file: Path, port: int, variables: dict[str, str] | None = None) -> str:
        """Start an application and wait until it answers; return its address. One of that name is replaced.

        variables: of its environment, beside PORT, GRISTMILL_URL and GRISTMILL_API_KEY.
        Raises StackFailed where no stack runs, for what cannot be started, and with the log of what ends again.
        """
        application = check_application(name, file, port)
        with self._folder.locked():
            memory, supervisor = self._running()
            before = memory.applications.get(name)
            if before is None or before.port != port:
                check_port(application)
            memory.applications[name] = application
            keep_variables(self._folder.application_variables(name), with_key(variables or {}))
            programs = [service.program for service in self._inventory.services(memory)]
            supervisor.add(programs, name)
            (service,) = [one for one in self._inventory.services(memory) if one.program.name == name]
            supervisor.launch(service.program)
            try:
                late = await_services(supervisor, self._folder, [service])
            except StackFailed:
                self._remove(supervisor, memory, name)
                raise
            self._folder.remember(memory)
            if late:
                raise StackFailed(late[0])
        return service.url or ""

    def stop(self, name: str) -> None:
        """Stop an application and forget it. Raises StackFailed where there is none."""
        with self._folder.locked():
            memory, supervisor = self._running()
            if name not in memory.applications:
                listed = ", ".join(sorted(memory.applications)) or "none"
                raise StackFailed(f"There is no application {name!r} here; there are: {listed}")
            self._remove(supervisor, memory, name)
            self._folder.remember(memory)

    def _remove(self, supervisor: Supervisor, memory: Memory, name: str) -> None:
        del memory.applications[name]
        self._folder.application_variables(name).unlink(missing_ok=True)
        supervisor.remove([service.program for service in self._inventory.services(memory)], name)
        self._folder.description(name).unlink(missing_ok=True)

    def _running(self) -> tuple[Memory, Supervisor]:
        memory = self._folder.remembered()
        supervisor = None if memory is None else Supervisor(self._folder, memory.socket, memory.id)
        if memory is None or supervisor is None or not supervisor.alive():
            raise StackFailed(f"No stack runs in {self._folder.path}: start it with `gristmill up`")
        return memory, supervisor
