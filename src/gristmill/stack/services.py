"""Gristmill's own processes of a stack: dispatcher, API, workers, source runner, Flower."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from gristmill.broker.queues import DEFAULT_QUEUE, queue_names
from gristmill.core.config import Settings
from gristmill.stack import repository
from gristmill.stack.layout import DataFolder
from gristmill.stack.program import Program
from gristmill.stack.server import keep_secret, secret

# Loopback is never reached through a proxy, whatever the environment says.
_opener = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Service:
    """A process with what people and ``up`` want to know about it.

    url: where a browser or client reaches it, or None. user, password_file: what it asks for there, if anything.
    ready: asks the service with this process id whether it does its work; None where running is all there is to know.
    """

    program: Program
    url: str | None = None
    ready: Callable[[int], bool] | None = None
    user: str | None = None
    password_file: str | None = None


def environment(settings: Settings) -> dict[str, str]:
    """Return every setting as an environment variable: the children see what the command saw, flags included."""
    return {f"GRISTMILL_{name.upper()}": str(value) for name, value in settings.model_dump().items()}


def application(settings: Settings, folder: DataFolder) -> list[Service]:
    """Return the services that run Gristmill's own code; ``settings`` already name the private Postgres and broker."""
    variables = {**environment(settings), "PYTHONUNBUFFERED": "1"}
    host = "127.0.0.1" if settings.api_host in ("0.0.0.0", "::") else settings.api_host
    drain = settings.worker_drain_seconds + 10

    def python(name: str, *arguments: str, stop_seconds: float = 15) -> Program:
        # -P keeps the folder of the process off Python's path.
        command = (sys.executable, "-P", "-m", *arguments)
        return Program(name, command, folder.path, "app", variables, stop_seconds=stop_seconds)

    def worker(queue: str) -> Program:
        name = "worker" if queue == DEFAULT_QUEUE else f"worker-{queue}"
        return python(name, "gristmill.worker", "--queue", queue, stop_seconds=drain)

    def beating(pid: int) -> bool:
        return repository.is_beating(settings.database_url, pid)

    api = f"http://{host}:{settings.api_port}"
    flower = f"http://127.0.0.1:{settings.flower_port}"
    return [
        Service(python("dispatcher", "gristmill.dispatcher"), ready=beating),
        # It answers open requests first, waiting ones included.
        Service(
            python("api", "gristmill.api", stop_seconds=settings.api_max_wait + 10),
            api,
            lambda _pid: answers(f"{api}/readyz"),
        ),
        *(Service(worker(queue), ready=beating) for queue in queue_names()),
        Service(python("source-runner", "gristmill.source_runner"), ready=beating),
        # Flower wants a password; that it says so is the sign that it is up.
        Service(
            python("flower", "gristmill.stack.flower"),
            flower,
            lambda _pid: answers(flower, unauthenticated=True),
            user=settings.flower_user,
            password_file=str(folder.flower_password),
        ),
    ]


def with_flower_password(settings: Settings, folder: DataFolder) -> Settings:
    """Return the settings with a password for Flower: the configured one, or a random one kept in the data folder."""
    password = settings.flower_password or secret(folder.flower_password)
    return settings.model_copy(update={"flower_password": password})


def keep_flower_password(settings: Settings, folder: DataFolder) -> None:
    """Write the password that Flower starts with into its file, which ``up`` and ``status`` name."""
    keep_secret(folder.flower_password, with_flower_password(settings, folder).flower_password)


def responds(url: str) -> bool:
    """True if there is an answer of HTTP, whatever it says but that the server has failed."""
    try:
        with _opener.open(url, timeout=2):
            return True
    except HTTPError as error:
        return error.code < 500
    except (URLError, OSError, ValueError):
        return False


def answers(url: str, unauthenticated: bool = False) -> bool:
    """True if the URL answers 2xx, or, with ``unauthenticated``, asks for a password."""
    try:
        with _opener.open(url, timeout=2) as response:
            return bool(200 <= response.status < 300)
    except HTTPError as error:
        return unauthenticated and error.code == 401
    except (URLError, OSError, ValueError):
        return False
