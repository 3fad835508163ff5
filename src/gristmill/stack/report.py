"""What ``status`` answers: every service, its state, process, age and address."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gristmill.stack.services import Service

# What supervisord calls the states of a process.
_STATES = {
    "RUNNING": "running",
    "STARTING": "starting",
    "BACKOFF": "starting",
    "STOPPING": "stopping",
    "FATAL": "failed",
    "UNKNOWN": "failed",
}

States = Mapping[str, Mapping[str, Any]]
"""What supervisord knows of each program, by name."""


@dataclass(frozen=True)
class ServiceStatus:
    """One service. state: running, starting, stopping, stopped, failed. uptime: seconds, None unless it runs.

    ready: it answers; always false unless it runs. restarts are not counted: the service's log tells them.
    user, password_file: what it asks for at its address, and the file that has the password; None where it does not.
    """

    name: str
    state: str
    ready: bool = False
    pid: int | None = None
    uptime: float | None = None
    url: str | None = None
    log: str | None = None
    user: str | None = None
    password_file: str | None = None


@dataclass(frozen=True)
class StackStatus:
    """The whole stack. notes: lines that people should read (which broker and why, ports that moved)."""

    data: str
    services: list[ServiceStatus]
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if every service runs and answers: what the exit code of ``gristmill status`` says."""
        return bool(self.services) and all(service.ready for service in self.services)

    @property
    def running(self) -> bool:
        """True if any service runs."""
        return any(service.pid for service in self.services)

    def url(self, name: str) -> str | None:
        """Return the address of the service ``name``."""
        return next((service.url for service in self.services if service.name == name), None)

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def answers(service: Service, states: States) -> bool:
    """Ask the service. One that answers is up, even while the supervisor still calls it starting."""
    info = states.get(service.program.name, {})
    state = _STATES.get(str(info.get("statename", "")), "stopped")
    if service.ready is None or state not in ("running", "starting") or not info["pid"]:
        return state == "running"
    return service.ready(int(str(info["pid"])))


def describe(service: Service, states: States, ready: bool, log: str) -> ServiceStatus:
    """Return how the service stands. ready: it has answered. log: the path of its log."""
    info = states.get(service.program.name, {})
    state = "running" if ready else _STATES.get(str(info.get("statename", "")), "stopped")
    running = state == "running"
    return ServiceStatus(
        name=service.program.name,
        state=state,
        ready=ready,
        pid=int(str(info["pid"])) if running else None,
        uptime=float(str(info["now"])) - float(str(info["start"])) if running else None,
        url=service.url,
        log=log,
        user=service.user,
        password_file=service.password_file,
    )
