"""Applications beside a stack: programs of users, supervised as the services are, and stopped with them."""

import json
import os
import re
import sys
from pathlib import Path
from typing import get_args

from gristmill.core.config import Settings
from gristmill.stack import ports
from gristmill.stack.errors import StackFailed
from gristmill.stack.layout import Application, DataFolder
from gristmill.stack.program import Group, Program
from gristmill.stack.server import keep_secret
from gristmill.stack.services import Service, responds

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
# Names of services, and what their log files are called; and the groups that supervisord has them in.
_TAKEN = frozenset(
    {"postgres", "rabbitmq", "epmd", "valkey", "api", "dispatcher", "flower", "source-runner", "supervisor"}
) | frozenset(get_args(Group))


def check_application(name: str, file: Path, port: int) -> Application:
    """Return what is remembered of an application. Raises StackFailed for a name, file or port that cannot be."""
    if name in _TAKEN or name.startswith("worker"):
        raise StackFailed(f"The name {name!r} is one of the stack itself: choose another one")
    if not _NAME.fullmatch(name):
        raise StackFailed(f"{name!r} names no application: a letter from a to z, then up to 30 of a-z, 0-9 and -")
    if not file.is_file():
        raise StackFailed(f"There is no file {file}")
    if not 1 <= port <= 65_535:
        raise StackFailed(f"{port} is no port from 1 to 65535")
    return Application(str(file.absolute()), port)


def check_port(application: Application) -> None:
    """Raise StackFailed where something else listens on the port."""
    if not ports.is_free(application.port):
        raise StackFailed(f"The port {application.port} is taken: give another one")


def with_key(variables: dict[str, str]) -> dict[str, str]:
    """Return the variables of an application with the API key that this environment has, if any."""
    key = os.environ.get("GRISTMILL_API_KEY")
    return {**variables, "GRISTMILL_API_KEY": key} if key else variables


def keep_variables(file: Path, variables: dict[str, str]) -> None:
    """Keep the variables of an application in ``file``, for its owner alone: the key, and who knows what else."""
    keep_secret(file, json.dumps(variables, indent=1))


def kept_variables(file: Path) -> dict[str, str]:
    """Return the variables that are kept in ``file``; none without it. Raises StackFailed if it is broken."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise StackFailed(f"{file} cannot be read ({error}): start the application again") from error


def services_of(applications: dict[str, Application], settings: Settings, folder: DataFolder) -> list[Service]:
    """Return the applications as services of a stack."""
    host = "127.0.0.1" if settings.api_host in ("0.0.0.0", "::") else settings.api_host
    found = []
    for name, one in sorted(applications.items()):
        file = Path(one.file)
        variables = {
            **kept_variables(folder.application_variables(name)),
            "GRISTMILL_URL": f"http://{host}:{settings.api_port}",
            "PORT": str(one.port),
            "PYTHONUNBUFFERED": "1",
        }
        program = Program(name, (sys.executable, file.name), file.parent, "own", variables)
        url = f"http://127.0.0.1:{one.port}"
        found.append(Service(program, url, lambda _pid, url=url: responds(url)))  # type: ignore[misc]
    return found
