"""Waiting for services that were started."""

import time

from gristmill.stack import processes
from gristmill.stack.errors import StackFailed, WaitedTooLong
from gristmill.stack.layout import DataFolder
from gristmill.stack.report import answers, describe
from gristmill.stack.server import tail
from gristmill.stack.services import Service
from gristmill.stack.supervisor import Supervisor

_START_SECONDS = 120
# A child that had to be started more often while it was waited for will not come up.
_ATTEMPTS = 4


def await_services(supervisor: Supervisor, folder: DataFolder, services: list[Service]) -> list[str]:
    """Wait until all of them answer; return a line for each that does not in time. Raises StackFailed."""
    deadline = time.monotonic() + _START_SECONDS
    return [line for service in services if (line := _await_one(supervisor, folder, service, deadline))]


def _await_one(supervisor: Supervisor, folder: DataFolder, service: Service, deadline: float) -> str | None:
    name = service.program.name
    attempts: set[object] = set()

    def settled() -> bool:
        states = supervisor.states()
        if service.program.group == "own" and name not in states:
            # Another command has stopped it, or the whole stack.
            raise StackFailed(f"{name} was stopped before it answered")
        ready = answers(service, states)
        attempts.add(states.get(name, {}).get("pid") or None)
        if (
            len(attempts - {None}) > _ATTEMPTS
            or describe(service, states, ready, str(folder.log(name))).state == "failed"
        ):
            log = folder.log(name)
            raise StackFailed(f"{name} ends again and again. Its log, {log}, ends:\n{tail(log)}")
        return ready

    try:
        processes.wait_until(settled, deadline - time.monotonic(), "")
    except WaitedTooLong:
        return f"{name} is not ready after {_START_SECONDS} s; its log is {folder.log(name)}"
    return None
