"""Settings: one rule names them everywhere, and every one is documented with its true default."""

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.core.config import Settings, load_settings
from gristmill.core.errors import Invalid

ROOT = Path(__file__).resolve().parents[2]
# Keys whose meaning stands in the comment above the key before them.
COVERED = (
    *("port", "retry_max", "chunk_records", "time_limit", "long_processes", "long_soft_time_limit"),
    *("long_time_limit", "build_workers", "user", "password", "broker_port"),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and an environment without settings."""
    import os  # noqa: PLC0415

    for name in list(os.environ):
        if name.startswith("GRISTMILL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ini_values() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "config.ini", encoding="utf-8")
    return {f"{section}_{key}": value for section in parser.sections() for key, value in parser.items(section)}


class TestDocumentation:
    def test_config_ini_names_every_setting_and_no_other(self) -> None:
        assert set(ini_values()) == set(Settings.model_fields)

    def test_config_ini_shows_the_true_defaults(self, folder: Path) -> None:
        given = {name: value for name, value in ini_values().items() if value}
        assert Settings(**given).model_dump() == Settings().model_dump()

    def test_every_key_in_config_ini_is_explained(self) -> None:
        explained = False
        for line in (ROOT / "config.ini").read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                explained = True
            elif line.startswith("[") or not line.strip():
                explained = False
            else:
                key = line.split("=")[0].strip()
                assert explained or key in COVERED, key


class TestPrecedence:
    def test_flag_beats_environment_beats_dotenv_beats_ini(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "config.ini").write_text("[api]\nport = 1\nthreads = 11\nmax_wait = 1\npool = 3\n")
        (folder / ".env").write_text("GRISTMILL_API_PORT=2\nGRISTMILL_API_THREADS=12\n")
        monkeypatch.setenv("GRISTMILL_API_PORT", "3")
        settings = load_settings(api_port=4)
        assert (settings.api_port, settings.api_threads, settings.api_max_wait) == (4, 12, 1.0)
        assert load_settings().api_port == 3

    def test_a_bad_value_names_the_setting_and_what_would_be_valid(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GRISTMILL_API_PORT", "70000")
        with pytest.raises(Invalid, match=r"api_port: .*65535.*70000"):
            load_settings()


@pytest.mark.parametrize("process", ["api", "dispatcher", "worker", "stack.flower"])
def test_a_process_says_in_a_line_which_setting_is_wrong(process: str, tmp_path: Path) -> None:
    environment = {**os.environ, "GRISTMILL_API_PORT": "many", "GRISTMILL_CONFIG": str(tmp_path / "none.ini")}
    command = [sys.executable, "-m", f"gristmill.{process}"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert (json.loads(line)["event"], "Traceback" in line) == ("settings.refused", False)
    assert "api_port" in line
    assert "'many'" in line
