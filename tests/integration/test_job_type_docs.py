"""The tutorial of the first job type and the example can be followed as they are written."""

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.in_process import InProcess

from gristmill import plugin
from gristmill.testing import Sandbox

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs" / "first_job_type.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "job_types.md").read_text(encoding="utf-8")
CELERY = (ROOT / "docs" / "from_celery.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules that can be imported, and are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name in ("reports", "daily_weather"):
            del sys.modules[name]


class TestTutorial:
    def test_it_is_twenty_lines(self) -> None:
        code = blocks(TUTORIAL, "python")[0]
        assert len([line for line in code.splitlines() if line.strip()]) <= 20

    def test_its_calls_answer_what_it_says(self, importable: Path, database_url: str) -> None:
        (importable / "reports.py").write_text(blocks(TUTORIAL, "python")[0])
        app = InProcess(database_url, jobs_plugins="reports")
        with app.http:
            (listed,) = app.http.get("/api/v1/job-types").json()["job_types"]
            assert listed["title"] in TUTORIAL
            assert listed["name"] in TUTORIAL
            calls = [line for text in blocks(TUTORIAL, "bash") for line in text.splitlines() if line.startswith("curl")]
            answers = [self.send(app, line) for line in calls]
            assert [answer.status_code for answer in answers] == [202, 202, 202, 422]
            (said,) = blocks(TUTORIAL, "json")
            assert app.job(answers[2])["result"] == json.loads(said)
            assert [error["pointer"] for error in answers[3].json()["errors"]] == ["/args/at_least"]
            with app.gristmill.database.autocommit() as connection:
                kept = connection.exec_driver_sql("SELECT * FROM public.counts").all()
            assert [tuple(row) for row in kept] == [("pets", 2)]
        app.gristmill.database.close()

    def test_its_test_passes(self, importable: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        (importable / "reports.py").write_text(blocks(TUTORIAL, "python")[0])
        importlib.invalidate_caches()
        found: dict[str, Any] = {}
        exec(compile(blocks(TUTORIAL, "python")[1], "the tutorial", "exec"), found)
        found["Sandbox"] = lambda: Sandbox(database_url)
        found["test_pets_are_counted"]()

    @staticmethod
    def send(app: InProcess, line: str) -> Any:
        words = shlex.split(line.replace("$API", ""))
        url = next(word for word in words if word.startswith("/api/")).replace("wait=10", "wait=0")
        body = words[words.index("-d") + 1]
        return app.http.post(url, content=body.encode(), headers={"content-type": "application/json"})


class TestExample:
    def test_the_daily_weather_is_a_plugin(
        self, importable: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(str(ROOT / "examples"))
        app = InProcess(database_url, jobs_plugins="daily_weather")
        with app.http:
            fields = [("airport", "text", True), ("at", "timestamp", True), ("temperature", "float", False)]
            contract = {
                "name": "demo_weather",
                "fields": [{"name": name, "type": type_, "required": required} for name, type_, required in fields],
                "key": ["airport", "at"],
            }
            since = {"since": "2013-01-01T00:00:00Z"}
            body = {"type": "weather.daily", "args": since}
            assert app.http.post("/api/v1/jobs", json=body).json()["errors"][0]["code"] == "unknown_dataset"
            assert app.http.post("/api/v1/datasets", json=contract).status_code == 202
            records = [
                {"airport": "JFK", "at": f"2013-01-0{day}T{hour}:00:00Z", "temperature": day}
                for day in (1, 2)
                for hour in ("06", "18")
            ]
            app.post("demo_weather", records)
            job = app.job(app.http.post("/api/v1/jobs", json=body))
            assert (job["state"], job["result"], job["dataset"]) == ("succeeded", {"days": 2}, "demo_weather")
        app.gristmill.database.close()


class TestPages:
    def test_every_option_and_member_is_explained(self) -> None:
        section = PAGE[PAGE.index("## What a type says") : PAGE.index("## What a function is given")]
        options = plugin.job_type.__annotations__.keys() - {"name", "return"}
        assert [name for name in options if f"`{name}`" not in section] == []
        section = PAGE[PAGE.index("## What a function is given") : PAGE.index("## Transactions")]
        public = [name for name in vars(plugin.JobRun) if not name.startswith("_")]
        assert [name for name in public if not re.search(rf"`(run\.)?{name}\b", section)] == []

    def test_python_on_the_pages_is_python(self) -> None:
        for page in (PAGE, CELERY, TUTORIAL):
            for code in blocks(page, "python"):
                if "# Celery  " not in code:
                    compile(code, "a page", "exec")
