"""The description of one process: what to run, as whom, with what environment, and how to stop it."""

import json
import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gristmill.stack import child

Group = Literal["data", "names", "broker", "app", "own"]

# Every process of a stack carries this variable, so that leftovers are recognised beyond doubt.
MARK = "GRISTMILL_STACK_ID"
# How the names of Gristmill's own variables begin.
_SETTINGS = "GRISTMILL_"


@dataclass(frozen=True)
class Program:
    """One process of a stack.

    name: the service's name, also of its log file.
    group: the groups stop in the reverse of the order data, names, broker, app; programs of one group stop together.
    One that is in a group of its own (own) stops before them.
    environment: beside what the supervisor has; a program of the group own gets no other variable GRISTMILL_*.
    stop_signal: asks for an orderly end; also sent by the kernel when the supervisor dies.
    stop_seconds: after this long the process and its group get SIGKILL.
    user: run as this system user (only root can), or None.
    lock_file: names the process that holds the server's folder; where that is gone, processes of the same program that
        still work in the folder are ended before the start.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    group: Group
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: Literal["TERM", "INT"] = "TERM"
    stop_seconds: float = 10
    user: str | None = None
    lock_file: Path | None = None

    def write(self, path: Path, mark: str, keep: bool = False) -> list[str]:
        """Write the description to ``path`` (mode 600: it holds passwords); return the command that runs it.

        keep: leave a description that is there as it is.
        """
        # Isolated and without site-packages: nothing in the user's environment can keep it from starting.
        command = [sys.executable, "-I", "-S", str(Path(child.__file__).resolve()), str(path.resolve())]
        if keep and path.exists():
            return command
        entry = pwd.getpwnam(self.user) if self.user else None
        spec = {
            "command": list(self.command),
            "directory": str(self.directory),
            "environment": {**self.environment, MARK: mark},
            # The shell that started the stack may have had keys and passwords that are not for programs of users.
            "drop_prefix": _SETTINGS if self.group == "own" else None,
            "stop_signal": self.stop_signal,
            "lock_file": str(self.lock_file) if self.lock_file else None,
            "uid": entry.pw_uid if entry else None,
            "gid": entry.pw_gid if entry else None,
        }
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(spec, file, indent=1)
        return command
