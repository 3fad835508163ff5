"""Applications beside a stack, as far as that needs no stack: names, environment, what is kept of them and where."""

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Literal

import pytest

from gristmill.core.config import Settings
from gristmill.stack import Guests, StackFailed
from gristmill.stack.applications import check_application, keep_variables, services_of
from gristmill.stack.layout import Application, DataFolder, Memory
from gristmill.stack.program import MARK, Program
from gristmill.stack.supervisor import Supervisor

SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def seen(tmp_path: Path, group: Literal["own", "app"], variables: dict[str, str]) -> dict[str, str]:
    """Return the environment that a program has, started from a shell with an API key and a variable of its own."""
    program = Program("one", ("python3", "-c", SHOW), tmp_path, group, variables)
    shell = {**os.environ, "GRISTMILL_API_KEY": "of the shell", "GRISTMILL_DATABASE_URL": "secret", "OTHER": "o"}
    command = program.write(tmp_path / "one.json", "mark")
    done = subprocess.run(command, env=shell, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


class TestEnvironment:
    def test_an_application_gets_no_setting_or_key_of_the_shell_that_started_the_stack(self, tmp_path: Path) -> None:
        found = seen(tmp_path, "own", {"GRISTMILL_URL": "http://h", "PORT": "1"})
        assert {name: value for name, value in found.items() if name.startswith("GRISTMILL_")} == {
            "GRISTMILL_URL": "http://h",
            MARK: "mark",
        }
        assert (found["PORT"], found["OTHER"]) == ("1", "o")

    def test_it_gets_the_key_that_is_its_own(self, tmp_path: Path) -> None:
        assert seen(tmp_path, "own", {"GRISTMILL_API_KEY": "its own"})["GRISTMILL_API_KEY"] == "its own"

    def test_a_service_of_the_stack_has_all_of_it(self, tmp_path: Path) -> None:
        assert seen(tmp_path, "app", {})["GRISTMILL_DATABASE_URL"] == "secret"


class TestVariables:
    def test_their_values_are_readable_by_their_owner_alone(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path)
        folder.create()
        listed = {"one": Application("/there/one.py", 8101)}
        keep_variables(folder.application_variables("one"), {"PASSWORD": "hidden"})
        folder.remember(Memory(applications=listed))
        (service,) = services_of(listed, Settings(), folder)
        assert service.program.environment["PASSWORD"] == "hidden"
        assert "hidden" not in folder.memory_file.read_text()
        readable = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
        assert [path for path in readable if "hidden" in path.read_text()] == []
        assert stat.S_IMODE(folder.application_variables("one").stat().st_mode) == 0o600

    def test_a_memory_that_has_them_still_is_read_and_written_without(self, tmp_path: Path) -> None:
        folder = DataFolder(tmp_path)
        folder.create()
        one = {"file": "/there/one.py", "port": 8101, "variables": {"PASSWORD": "hidden"}}
        folder.memory_file.write_text(json.dumps({"applications": {"one": one}}))
        memory = folder.remembered()
        assert memory is not None
        assert memory.applications == {"one": Application("/there/one.py", 8101)}
        folder.remember(memory)
        assert "hidden" not in folder.memory_file.read_text()


class TestNames:
    @pytest.mark.parametrize("name", ["app", "data", "broker", "names", "own", "postgres", "worker-long"])
    def test_those_of_services_and_of_their_groups_are_refused_by_name(self, name: str) -> None:
        with pytest.raises(StackFailed, match=f"The name '{name}' is one of the stack itself"):
            check_application(name, Path(__file__), 8101)

    def test_what_is_no_name_is_refused_with_what_one_is(self) -> None:
        with pytest.raises(StackFailed, match="'No name' names no application: a letter"):
            check_application("No name", Path(__file__), 8101)

    def test_without_a_data_folder_start_and_stop_say_that_no_stack_runs(self, tmp_path: Path) -> None:
        guests = Guests(Settings(stack_data=str(tmp_path / "none")))
        with pytest.raises(StackFailed, match="No stack runs in"):
            guests.start("one", Path(__file__), 8101)
        with pytest.raises(StackFailed, match="No stack runs in"):
            guests.stop("one")
        assert not (tmp_path / "none").exists()


def test_a_program_that_is_added_leaves_the_descriptions_of_the_others_as_they_are(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.create()
    supervisor = Supervisor(folder, str(tmp_path / "s"), "mark")
    first = Program("api", ("true",), tmp_path, "app", {"GRISTMILL_API_PORT": "1"})
    supervisor.configure([first])
    before = folder.description("api").read_text()
    changed = Program("api", ("true",), tmp_path, "app", {"GRISTMILL_API_PORT": "2"})
    supervisor.configure([changed, Program("mine", ("true",), tmp_path, "own")], "mine")
    assert folder.description("api").read_text() == before
    assert "[program:mine]" in (folder.run / "supervisord.conf").read_text()
    supervisor.configure([changed])
    assert folder.description("api").read_text() != before
