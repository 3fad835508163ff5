"""docs/messy_export.md, word for word: a messy file becomes clean rows, with the command line and real workers."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.rest import Json, Rest

PAGE = (Path(__file__).parents[2] / "docs" / "messy_export.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


class Shell:
    """Runs the commands of the page in a folder, with ``gristmill`` on the path."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.env = {**os.environ, "PATH": path, "GRISTMILL_URL": url, "COLUMNS": "400"}

    def run(self, command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture
def shell(rest: Rest, tmp_path: Path) -> Shell:
    (tmp_path / "sales.csv").write_text(blocks("csv")[0])
    (tmp_path / "contract.json").write_text(blocks("json")[0])
    return Shell(tmp_path, rest.system.url)


def test_the_page_is_true(shell: Shell, rest: Rest) -> None:
    header, preview, checks, load, _list, mend = blocks("bash")
    shell.run(header)
    previewed = shell.run(preview)
    for line in blocks("text")[0].splitlines():
        assert line in previewed.stderr
    create, dry_run = checks.splitlines()
    shell.run(create)
    refused = shell.run(dry_run, code=3)
    assert "12/32/2010" in refused.stderr
    assert "a few" in refused.stderr
    job: Json = json.loads(shell.run(f"{load.strip()} --json").stdout)
    counts = ", ".join(f"{name} {number}" for name, number in job["record_counts"].items() if number)
    assert f"record_counts: {counts}" in blocks("text")[1]

    stored = rest.rows("sales")
    assert sorted(tuple(_shown(value) for value in row.values()) for row in stored) == _table()
    download, _, send = mend.strip().splitlines()
    shell.run(download.replace("JOB", job["id"]))
    bad = (shell.folder / "bad.csv").read_text()
    mended = bad.replace("12/32/2010", "12/31/2010").replace("a few", "3")
    (shell.folder / "bad.csv").write_text(mended)
    again: Json = json.loads(shell.run(f"{send.replace('JOB', job['id'])} --json").stdout)
    assert (again["record_counts"]["succeeded"], again["retry_of"]) == (2, job["id"])
    assert rest.http.delete("/api/v1/datasets/sales?confirm=sales").status_code == 202


def _shown(value: object) -> str:
    return "" if value is None else json.dumps(value).strip('"')


def _table() -> list[tuple[str, ...]]:
    lines = [line for line in PAGE.splitlines() if re.match(r"\| C?A\d", line)]
    return sorted(tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines)
