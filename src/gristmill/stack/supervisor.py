"""Drives supervisord: writes its configuration, starts it, asks it over its Unix socket."""

import contextlib
import http.client
import os
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from gristmill.stack import processes
from gristmill.stack.errors import StackFailed, StackStopping
from gristmill.stack.layout import DataFolder
from gristmill.stack.program import MARK, Program
from gristmill.stack.server import tail

# The fault of supervisord's interface (``supervisor.xmlrpc.Faults``) for every call while it shuts down.
_SHUTDOWN_STATE = 6
_PRIORITY = {"data": 10, "names": 20, "broker": 30, "app": 40}
# What is in a group of its own starts last, and stops first.
_LAST = 50


class Supervisor:
    """The supervisor of one stack. It restarts what ends by itself and stops everything in order when it is told to."""

    def __init__(self, folder: DataFolder, socket: str, mark: str) -> None:
        self.folder = folder
        self.socket = Path(socket)
        self.mark = mark
        self.log = folder.log("supervisor")
        self._pid_file = folder.run / "supervisor.pid"

    def configure(self, programs: Sequence[Program], only: str | None = None) -> None:
        """Write supervisord's configuration and the description of each program.

        only: the name of the one program whose description is written anew; services keep the settings that they were
        started with, whatever those of this command are.
        """
        lines = [
            "[supervisord]",
            f"logfile={_plain(self.log)}",
            "logfile_maxbytes=10MB",
            "logfile_backups=2",
            f"pidfile={_plain(self._pid_file)}",
            f"childlogdir={_plain(self.folder.logs)}",
            "umask=022",
            *(["user=root"] if os.geteuid() == 0 else []),
            "[unix_http_server]",
            f"file={_plain(self.socket)}",
            "chmod=0700",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        ]
        for program in programs:
            command = program.write(
                self.folder.description(program.name), self.mark, keep=only not in (None, program.name)
            )
            lines += [
                f"[program:{program.name}]",
                *([f"priority={_LAST}"] if program.group == "own" else []),
                "command=" + " ".join(f"'{_plain(part)}'" for part in command),
                # ``up`` starts them one after the other, each when those that it needs answer.
                "autostart=false",
                "autorestart=true",
                "startsecs=1",
                # The pause grows by a second with each failure in a row; after 1,000 of them, some days, the service is
                # given up. Postgres, for one, cannot start as long as its disk is full.
                "startretries=1000",
                f"stopsignal={program.stop_signal}",
                f"stopwaitsecs={int(program.stop_seconds)}",
                # The program passes an orderly stop on by itself; only what does not end is killed as a group.
                "stopasgroup=false",
                "killasgroup=true",
                "redirect_stderr=true",
                f"stdout_logfile={_plain(self.folder.log(program.name))}",
                "stdout_logfile_maxbytes=10MB",
                "stdout_logfile_backups=3",
            ]
        for group, priority in _PRIORITY.items():
            members = [program.name for program in programs if program.group == group]
            if members:
                lines += [f"[group:{group}]", f"programs={','.join(members)}", f"priority={priority}"]
        (self.folder.run / "supervisord.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start(self) -> None:
        """Start supervisord in the background, detached from this terminal. Raises StackFailed with what it said."""
        command = [
            sys.executable,
            "-P",
            # By its path: to import it takes what only the extra installs.
            str(Path(__file__).resolve().with_name("quick_supervisord.py")),
            "-c",
            str(self.folder.run / "supervisord.conf"),
        ]
        environment = {**os.environ, MARK: self.mark}
        self.socket.unlink(missing_ok=True)
        # It forks and ends when it listens; its messages so far are on its standard error.
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL, cwd="/"
        )
        if done.returncode != 0:
            raise StackFailed(f"supervisord did not start: {(done.stderr or done.stdout).strip()}\n{tail(self.log)}")
        processes.wait_until(self.alive, 10, f"supervisord does not answer on {self.socket}")

    def pid(self) -> int | None:
        """Return the process id of the running supervisor, also while it stops, or None."""
        try:
            return int(self._call("getPID"))
        except StackStopping:
            return self._written_pid()
        except StackFailed:
            return None

    def stopping(self) -> bool:
        """Say whether it is ending everything, and then itself."""
        try:
            self._call("getPID")
        except StackStopping:
            return True
        except StackFailed:
            return False
        return False

    def await_end(self, seconds: float) -> None:
        """Wait until a supervisor that stops has ended. Raises StackFailed if that takes longer than ``seconds``."""
        processes.wait_until(lambda: not self.alive(), seconds, "The stack does not stop")

    def _written_pid(self) -> int | None:
        # It removes the file last.
        with contextlib.suppress(OSError, ValueError):
            return int(self._pid_file.read_text())
        return None

    def alive(self) -> bool:
        return self.pid() is not None

    def states(self) -> dict[str, dict[str, Any]]:
        """Return what supervisord knows of each program, by name; empty when it does not run."""
        try:
            return {info["name"]: info for info in self._call("getAllProcessInfo")}
        except StackFailed:
            return {}

    def launch(self, *programs: Program) -> None:
        """Start those of the programs that do not run. Does not wait. Raises StackFailed, also while it stops."""
        for program in programs:
            with contextlib.suppress(xmlrpc.client.Fault):
                self._call("startProcess", _full_name(program), False)

    def add(self, programs: Sequence[Program], name: str) -> None:
        """Let a running supervisor know the program called ``name``, anew where it knows one; it is not started yet.

        programs: all of the stack. Raises StackFailed.
        """
        self.configure(programs, name)
        with _refusals(name):
            self._call("reloadConfig")
            self._forget(name)
            self._call("addProcessGroup", name)

    def remove(self, programs: Sequence[Program], name: str) -> None:
        """Stop a program that is in a group of its own, and forget it. programs: the others. Raises StackFailed."""
        self.configure(programs, name)
        with _refusals(name):
            self._call("reloadConfig")
            self._forget(name)

    def _forget(self, name: str) -> None:
        if name in self.states():
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)

    def shutdown(self, seconds: float) -> None:
        """Stop every program in order, then supervisord. Raises StackFailed if that takes longer than ``seconds``."""
        pid = self.pid()
        if pid is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            with contextlib.suppress(StackStopping):
                self._call("shutdown")
            processes.wait_until(lambda: not processes.is_alive(process), seconds, "The stack does not stop")

    def _call(self, method: str, *arguments: Any) -> Any:
        # Imported here: supervisor belongs to an extra, and ``status`` without it should say so in one line.
        try:
            from supervisor.xmlrpc import SupervisorTransport  # noqa: PLC0415
        except ImportError as error:
            raise StackFailed("The supervisor is not installed: pip install 'gristmill[stack]'") from error
        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        try:
            proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _SHUTDOWN_STATE:
                raise StackStopping("The stack is being stopped") from fault
            raise
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise StackFailed(f"supervisord does not answer on {self.socket}: {error}") from error
        finally:
            transport.close()


@contextlib.contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Raise StackFailed where supervisord refuses what concerns the program called ``name``."""
    try:
        yield
    except xmlrpc.client.Fault as fault:
        raise StackFailed(f"supervisord refuses {name}: {fault.faultString}") from fault


def _full_name(program: Program) -> str:
    return f"{program.name if program.group == 'own' else program.group}:{program.name}"


def _plain(value: object) -> str:
    """Return the path as text, if supervisord's configuration can hold it: it has no way to write these characters."""
    text = str(value)
    if any(character in text for character in "'\"\n;%"):
        raise StackFailed(f"The path must not hold quotes, semicolons, percent signs or line breaks: {text!r}")
    return text
