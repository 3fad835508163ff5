"""A stack that is moved, copied, stopped by others, run in the foreground, or run by an ordinary user."""

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from tests.support.freeze import freeze
from tests.support.servers import WANTED
from tests.support.stacks import SharedStack, alive_of, frozen, make, patiently, pids, supervisor_of
from tests.support.system import eventually

import gristmill
from gristmill.stack import Stack, StackFailed
from gristmill.stack.processes import is_alive
from gristmill.stack.supervisor import Supervisor

SCRIPT = """
import json, sys
from gristmill.core.config import Settings
from gristmill.stack import Stack
stack = Stack(Settings(stack_data=sys.argv[1], stack_broker=sys.argv[2], api_port=0, flower_port=0))
show = lambda status: print(json.dumps(status.as_json()), flush=True)
if sys.argv[3] == "stay":
    stack.foreground(show)
else:
    show(stack.up())
    stack.down()
"""


class TestMoved:
    def test_a_data_folder_starts_in_another_place_with_what_waits_in_it(self, whole: SharedStack) -> None:
        stack = whole.running()
        api = str(stack.status().url("api"))
        contract = {"name": "moved", "fields": [{"name": "k", "type": "text", "required": True}], "key": ["k"]}
        assert httpx.post(f"{api}/api/v1/datasets?wait=30", json=contract, timeout=60).status_code == 200
        running = pids(stack.status())
        freeze(running["worker"], running["dispatcher"])
        job = httpx.post(f"{api}/api/v1/datasets/moved/records", json=[{"k": "a"}], timeout=60).json()
        supervisor = psutil.Process(supervisor_of(stack))
        for process in [*alive_of(stack), supervisor]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        stack.down()
        moved = whole.move(stack.folder.path.with_name("there"))
        assert moved.up().ok
        api = str(moved.status().url("api"))
        done = httpx.get(f"{api}{job['links']['self']}?wait=30", timeout=60).json()
        assert done["state"] == "succeeded"

    def test_a_folder_that_is_moved_under_its_processes_stops_in_order(self, light: SharedStack) -> None:
        stack = light.running()
        running = [*alive_of(stack), psutil.Process(supervisor_of(stack))]
        elsewhere = stack.folder.path.with_name("elsewhere")
        elsewhere.mkdir()
        said = len(stack.folder.log("postgres").read_text())
        moved = light.move(elsewhere / "there")
        assert any("before this folder was moved" in note for note in moved.status().notes)
        moved.down()
        assert not any(is_alive(process) for process in running)
        log = moved.folder.log("postgres").read_text()[said:]
        assert "PANIC" not in log
        assert "database system is shut down" in log
        assert not os.path.lexists(stack.folder.path)
        assert moved.up().ok

    def test_up_in_the_new_place_stops_what_runs_and_starts_it_there(self, light: SharedStack) -> None:
        stack = light.running()
        moved = light.move(stack.folder.path.with_name("further"))
        assert moved.up().ok
        assert moved.folder.remembered().place == str(moved.folder.path)  # type: ignore[union-attr]
        assert "PANIC" not in moved.folder.log("postgres").read_text()

    def test_a_copy_does_not_stop_the_stack_that_it_is_a_copy_of(self, light: SharedStack, folder: Path) -> None:
        stack = light.running()
        (folder / "copy" / "run").mkdir(parents=True)
        shutil.copy(stack.folder.memory_file, folder / "copy" / "stack.json")
        copy = make(folder / "copy", "valkey")
        for command in (copy.down, copy.up):
            with pytest.raises(StackFailed, match="is a copy of"):
                command()
        patiently(lambda: stack.status().ok, "every service answers", 60)


class TestStopping:
    """While the supervisor stops everything it answers nothing else; a service that is frozen holds it up."""

    def test_status_says_so_and_up_waits_and_starts_anew(self, light: SharedStack) -> None:
        stack = light.running()
        before = pids(stack.status())
        with frozen(before["api"]), ThreadPoolExecutor(1) as pool:
            self._stop(stack)
            status = stack.status()
            assert not status.ok
            assert "The stack is being stopped." in status.notes
            lines: list[str] = []
            again = pool.submit(make(stack.folder.path, "valkey", lines.append).up)
            eventually(lambda: lines, "up says that it waits", 30)
            assert lines == ["waiting until what ran before has stopped"]
            os.kill(before["api"], signal.SIGCONT)
            assert again.result(120).ok
        assert not set(pids(stack.status()).values()) & set(before.values())

    def test_who_stays_in_the_foreground_leaves_in_order(self, light: SharedStack) -> None:
        """Or a service manager would take it for a crash, and start it again after ``down``."""
        stack = light.running()
        command = [sys.executable, "-c", SCRIPT, str(stack.folder.path), "valkey", "stay"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as foreground:
            assert foreground.stdout is not None
            assert json.loads(foreground.stdout.readline())["ok"]
            with frozen(pids(stack.status())["api"]):
                self._stop(stack)
                with pytest.raises(subprocess.TimeoutExpired):
                    foreground.wait(3)
            assert foreground.wait(60) == 0
        assert alive_of(stack) == []

    def _stop(self, stack: Stack) -> None:
        os.kill(supervisor_of(stack), signal.SIGTERM)
        memory = stack.folder.remembered()
        assert memory is not None
        supervisor = Supervisor(stack.folder, memory.socket, memory.id)
        eventually(supervisor.stopping, "the supervisor stops", 30)


class TestForeground:
    def test_a_killed_supervisor_is_started_again_and_ctrl_c_stops_everything(self, light: SharedStack) -> None:
        watched = light.stopped()
        command = [sys.executable, "-c", SCRIPT, str(watched.folder.path), "valkey", "stay"]
        # Whoever runs the tests in the background has Ctrl-C ignored, which children inherit.
        heeding = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heeding) as foreground:
            assert foreground.stdout is not None
            assert json.loads(foreground.stdout.readline())["ok"]
            killed = supervisor_of(watched)
            os.kill(killed, signal.SIGKILL)

            def replaced() -> bool:
                with contextlib.suppress(ValueError):  # The new one is writing its number.
                    return supervisor_of(watched) != killed
                return False

            eventually(replaced, "another supervisor runs", 60)
            patiently(lambda: watched.status().ok, "every service answers again", 120)
            foreground.send_signal(signal.SIGINT)
            assert foreground.wait(60) == 0
        assert alive_of(watched) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests ran as an ordinary user already")
class TestOrdinaryUser:
    def test_it_runs_without_root(self, folder: Path) -> None:
        python = self._python()
        stack = make(folder / "theirs")
        stack.folder.path.mkdir()
        shutil.chown(stack.folder.path, "nobody", "nogroup")
        packages = Path(psutil.__file__).parents[1]
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        environment["PYTHONPATH"] = f"{Path(gristmill.__file__).parents[1]}:{packages}"
        command = [*self._as_nobody(), python, "-c", SCRIPT, str(stack.folder.path), WANTED, "down"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["ok"]
        assert alive_of(stack) == []

    def _as_nobody(self) -> list[str]:
        return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]

    def _python(self) -> str:
        """A Python of the same version that other users can run."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        # It must be able to start itself: what setpriv may execute is not what the user may.
        itself = "subprocess.call([sys.executable, '-V'])"
        code = f"import subprocess, sys; sys.exit(sys.version[:4] != {version!r} or {itself})"
        for candidate in (sys.executable, f"/usr/bin/python{version}"):
            probe = [*self._as_nobody(), candidate, "-c", code]
            if subprocess.run(probe, check=False, capture_output=True, cwd="/").returncode == 0:
                return candidate
        pytest.skip(f"no Python {version} that another user may run")
