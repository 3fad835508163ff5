"""Starting and stopping applications beside a stack that runs.

A start either ends with an application that answers, or leaves everything as it was: what ``stack.json`` lists, the
file of its variables, the supervisor's configuration, and an application of the same name that ran before.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gristmill.core.config import Settings
from gristmill.stack.applications import check_application, check_port, keep_variables, kept_variables, with_key
from gristmill.stack.errors import StackFailed
from gristmill.stack.inventory import Inventory
from gristmill.stack.layout import Application, DataFolder, Memory
from gristmill.stack.services import Service
from gristmill.stack.supervisor import Supervisor
from gristmill.stack.waiting import await_services

# Seconds that a start which failed waits for another command, such as ``gristmill down``, before it restores things.
_LOCK_SECONDS = 120.0


@dataclass(frozen=True)
class _Kept:
    """All that is kept of one application."""

    application: Application
    variables: dict[str, str]


class Guests:
    """The applications of the stack under ``settings.stack_data``."""

    def __init__(self, settings: Settings) -> None:
        self._folder = DataFolder(settings.stack_data)
        self._inventory = Inventory(settings, self._folder)

    def start(self, name: str, file: Path, port: int, variables: dict[str, str] | None = None) -> str:
        """Start an application and wait until it answers; return its address. One of that name is replaced.

        variables: of its environment, beside PORT, GRISTMILL_URL and GRISTMILL_API_KEY.
        Raises StackFailed where no stack runs, for what cannot be started, and with the log of what ends again and
        again; then, as after a Ctrl-C, everything is as it was before.
        """
        wanted = _Kept(check_application(name, file, port), with_key(variables or {}))
        self._running()
        with self._folder.locked():
            memory, supervisor = self._running()
            before = self._kept(memory, name)
            if before is None or before.application.port != port:
                check_port(wanted.application)
            with self._or_restored(memory, supervisor, name, before):
                service = self._put(memory, supervisor, name, wanted)
        # Others may stop the stack, or this application, while it is waited for.
        try:
            late = await_services(supervisor, self._folder, [service])
            if late:
                raise StackFailed(late[0])
        except BaseException as error:
            self._undo(name, wanted, before, error)
            raise
        return service.url or ""

    def stop(self, name: str) -> None:
        """Stop an application and forget it. Raises StackFailed where there is none."""
        self._running()
        with self._folder.locked():
            memory, supervisor = self._running()
            if name not in memory.applications:
                listed = ", ".join(sorted(memory.applications)) or "none"
                raise StackFailed(f"There is no application {name!r} here; there are: {listed}")
            self._remove(memory, supervisor, name)

    def _kept(self, memory: Memory, name: str) -> _Kept | None:
        application = memory.applications.get(name)
        if application is None:
            return None
        return _Kept(application, kept_variables(self._folder.application_variables(name)))

    def _put(self, memory: Memory, supervisor: Supervisor | None, name: str, kept: _Kept) -> Service:
        """Keep an application and launch it, in the place of one of that name. supervisor: None where none runs.

        It is kept before it is launched: what runs is listed, and can be stopped, whatever ends this command.
        """
        memory.applications[name] = kept.application
        keep_variables(self._folder.application_variables(name), kept.variables)
        self._folder.remember(memory)
        services = self._inventory.services(memory)
        (service,) = [one for one in services if one.program.name == name]
        if supervisor is not None:
            supervisor.add([one.program for one in services], name)
            supervisor.launch(service.program)
        return service

    def _remove(self, memory: Memory, supervisor: Supervisor | None, name: str) -> None:
        """Stop an application and forget it; it is forgotten last, so that what runs is listed."""
        kept = memory.applications.pop(name)
        try:
            if supervisor is not None:
                supervisor.remove([service.program for service in self._inventory.services(memory)], name)
        except BaseException:
            memory.applications[name] = kept
            raise
        self._folder.remember(memory)
        self._folder.application_variables(name).unlink(missing_ok=True)
        self._folder.description(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _or_restored(self, memory: Memory, supervisor: Supervisor, name: str, before: _Kept | None) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._restore(memory, supervisor if supervisor.alive() else None, name, before)
            raise

    def _restore(self, memory: Memory, supervisor: Supervisor | None, name: str, before: _Kept | None) -> None:
        if before is not None:
            self._put(memory, supervisor, name, before)
        elif name in memory.applications:
            self._remove(memory, supervisor, name)

    def _undo(self, name: str, wanted: _Kept, before: _Kept | None, error: BaseException) -> None:
        """Restore what was there before ``wanted``, unless another command has changed it meanwhile."""
        try:
            with self._folder.locked(_LOCK_SECONDS):
                memory = self._folder.remembered()
                if memory is None or self._kept(memory, name) != wanted:
                    return
                supervisor = Supervisor(self._folder, memory.socket, memory.id)
                self._restore(memory, supervisor if supervisor.alive() else None, name, before)
        except StackFailed as failed:
            first = error.detail if isinstance(error, StackFailed) else f"The start of {name} was interrupted"
            raise StackFailed(f"{first}\n{name} is still listed, as it could not be undone: {failed.detail}") from error

    def _running(self) -> tuple[Memory, Supervisor]:
        memory = self._folder.remembered()
        supervisor = None if memory is None else Supervisor(self._folder, memory.socket, memory.id)
        if memory is None or supervisor is None or not supervisor.alive():
            raise StackFailed(f"No stack runs in {self._folder.path}: start it with `gristmill up`")
        return memory, supervisor
