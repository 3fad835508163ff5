"""How plugins are found and loaded: by the setting and by entry points, whatever is wrong with others."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.in_process import InProcess

from gristmill.bootstrap import plugins
from gristmill.bootstrap.registry import build_catalogue, build_registry, job_types
from gristmill.bootstrap.shared import Gristmill
from gristmill.core.config import Settings

ALL = "good importing rival usurping broken exiting mistaken half"
OURS = "tests.support.plugins."


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        del sys.modules[name]


def load(names: str, **settings: Any) -> dict[str, Any]:
    """Return the plugins by their last names, as REST lists them."""
    named = " ".join(OURS + name for name in names.split())
    gristmill = Gristmill(Settings(jobs_plugins=named, **settings), "test-plugins")
    found = build_catalogue(gristmill).as_json()["plugins"]
    return {one["name"].removeprefix(OURS): one for one in found}


class TestSetting:
    def test_each_plugin_that_fails_is_named_with_its_reason_and_the_others_work(self) -> None:
        with capture_logs() as logs:
            found = load(ALL)
        assert {name: one["job_types"] for name, one in found.items() if one["state"] == "loaded"} == {
            "good": ["good.one"],
            "importing": ["importing.two"],
        }
        errors = {name: one["error"] for name, one in found.items() if one["state"] == "failed"}
        for name, said in {
            "broken": "ModuleNotFoundError: No module named 'no_such_library'",
            "exiting": "SystemExit: not without a licence",
            "mistaken": "the queues are: default, long",
            "half": "LookupError: no such table",
            "usurping": f"the job type records.ingest is declared by Gristmill itself and by {OURS}usurping",
        }.items():
            assert said in errors[name], name
        logged = {one["plugin"].removeprefix(OURS): one["reason"] for one in logs if one["event"] == "plugin.failed"}
        assert logged == errors

    def test_two_plugins_with_one_type_are_both_named_and_nothing_of_the_second_is_loaded(self) -> None:
        found = load("good rival")
        assert found["rival"]["error"] == (
            "ValueError: the job type good.one is declared by tests.support.plugins.good and by "
            "tests.support.plugins.rival: tests.support.plugins.good keeps it, and nothing of "
            "tests.support.plugins.rival was loaded"
        )
        gristmill = Gristmill(Settings(jobs_plugins=f"{OURS}good {OURS}rival"), "test-plugins")
        types = [handler.type for handler in build_registry(gristmill)]
        assert "good.one" in types
        assert "rival.own" not in types

    def test_a_type_that_a_plugin_imports_from_another_is_the_same_one(self) -> None:
        found = load("importing good")
        assert found["importing"]["job_types"] == ["good.one", "importing.two"]
        assert (found["good"]["state"], found["good"]["job_types"]) == ("loaded", [])

    def test_a_name_twice_is_loaded_once(self) -> None:
        assert list(load("good good")) == ["good"]
        assert "good.one" in job_types(Settings(jobs_plugins=f"{OURS}good {OURS}good"))


class TestEntryPoints:
    @pytest.fixture
    def points(self, monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
        """Entry points as installed packages would declare them."""
        found: list[EntryPoint] = []

        def of_group(group: str) -> list[EntryPoint]:
            return [one for one in found if one.group == group]

        monkeypatch.setattr(plugins, "entry_points", of_group)
        return found

    def test_a_package_names_a_module_or_a_type(self, points: list[EntryPoint]) -> None:
        points.append(EntryPoint("mine", f"{OURS}good", "gristmill.jobs"))
        points.append(EntryPoint("one", f"{OURS}importing:two", "gristmill.jobs"))
        points.append(EntryPoint("text", f"{OURS}good:__doc__", "gristmill.jobs"))
        points.append(EntryPoint("other", f"{OURS}broken", "somebody.else"))
        found = load("")
        assert {name: (one["named_by"], one["job_types"]) for name, one in found.items()} == {
            "good": ("entry point mine", ["good.one"]),
            "good:__doc__": ("entry point text", []),
            "importing:two": ("entry point one", ["importing.two"]),
        }
        assert "names a module or a job type" in found["good:__doc__"]["error"]

    def test_the_setting_comes_first_and_a_module_that_both_name_is_loaded_once(self, points: list[EntryPoint]) -> None:
        points.append(EntryPoint("mine", f"{OURS}good", "gristmill.jobs"))
        points.append(EntryPoint("rival", f"{OURS}rival", "gristmill.jobs"))
        found = load("good")
        assert {name: (one["named_by"], one["state"]) for name, one in found.items()} == {
            "good": ("jobs.plugins", "loaded"),
            "rival": ("entry point rival", "failed"),
        }


class TestApi:
    def test_answers_whatever_is_wrong_with_a_plugin_and_lists_it(self, database_url: str) -> None:
        app = InProcess(database_url, jobs_plugins=f"{OURS}broken {OURS}good")
        with app.http:
            assert app.http.get("/readyz").status_code == 200
            found = app.http.get("/api/v1/job-types").json()
            assert [one["name"] for one in found["job_types"]] == ["good.one"]
            assert [one["state"] for one in found["plugins"]] == ["failed", "loaded"]
            answer = app.http.post("/api/v1/jobs", json={"type": "good.one"})
            assert app.job(answer)["state"] == "succeeded"
        app.gristmill.database.close()
