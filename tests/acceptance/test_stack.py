"""A whole stack on this machine: up, status, crashes, down, neighbours, an ordinary user."""

import contextlib
import functools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.support.folders import open_folder
from tests.support.servers import WANTED
from tests.support.system import eventually

import gristmill
from gristmill.broker.queues import queue_names
from gristmill.client import Client
from gristmill.core.config import Settings
from gristmill.stack import PostgresServer, Stack, StackFailed, StackStatus, waiting
from gristmill.stack.errors import StillStarting
from gristmill.stack.processes import is_alive
from gristmill.stack.program import MARK
from gristmill.stack.supervisor import Supervisor

APPLICATION = {"dispatcher", "api", "worker", "worker-long", "source-runner", "flower"}


def make(folder: Path, broker: Any = WANTED, say: Callable[[str], None] = lambda line: None, **settings: Any) -> Stack:
    return Stack(Settings(stack_data=str(folder), stack_broker=broker, api_port=0, flower_port=0, **settings), say)


def pids(status: StackStatus) -> dict[str, int]:
    return {service.name: service.pid for service in status.services if service.pid is not None}


def alive_of(stack: Stack) -> list[psutil.Process]:
    """Every living process of the stack: by its mark, or by its data folder on the command line."""
    memory = stack.folder.remembered()
    assert memory is not None
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK) == memory.id or str(stack.folder.path) in " ".join(process.cmdline())
        except psutil.Error:
            continue
        if ours and process.pid != os.getpid() and is_alive(process):
            found.append(process)
    return found


def supervisor_of(stack: Stack) -> int:
    return int((stack.folder.run / "supervisor.pid").read_text())


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Within the block the process keeps its connections and answers nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with open_folder() as path:
        found = make(path / "data")
        found.up()
        yield found
        found.down()


class TestUp:
    def test_every_service_runs_and_answers(self, stack: Stack) -> None:
        status = stack.status()
        assert status.ok
        broker = "valkey" if "valkey" in pids(status) else "rabbitmq"
        assert set(pids(status)) >= {"postgres", broker, *APPLICATION}
        assert httpx.get(f"{status.url('api')}/readyz", timeout=60).status_code == 200
        with Client(status.url("api") or "") as client:
            client.create_dataset({"name": "filed", "fields": [{"name": "n", "type": "integer"}]}, wait=True)
            export = client.create_export("filed", format="ndjson")["result"]
        assert (stack.folder.files / "exports" / export["export"] / "1.ndjson").read_bytes() == b""
        json.dumps(status.as_json())

    def test_flower_asks_for_the_password_that_is_in_the_file_which_status_names(self, stack: Stack) -> None:
        flower = next(service for service in stack.status().services if service.name == "flower")
        file = Path(str(flower.password_file))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        login = (str(flower.user), file.read_text())
        assert login == (stack.settings().flower_user, stack.settings().flower_password)
        for path in ("/", "/metrics"):
            assert httpx.get(f"{flower.url}{path}", timeout=60).status_code == 401
            assert httpx.get(f"{flower.url}{path}", auth=login, timeout=60).status_code == 200

    def test_the_broker_page_of_flower_shows_the_queues(self, stack: Stack) -> None:
        settings = stack.settings()
        login = (settings.flower_user, settings.flower_password)
        page = httpx.get(f"{stack.status().url('flower')}/broker", auth=login, timeout=60).text
        assert [name for name in queue_names() if f"gristmill.{name}" not in page] == []

    def test_a_second_up_changes_nothing(self, stack: Stack) -> None:
        before = pids(stack.status())
        assert pids(stack.up()) == before

    @pytest.mark.parametrize("name", ["api", "worker", "dispatcher", "postgres"])
    def test_a_crashed_child_is_restarted(self, stack: Stack, name: str) -> None:
        before = pids(stack.status())[name]
        os.kill(before, signal.SIGKILL)
        eventually(lambda: pids(stack.status()).get(name, before) != before, f"{name} runs again", 30)
        eventually(lambda: stack.status().ok, "every service answers again", 60)

    def test_what_is_late_is_named_and_nothing_is_stopped_for_it(
        self, stack: Stack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = pids(stack.status())
        broker = "valkey" if "valkey" in before else "rabbitmq"
        monkeypatch.setattr(waiting, "_START_SECONDS", 4)
        with frozen(before[broker]):
            status = stack.up()
            assert [service.name for service in status.services if not service.ready] == [broker]
            assert any(note.startswith(f"{broker} is not ready after 4 s") for note in status.notes)
            assert httpx.get(f"{status.url('api')}/readyz").status_code == 200
        eventually(lambda: stack.status().ok, "every service answers again", 60)
        assert pids(stack.status()) == before

    def test_status_names_what_does_not_answer_and_asks_the_others_all_the_same(self, stack: Stack) -> None:
        before = pids(stack.status())
        with frozen(before["api"]):
            status = stack.status()
            assert [service.name for service in status.services if not service.ready] == ["api"]
            assert "api: no answer within 1 s" in status.notes
        with frozen(supervisor_of(stack)):
            status = stack.status()
            assert not status.ok
            assert "supervisor: no answer within 1 s" in status.notes
        eventually(lambda: stack.status().ok, "every service answers again", 60)

    @pytest.mark.promise(1)
    def test_after_a_kill_of_the_supervisor_up_starts_all_anew_on_the_same_ports(self, stack: Stack) -> None:
        before = stack.status()
        old = [psutil.Process(pid) for pid in pids(before).values()]
        os.kill(supervisor_of(stack), signal.SIGKILL)
        after = stack.up()
        assert after.ok
        assert [process for process in old if is_alive(process)] == []
        assert {service.name: service.url for service in after.services} == {
            service.name: service.url for service in before.services
        }

    def test_a_child_does_not_outlive_its_supervisor(self, stack: Stack) -> None:
        os.kill(supervisor_of(stack), signal.SIGKILL)
        eventually(lambda: alive_of(stack) == [], lambda: f"all children have ended: {alive_of(stack)}", 60)
        assert not stack.status().ok
        stack.up()
        eventually(lambda: stack.status().ok, "every service answers again", 60)


class TestDown:
    def test_a_neighbour_comes_and_goes_and_leaves_nothing(self, stack: Stack, folder: Path) -> None:
        before = pids(stack.status())
        neighbour = make(folder / "neighbour")
        try:
            status = neighbour.up()
            assert status.ok
            ours, theirs = ({s.url for s in found.services if s.url} for found in (stack.status(), status))
            assert not ours & theirs
        finally:
            neighbour.down()
        assert alive_of(neighbour) == []
        assert not neighbour.status().running
        # ``status`` waits a second for each answer, which a busy machine may take.
        eventually(lambda: pids(stack.status()) == before, "the same processes run", 60)
        eventually(lambda: stack.status().ok, "every service answers", 60)

    def test_down_without_up_does_nothing(self, folder: Path) -> None:
        make(folder / "never").down()

    def test_a_postgres_that_is_late_goes_on_starting_and_the_next_up_finishes(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        late = make(folder / "late", "valkey")
        try:
            with monkeypatch.context() as patch:
                # As one that replays its log after a crash: it runs, and takes no connections.
                patch.setattr(waiting, "_START_SECONDS", 1)
                patch.setattr(PostgresServer, "ready", lambda self: False)
                with pytest.raises(StillStarting, match="postgres is not ready"):
                    late.up()
            supervisor = psutil.Process(supervisor_of(late))
            assert late.up().ok
            assert supervisor_of(late) == supervisor.pid
            assert is_alive(supervisor)
        finally:
            late.down()
        assert alive_of(late) == []

    def test_an_up_that_fails_leaves_nothing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "fatal_plugin.py").write_text("import os, sys\nprint('no licence', file=sys.stderr)\nos._exit(3)\n")
        monkeypatch.setenv("PYTHONPATH", str(folder))
        failing = make(folder / "failing", "valkey", jobs_plugins="fatal_plugin")
        try:
            with pytest.raises(StackFailed, match="no licence"):
                failing.up()
            assert alive_of(failing) == []
        finally:
            failing.down()


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


class TestForeground:
    def test_a_killed_supervisor_is_started_again_and_ctrl_c_stops_everything(self, folder: Path) -> None:
        watched = make(folder / "watched", "valkey")
        command = [sys.executable, "-c", SCRIPT, str(watched.folder.path), "valkey", "stay"]
        try:
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
                eventually(lambda: watched.status().ok, "every service answers again", 120)
                foreground.send_signal(signal.SIGINT)
                assert foreground.wait(60) == 0
            assert alive_of(watched) == []
        finally:
            watched.down()


class TestMoved:
    def test_a_data_folder_starts_in_another_place_with_what_waits_in_it(self, folder: Path) -> None:
        stack = make(folder / "here")
        stack.up()
        api = str(stack.status().url("api"))
        contract = {"name": "moved", "fields": [{"name": "k", "type": "text", "required": True}], "key": ["k"]}
        assert httpx.post(f"{api}/api/v1/datasets?wait=30", json=contract, timeout=60).status_code == 200
        for name in ("worker", "dispatcher"):
            os.kill(pids(stack.status())[name], signal.SIGSTOP)
        job = httpx.post(f"{api}/api/v1/datasets/moved/records", json=[{"k": "a"}], timeout=60).json()
        supervisor = psutil.Process(supervisor_of(stack))
        for process in [*alive_of(stack), supervisor]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        stack.down()
        moved = make(stack.folder.path.rename(folder / "there"))
        try:
            assert moved.up().ok
            api = str(moved.status().url("api"))
            done = httpx.get(f"{api}{job['links']['self']}?wait=30", timeout=60).json()
            assert done["state"] == "succeeded"
        finally:
            moved.down()

    def test_a_folder_that_is_moved_under_its_processes_stops_in_order(self, folder: Path) -> None:
        stack = make(folder / "here", "valkey")
        stack.up()
        running = [*alive_of(stack), psutil.Process(supervisor_of(stack))]
        (folder / "elsewhere").mkdir()
        moved = make(stack.folder.path.rename(folder / "elsewhere" / "there"), "valkey")
        assert any("before this folder was moved" in note for note in moved.status().notes)
        moved.down()
        assert not any(is_alive(process) for process in running)
        log = moved.folder.log("postgres").read_text()
        assert "PANIC" not in log
        assert "database system is shut down" in log
        assert not os.path.lexists(stack.folder.path)
        try:
            assert moved.up().ok
        finally:
            moved.down()

    def test_up_in_the_new_place_stops_what_runs_and_starts_it_there(self, folder: Path) -> None:
        stack = make(folder / "here", "valkey")
        stack.up()
        moved = make(stack.folder.path.rename(folder / "there"), "valkey")
        try:
            assert moved.up().ok
            assert moved.folder.remembered().place == str(moved.folder.path)  # type: ignore[union-attr]
            assert "PANIC" not in moved.folder.log("postgres").read_text()
        finally:
            moved.down()

    def test_a_copy_does_not_stop_the_stack_that_it_is_a_copy_of(self, folder: Path) -> None:
        stack = make(folder / "here", "valkey")
        stack.up()
        try:
            (folder / "copy" / "run").mkdir(parents=True)
            shutil.copy(stack.folder.memory_file, folder / "copy" / "stack.json")
            copy = make(folder / "copy", "valkey")
            for command in (copy.down, copy.up):
                with pytest.raises(StackFailed, match="is a copy of"):
                    command()
            eventually(lambda: stack.status().ok, "every service answers", 60)
        finally:
            stack.down()


class TestStopping:
    """While the supervisor stops everything it answers nothing else; a service that is frozen holds it up."""

    def test_status_says_so_and_up_waits_and_starts_anew(self, folder: Path) -> None:
        stack = make(folder / "stopping", "valkey")
        stack.up()
        try:
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
        finally:
            stack.down()

    def test_who_stays_in_the_foreground_leaves_in_order(self, folder: Path) -> None:
        """Or a service manager would take it for a crash, and start it again after ``down``."""
        stack = make(folder / "left", "valkey")
        command = [sys.executable, "-c", SCRIPT, str(stack.folder.path), "valkey", "stay"]
        try:
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as foreground:
                assert foreground.stdout is not None
                assert json.loads(foreground.stdout.readline())["ok"]
                with frozen(pids(stack.status())["api"]):
                    self._stop(stack)
                    with pytest.raises(subprocess.TimeoutExpired):
                        foreground.wait(3)
                assert foreground.wait(60) == 0
            assert alive_of(stack) == []
        finally:
            stack.down()

    def _stop(self, stack: Stack) -> None:
        os.kill(supervisor_of(stack), signal.SIGTERM)
        memory = stack.folder.remembered()
        assert memory is not None
        supervisor = Supervisor(stack.folder, memory.socket, memory.id)
        eventually(supervisor.stopping, "the supervisor stops", 30)


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
