"""Waiting for services that were started."""

import time

from gristmill.stack import processes
from gristmill.stack.errors import StackFailed, WaitedTooLong
from gristmill.stack.layout import DataFolder
from gristmill.stack.report import States, answers, describe
from gristmill.stack.server import tail
from gristmill.stack.services import Service
from gristmill.stack.supervisor import Supervisor

_START_SECONDS = 120
# How often a service may have to be started while it is waited for. What runs Gristmill's code or that of users finds
# its servers answering: what ends twice will not come up. A server's port or files may be held by one that is ending.
_STARTS = {"app": 2, "own": 2}
_STARTS_OF_SERVERS = 4
# Seconds between two looks: each makes a connection, and takes it from what is starting.
_EVERY = 0.1


def await_services(supervisor: Supervisor, folder: DataFolder, services: list[Service]) -> list[str]:
    """Wait until all of them answer; return a line for each that does not in time.

    Raises StackFailed naming the first of them that ends again and again, whichever is waited for just then.
    """
    deadline = time.monotonic() + _START_SECONDS
    look = _Look(supervisor, folder, services)
    return [line for service in services if (line := _await_one(look, service, deadline))]


class _Look:
    """Looks at all services that are waited for, and remembers as which processes each was seen."""

    def __init__(self, supervisor: Supervisor, folder: DataFolder, services: list[Service]) -> None:
        self.folder = folder
        self._supervisor = supervisor
        self._services = services
        self._seen: dict[str, set[object]] = {service.program.name: set() for service in services}

    def states(self) -> States:
        """Return the supervisor's view. Raises StackFailed naming a service that had to be started too often."""
        states = self._supervisor.states()
        for service in self._services:
            name = service.program.name
            self._seen[name] |= {states.get(name, {}).get("pid") or None} - {None}
            if len(self._seen[name]) > _STARTS.get(service.program.group, _STARTS_OF_SERVERS):
                raise self.ends_again(name)
        return states

    def ends_again(self, name: str) -> StackFailed:
        log = self.folder.log(name)
        return StackFailed(f"{name} ends again and again. Its log, {log}, ends:\n{tail(log)}")


def _await_one(look: _Look, service: Service, deadline: float) -> str | None:
    name = service.program.name
    log = look.folder.log(name)

    def settled() -> bool:
        states = look.states()
        if service.program.group == "own" and name not in states:
            # Another command has stopped it, or the whole stack.
            raise StackFailed(f"{name} was stopped before it answered")
        ready = answers(service, states)
        if describe(service, states, ready, str(log)).state == "failed":
            raise look.ends_again(name)
        return ready

    try:
        processes.wait_until(settled, deadline - time.monotonic(), "", _EVERY)
    except WaitedTooLong:
        return f"{name} is not ready after {_START_SECONDS} s; its log is {log}"
    return None
