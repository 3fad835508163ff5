"""``gristmill demo`` against real processes: every step keeps what it promises, with either set of texts."""

from pathlib import Path

import pytest
from tests.support.system import System
from typer.testing import CliRunner

from gristmill.cli.demo import debian, steps, texts
from gristmill.cli.main import app


@pytest.mark.parametrize("chosen", ["demo_packages", "demo_operations"])
def test_every_step_succeeds(system: System, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if chosen == "demo_operations":
        monkeypatch.setattr(debian, "available", lambda: "")
    elif texts.choose_texts().name != chosen:
        pytest.skip("apt has no package lists here")
    # The builds of vector indexes have tests of their own; here nobody waits for one.
    monkeypatch.setattr(steps, "_INDEX_SECONDS", 0)
    result = CliRunner().invoke(app, ["demo", "--url", system.url, "--data", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "12 of 12 steps done" in result.output
    assert f"/datasets/{chosen}/search" in result.output
