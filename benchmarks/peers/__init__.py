"""What Gristmill is compared with, each in a file of its own, run by the interpreter of an environment of its own.

A peer is a module that reads a plan (one JSON object in a line) from its standard input and prints what it measured as
the last line of its standard output. It imports nothing of Gristmill, and of the bench only what needs no library.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
_INSTALL_SECONDS = 900


class PeerUnavailable(RuntimeError):
    """A peer could not be installed or did not run; the message says why."""


class Peers:
    """The environment of the peers below ``folder``, installed at the first use."""

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda line: None) -> None:
        digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
        self._venv = folder / f"peers-{digest}"
        self._say = say
        self._broken = ""

    @property
    def python(self) -> Path:
        """The interpreter. Raises PeerUnavailable; what failed once is not tried again."""
        if self._broken:
            raise PeerUnavailable(self._broken)
        python = self._venv / "bin" / "python"
        if not (self._venv / "complete").exists():
            self._say("  installing the peers, about a minute; they are kept for next time")
            self._do(sys.executable, "-m", "venv", "--clear", str(self._venv))
            self._do(str(python), "-m", "pip", "install", "-qq", "--no-deps", "-r", str(REQUIREMENTS))
            (self._venv / "complete").touch()
        return python

    def run(self, module: str, plan: dict[str, Any], log: Path, seconds: float) -> dict[str, Any]:
        """Run ``benchmarks.peers.<module>`` with a plan and return what it printed. Raises PeerUnavailable."""
        with log.open("ab") as errors:
            try:
                done = subprocess.run(
                    self._command(module), input=_line(plan), stdout=subprocess.PIPE, stderr=errors, cwd=ROOT,
                    env=environment(), timeout=seconds, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise PeerUnavailable(f"{module} did not end within {seconds:g} s") from error
        if done.returncode != 0:
            raise PeerUnavailable(_failed(module, log))
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    @contextlib.contextmanager
    def serve(self, module: str, plan: dict[str, Any], log: Path) -> Iterator[dict[str, Any]]:
        """Run a peer that serves until its standard input ends, and give what it printed. Raises PeerUnavailable."""
        with (
            log.open("ab") as errors,
            subprocess.Popen(
                self._command(module), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT,
                env=environment(),
            ) as peer,
        ):  # fmt: skip
            assert peer.stdin is not None
            assert peer.stdout is not None
            peer.stdin.write(_line(plan))
            peer.stdin.flush()
            printed = peer.stdout.readline()
            if not printed:
                raise PeerUnavailable(_failed(module, log))
            yield json.loads(printed)

    def _command(self, module: str) -> list[str]:
        return [str(self.python), "-m", f"benchmarks.peers.{module}"]

    def _do(self, *command: str) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS)
        except subprocess.TimeoutExpired as error:
            self._broken = f"{' '.join(command[:4])} did not end within {_INSTALL_SECONDS} s"
            raise PeerUnavailable(self._broken) from error
        if done.returncode != 0:
            self._broken = f"{' '.join(command[:4])} failed: {done.stderr.strip()[-300:]}"
            raise PeerUnavailable(self._broken)


def _line(plan: dict[str, Any]) -> bytes:
    return json.dumps(plan).encode() + b"\n"


def _failed(module: str, log: Path) -> str:
    return f"{module} failed: {log.read_text(errors='replace').strip()[-600:]}"


def environment() -> dict[str, str]:
    """Return the environment of a peer: nothing is reported to its makers."""
    return {**os.environ, "ANONYMIZED_TELEMETRY": "False", "DO_NOT_TRACK": "1", "LANGSMITH_TRACING": "false"}
