"""``gristmill keys``: a key has a permission; the option's old name works for one release and says so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gristmill.cli.main import app

Run = Callable[..., Result]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("GRISTMILL_DATABASE_URL", database_url)
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> Result:
        found = CliRunner().invoke(app, ["keys", *args, "--data", str(tmp_path / "none")])
        assert found.exit_code == 0, found.output
        return found

    return call


class TestCreate:
    def test_the_permission_is_stored_and_shown(self, run: Run) -> None:
        made = json.loads(run("create", "loader", "--permission", "read", "--json").stdout)
        assert (made["name"], made["scope"]) == ("loader", "read")
        assert "permission read" in run("create", "other", "--permission", "read").stderr
        listed = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
        assert [(key["name"], key["scope"]) for key in listed] == [("loader", "read"), ("other", "read")]

    def test_write_is_the_default(self, run: Run) -> None:
        assert json.loads(run("create", "loader", "--json").stdout)["scope"] == "write"

    def test_the_old_name_of_the_option_works_and_warns(self, run: Run) -> None:
        made = run("create", "loader", "--scope", "admin", "--json")
        assert json.loads(made.stdout)["scope"] == "admin"
        assert "--permission" in made.stderr
        assert "--permission" not in run("create", "other", "--permission", "admin", "--json").stderr
