"""Applications beside a stack, as far as that needs no stack: names, environment, what is kept of them and where."""

import json
import os
import subprocess
from pathlib import Path
from typing import Literal

from gristmill.stack.program import MARK, Program

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
