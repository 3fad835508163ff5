"""The parts of the stack that need no process: ports, memory, configuration, Flower's options."""

import random
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gristmill.cli.host import show_status
from gristmill.cli.output import Output
from gristmill.core.config import Settings
from gristmill.core.errors import Invalid
from gristmill.stack import StackFailed, flower, ports, services
from gristmill.stack.asking import ask_all
from gristmill.stack.layout import DataFolder, Memory
from gristmill.stack.plan import make_plan
from gristmill.stack.program import Program
from gristmill.stack.report import ServiceStatus, StackStatus, describe
from gristmill.stack.server import secret
from gristmill.stack.supervisor import Supervisor

# So few that sixty random ones of them are not all different by chance; elsewhere in each run, for it may not be alone.
_FIRST = random.randrange(15_000, 31_800)
FEW = range(_FIRST, _FIRST + 200)
HOLDS_SIXTY = f"""
from gristmill.stack import ports
ports._CANDIDATES = {FEW!r}
for _ in range(60):
    print(ports.any_free(), flush=True)
input()
"""


def plan(before: Memory | None, **settings: Any) -> dict[str, int]:
    """The ports of a new start."""
    return make_plan(Settings(stack_broker="valkey", **settings), before, lambda _line: None).ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


class TestPorts:
    def test_a_free_configured_port_is_taken(self) -> None:
        port = ports.any_free()
        assert ports.choose("api_port", port, 8000, None) == port

    def test_zero_means_any_free_one(self) -> None:
        assert ports.is_free(ports.choose("api_port", 0, 0, None))

    def test_zero_does_not_ask_for_an_address_of_ipv4(self) -> None:
        assert ports.is_free(ports.choose("api_port", 0, 0, None, "::1"))

    def test_the_port_of_last_time_is_used_again(self) -> None:
        port = ports.any_free()
        assert ports.choose("api_port", 0, 0, port) == port

    def test_a_remembered_port_that_is_taken_is_replaced(self, taken: int) -> None:
        assert ports.choose("stack_postgres_port", 0, 0, taken) != taken

    def test_a_taken_default_moves_on(self, taken: int) -> None:
        assert ports.choose("api_port", taken, taken, None) > taken

    def test_a_taken_port_that_was_asked_for_is_an_error_that_names_it(self, taken: int) -> None:
        with pytest.raises(StackFailed, match=f"Port {taken} is taken, but api_port"):
            ports.choose("api_port", taken, 8000, None)

    def test_no_port_is_given_twice_while_its_server_starts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ports, "_CANDIDATES", FEW)
        command = [sys.executable, "-c", HOLDS_SIXTY]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            theirs = {int(line) for line in (other.stdout.readline() for _ in range(60))}
            ours = {ports.any_free() for _ in range(60)}
            other.communicate("\n")
        assert len(theirs) == len(ours) == 60
        assert not theirs & ours

    def test_a_server_listens_on_a_port_that_is_held_for_it(self) -> None:
        with socket.create_server(("127.0.0.1", ports.any_free())) as server:
            assert not ports.is_free(server.getsockname()[1])

    def test_a_port_is_chosen_right_after_its_server_ended(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
                pass
        assert ports.choose("api_port", port, 8000, None) == port

    def test_a_port_that_two_services_are_configured_to_use_is_an_error_that_names_it(self) -> None:
        port = ports.any_free()
        with pytest.raises(StackFailed, match=f"Port {port} is taken, but flower_port"):
            plan(None, api_port=port, flower_port=port)

    def test_services_of_one_stack_share_no_port_whatever_they_had(self) -> None:
        api, flower = ports.any_free(), ports.any_free()
        before = Memory(
            ports={"postgres": api, "broker": flower, "names": api, "node": flower},
            asked={"postgres": 0, "broker": 0},
        )
        found = plan(before, api_port=api, flower_port=flower)
        assert (found["api"], found["flower"]) == (api, flower)
        assert len(set(found.values())) == len(found) == 6


class TestDataFolder:
    def test_memory_survives_and_a_first_start_has_none(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path / "data")
        assert folder.remembered() is None
        folder.create()
        memory = Memory(ports={"api": 8000}, asked={"api": 0})
        folder.remember(memory)
        assert folder.remembered() == memory

    def test_a_long_path_gets_a_socket_elsewhere(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path / ("x" * 120))
        folder.create()
        memory = Memory()
        folder.remember(memory)
        assert len(memory.socket) < 100
        Path(memory.socket).parent.rmdir()

    def test_a_broken_memory_is_named(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path)
        folder.memory_file.write_text("{")
        with pytest.raises(StackFailed, match=r"stack\.json"):
            folder.remembered()

    def test_two_commands_at_once_are_refused(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path)
        folder.create()
        with folder.locked(), pytest.raises(StackFailed, match="Another command"), folder.locked():
            pass


class TestSecrets:
    def test_a_secret_is_made_once_and_only_its_owner_reads_it(self, tmp_path: Path) -> None:
        path = tmp_path / "password"
        assert secret(path) == secret(path)
        assert len(secret(path)) == 40
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_no_secret_reaches_the_command_line_or_a_readable_file(self, tmp_path: Path) -> None:
        program = Program("api", ("api",), tmp_path, "app", {"GRISTMILL_DATABASE_URL": "postgresql://u:hidden@h/d"})
        folder = DataFolder(tmp_path)
        folder.create()
        Supervisor(folder, str(tmp_path / "s"), "mark").configure([program])
        assert "hidden" not in (folder.run / "supervisord.conf").read_text()
        assert stat.S_IMODE((folder.run / "api.json").stat().st_mode) == 0o600

    def test_a_path_that_supervisord_cannot_read_is_refused(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path / "100%")
        folder.create()
        with pytest.raises(StackFailed, match="percent"):
            Supervisor(folder, str(tmp_path / "s"), "mark").configure([])


class TestFlower:
    def test_it_refuses_to_run_without_a_password(self) -> None:
        with pytest.raises(Invalid, match="password"):
            flower.variables(Settings(flower_password=""))

    def test_it_keeps_a_bounded_number_of_tasks_behind_a_password(self) -> None:
        found = flower.variables(Settings(flower_user="ann", flower_password="s3cret"))
        assert found["FLOWER_BASIC_AUTH"] == "ann:s3cret"
        assert int(found["FLOWER_MAX_TASKS"]) == 10_000


class TestServices:
    def test_children_see_every_setting(self) -> None:
        settings = Settings(api_port=8123, api_require_key=True, worker_processes=7)
        found = services.environment(settings)
        assert set(found) == {f"GRISTMILL_{name.upper()}" for name in Settings.model_fields}
        assert found["GRISTMILL_API_PORT"] == "8123"
        assert found["GRISTMILL_API_REQUIRE_KEY"] == "True"

    def test_flower_gets_a_password_that_stays(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path)
        first = services.with_flower_password(Settings(flower_password=""), folder)
        assert first.flower_password
        assert services.with_flower_password(Settings(flower_password=""), folder) == first

    @pytest.mark.parametrize("configured", ["", "chosen"])
    def test_the_password_that_flower_starts_with_is_in_its_file_for_its_owner_alone(
        self, tmp_path: Path, configured: str
    ) -> None:
        folder = DataFolder(tmp_path)
        folder.create()
        settings = Settings(flower_password=configured)
        services.keep_flower_password(settings, folder)
        kept = folder.flower_password
        assert kept.read_text() == (configured or services.with_flower_password(settings, folder).flower_password)
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    def test_status_names_user_and_file_of_flower_and_never_the_password(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path)
        settings = Settings(flower_user="ann", flower_password="s3cret")
        flower_ = next(one for one in services.application(settings, folder) if one.program.name == "flower")
        status = describe(flower_, {}, False, "log")
        assert (status.user, status.password_file) == ("ann", str(tmp_path / "flower" / "password"))
        assert "s3cret" not in str(status)

    def test_up_and_status_print_address_user_and_file_on_one_line(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        service = ServiceStatus("flower", "running", url="http://h:1", user="ann", password_file=str(tmp_path / "p"))
        session: Any = SimpleNamespace(output=Output(json=False))
        show_status(session, StackStatus("data", [service, ServiceStatus("api", "running")]))
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if "password" in line] == [
            f"flower: http://h:1, user ann, password in {tmp_path / 'p'}"
        ]


class TestAsking:
    def test_answers_that_come_in_time_are_given_and_nobody_waits_for_the_others(self) -> None:
        never = threading.Event()
        answers = ask_all({"quick": lambda: 1, "silent": lambda: int(never.wait())}, 0.2)
        assert answers == {"quick": 1}
        never.set()

    def test_without_questions_there_are_no_answers(self) -> None:
        assert ask_all({}, 1) == {}
