"""A whole stack on this machine: up, status, crashes, down, neighbours."""

import json
import os
import re
import signal
import stat
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest
from tests.support.stacks import SharedStack, alive_of, frozen, make, patiently, pids, supervisor_of

from gristmill.broker.queues import queue_names
from gristmill.client import Client
from gristmill.stack import PostgresServer, Stack, StackFailed, waiting
from gristmill.stack.errors import StillStarting
from gristmill.stack.processes import is_alive

APPLICATION = {"dispatcher", "api", "worker", "worker-long", "source-runner", "flower"}


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
        patiently(lambda: pids(stack.status()).get(name, before) != before, f"{name} runs again", 30)
        patiently(lambda: stack.status().ok, "every service answers again", 60)

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
        patiently(lambda: stack.status().ok, "every service answers again", 60)
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
        patiently(lambda: stack.status().ok, "every service answers again", 60)

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
        patiently(lambda: alive_of(stack) == [], lambda: f"all children have ended: {alive_of(stack)}", 60)
        assert not stack.status().ok
        stack.up()
        patiently(lambda: stack.status().ok, "every service answers again", 60)


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
        patiently(lambda: pids(stack.status()) == before, "the same processes run", 60)
        patiently(lambda: stack.status().ok, "every service answers", 60)

    def test_down_without_up_does_nothing(self, folder: Path) -> None:
        make(folder / "never").down()

    def test_a_postgres_that_is_late_goes_on_starting_and_the_next_up_finishes(
        self, light: SharedStack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        late = light.stopped()
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
            started = Counter(re.findall(r"spawned: '([\w-]+)'", failing.folder.log("supervisor").read_text()))
            assert max(started.values()) == 3, "what has ended twice is not waited for any longer"
        finally:
            failing.down()
