"""What ``status`` answers: every service, its state, process, age and address."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class ServiceStatus:
    """One service. state: running, starting, stopping, stopped, failed. uptime: seconds, None unless it runs.

    ready: it answers; always false unless it runs. restarts are not counted: the service's log tells them.
    """

    name: str
    state: str
    ready: bool = False
    pid: int | None = None
    uptime: float | None = None
    url: str | None = None
    log: str | None = None


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
