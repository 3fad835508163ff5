"""Applications beside a whole stack: a start ends with one that answers, or leaves everything as it was."""

import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.folders import open_folder
from tests.support.stacks import SharedStack, patiently
from tests.support.system import eventually

from gristmill.stack import Guests, Stack, StackFailed, processes, waiting
from gristmill.stack.ports import any_free
from gristmill.stack.program import MARK

# Shows its environment.
WORKING = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict(os.environ)).encode())
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
BROKEN = "raise SystemExit('it is broken')"
SILENT = """
import os, socket, time
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
time.sleep(600)
"""
START = """
import sys
from pathlib import Path
from gristmill.core.config import Settings
from gristmill.stack import Guests
Guests(Settings(stack_data=sys.argv[1])).start("silent", Path(sys.argv[2]), int(sys.argv[3]))
"""


@dataclass
class Beside:
    """A stack, and files of applications that work, end at once, or listen and never answer."""

    stack: Stack
    guests: Guests
    files: Path
    port: int

    def listed(self) -> set[str]:
        memory = self.stack.folder.remembered()
        assert memory is not None
        names = set(memory.applications)
        configured = (self.stack.folder.run / "supervisord.conf").read_text()
        kept = {path.stem for path in self.stack.folder.run.glob("*.variables")}
        shown = {one.name for one in self.stack.status().services}
        assert names == kept == {name for name in shown if f"[program:{name}]" in configured} & names
        return names

    def seen(self) -> dict[str, str]:
        """Return the environment of the application that works, once it answers."""

        def ask() -> Any:
            try:
                return httpx.get(f"http://127.0.0.1:{self.port}", timeout=5).json()
            except httpx.HTTPError:
                return None

        found: dict[str, str] = eventually(ask, "it answers", 30)
        return found

    def running(self, file: str) -> list[int]:
        memory = self.stack.folder.remembered()
        assert memory is not None
        return [one.pid for one in processes.marked(memory.id) if file in " ".join(one.cmdline())]

    def start_silent(self, port: int) -> subprocess.Popen[bytes]:
        """Start the one that never answers, from a process of its own; return that once it is waited for."""
        command = [sys.executable, "-c", START, str(self.stack.folder.path), str(self.files / "silent.py"), str(port)]
        starting = subprocess.Popen(command, stderr=subprocess.PIPE)
        patiently(lambda: self.running("silent.py"), "it runs", 60)
        return starting


@pytest.fixture(scope="module")
def applications(light: SharedStack) -> Iterator[Beside]:
    with open_folder() as path:
        for name, text in {"working": WORKING, "broken": BROKEN, "silent": SILENT}.items():
            (path / f"{name}.py").write_text(text)
        light.stopped()
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("GRISTMILL_API_KEY", "of the shell that ran up")
            stack = light.running()
        yield Beside(stack, Guests(light.settings), path, any_free())


@pytest.fixture
def beside(applications: Beside, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beside]:
    """With one application that works, and has a key and a variable."""
    assert applications.stack.up().ok
    monkeypatch.setenv("GRISTMILL_API_KEY", "the first key")
    applications.guests.start("one", applications.files / "working.py", applications.port, {"COLOUR": "red"})
    yield applications
    for name in applications.listed():
        applications.guests.stop(name)
    assert applications.listed() == set()


class TestStart:
    def test_it_has_its_own_key_and_variables_and_nothing_of_the_shell_of_the_stack(
        self, beside: Beside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = beside.seen()
        assert (found["COLOUR"], found["GRISTMILL_API_KEY"]) == ("red", "the first key")
        monkeypatch.delenv("GRISTMILL_API_KEY")
        beside.guests.start("one", beside.files / "working.py", beside.port)
        kept = {name for name in beside.seen() if name.startswith("GRISTMILL_")}
        assert kept == {"GRISTMILL_URL", MARK}
        file = beside.stack.folder.application_variables("one")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_a_replacement_that_fails_leaves_what_ran_with_its_key(
        self, beside: Beside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GRISTMILL_API_KEY", "another key")
        with pytest.raises(StackFailed, match="it is broken"):
            beside.guests.start("one", beside.files / "broken.py", beside.port, {"COLOUR": "blue"})
        found = beside.seen()
        assert (found["COLOUR"], found["GRISTMILL_API_KEY"]) == ("red", "the first key")
        assert beside.listed() == {"one"}
        assert beside.stack.status().ok

    def test_one_that_fails_at_its_first_start_leaves_nothing(self, beside: Beside) -> None:
        with pytest.raises(StackFailed, match="it is broken"):
            beside.guests.start("two", beside.files / "broken.py", any_free())
        assert beside.listed() == {"one"}
        assert list(beside.stack.folder.run.glob("two.*")) == []

    def test_one_that_does_not_answer_in_time_leaves_what_ran(
        self, beside: Beside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "_START_SECONDS", 2)
        with pytest.raises(StackFailed, match="one is not ready after 2 s"):
            beside.guests.start("one", beside.files / "silent.py", beside.port)
        assert beside.seen()["COLOUR"] == "red"
        assert beside.running("silent.py") == []

    def test_ctrl_c_leaves_no_process_that_nobody_knows(self, beside: Beside) -> None:
        starting = beside.start_silent(any_free())
        assert beside.listed() == {"one", "silent"}
        starting.send_signal(signal.SIGINT)
        assert starting.wait(60) != 0
        assert beside.running("silent.py") == []
        assert beside.listed() == {"one"}

    def test_killed_it_leaves_one_that_is_listed_and_can_be_stopped(self, beside: Beside) -> None:
        with beside.start_silent(any_free()) as starting:
            starting.kill()
        assert beside.listed() == {"one", "silent"}
        beside.guests.stop("silent")
        assert beside.running("silent.py") == []

    def test_it_can_be_stopped_while_it_is_waited_for(self, beside: Beside) -> None:
        with beside.start_silent(any_free()) as starting:
            beside.guests.stop("silent")
            assert starting.wait(60) != 0
            assert starting.stderr is not None
            assert b"silent was stopped before it answered" in starting.stderr.read()
        assert beside.listed() == {"one"}

    def test_the_stack_can_be_stopped_meanwhile(self, beside: Beside) -> None:
        with beside.start_silent(any_free()) as starting:
            beside.stack.down()
            assert starting.wait(60) != 0
        assert beside.running("silent.py") == []
        memory = beside.stack.folder.remembered()
        assert memory is not None
        assert set(memory.applications) == {"one"}
        assert beside.stack.up().ok
        assert beside.seen()["COLOUR"] == "red"

    def test_what_supervisord_refuses_is_said(self, beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gristmill.stack.applications._TAKEN", frozenset())
        with pytest.raises(StackFailed, match="supervisord refuses data: ALREADY_ADDED"):
            beside.guests.start("data", beside.files / "working.py", any_free())
        assert beside.stack.status().ok
        assert beside.listed() == {"one"}
