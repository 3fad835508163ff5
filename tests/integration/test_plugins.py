"""Plugins: ``gristmill.plugin`` is all they import, and plugins of the release before load with warnings and work."""

import importlib
import sys
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.ends import counted
from tests.support.in_process import InProcess

from gristmill import plugin
from gristmill.bootstrap.registry import build_registry
from gristmill.core.config import Settings
from gristmill.jobs.repository.dispatch import mark_sent

OLD = "tests.support.old_plugin"
WEATHER = {
    "fields": [
        {"name": "airport", "type": "text", "required": True},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "temperature", "type": "float"},
    ],
    "key": ["airport", "at"],
}
RECORDS = [
    {"airport": "JFK", "at": "2026-01-01T00:00:00Z", "temperature": 2},
    {"airport": "JFK", "at": "2026-01-01T12:00:00Z", "temperature": 4},
    {"airport": "LGA", "at": "2026-01-02T00:00:00Z", "temperature": 7},
]


@pytest.fixture
def app(fresh_app: InProcess) -> InProcess:
    """Their handlers have fixed names."""
    return fresh_app


@pytest.fixture
def old(database_url: str) -> Iterator[tuple[InProcess, Any]]:
    """A process that has loaded the old plugin, and the plugin."""
    sys.modules.pop(OLD, None)
    with pytest.warns(DeprecationWarning, match="gristmill.plugin"):
        app = InProcess(database_url, jobs_plugins=OLD)
    with app.http:
        answer = app.http.post("/api/v1/datasets", json={**WEATHER, "name": "old_weather"})
        assert answer.status_code == 202, answer.text
        app.job(app.post("old_weather", RECORDS))
        yield app, sys.modules[OLD]
    app.gristmill.database.close()


def job(app: InProcess, job_id: uuid.UUID) -> dict[str, Any]:
    found: dict[str, Any] = app.http.get(f"/api/v1/jobs/{job_id}").json()
    return found


class TestOldPlugins:
    def test_each_old_name_warns_and_names_the_module_to_import(self) -> None:
        sys.modules.pop(OLD, None)
        with pytest.warns(DeprecationWarning, match="gristmill.plugin") as caught:
            importlib.import_module(OLD)
        said = {str(warning.message) for warning in caught}
        for name in ("gristmill.bootstrap.Gristmill", "gristmill.jobs.submit.Request"):
            assert any(text.startswith(f"{name} ") and "gristmill.plugin" in text for text in said), name

    def test_a_worker_shows_the_warning_that_python_would_hide(self, database_url: str) -> None:
        sys.modules.pop(OLD, None)
        with warnings.catch_warnings(record=True) as caught:
            # As Python starts a program: deprecations are hidden outside of __main__.
            warnings.resetwarnings()
            warnings.simplefilter("ignore", DeprecationWarning)
            gristmill = plugin.Gristmill(Settings(database_url=database_url, jobs_plugins=OLD), "test")
            assert "weather.daily" in [handler.type for handler in build_registry(gristmill)]
        assert any("gristmill.plugin" in str(warning.message) for warning in caught)

    def test_its_job_is_submitted_and_carried_out(self, old: tuple[InProcess, Any]) -> None:
        app, module = old
        job_id = module.submit_one(app.gristmill, since="2026-01-01")
        app.work()
        found = job(app, job_id)
        assert (found["state"], found["result"], found["submitted_by"]) == ("succeeded", {"days": 2}, "example")
        with app.gristmill.database.transaction() as connection:
            rows = connection.exec_driver_sql("SELECT airport, temperature FROM public.daily_weather ORDER BY 1").all()
        assert [tuple(row) for row in rows] == [("JFK", 3.0), ("LGA", 7.0)]

    def test_its_sharing_handler_writes_several_jobs_in_one_transaction(self, old: tuple[InProcess, Any]) -> None:
        app, module = old
        ids = [module.submit_airport(app.gristmill, airport) for airport in ("EWR", "BOS", "PHL")]
        with app.gristmill.database.transaction() as connection:
            messages = mark_sent(connection, "default", 10)
        assert counted(app.executor.run_all([(m.job_id, m.number, m.dispatch) for m in messages])) == "3 done"
        assert [job(app, job_id)["state"] for job_id in ids] == ["succeeded"] * 3
        with app.gristmill.database.transaction() as connection:
            query = "SELECT count(*), count(DISTINCT xmin::text) FROM public.daily_weather"
            assert tuple(connection.exec_driver_sql(query).one()) == (3, 1)

    def test_a_name_that_never_was_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match=r"gristmill\.bootstrap.*nothing"):
            _ = importlib.import_module("gristmill.bootstrap").nothing


class Note(plugin.TransactionalHandler):
    type = "test.note"

    def apply(self, connection: Any, task: plugin.ChunkTask, prepared: Any) -> plugin.Outcome:
        if task.args["text"] == "refused":
            raise plugin.Conflict("no such note")
        return plugin.Outcome(succeeded=task.records, result={"text": task.args["text"]})


def new(text: str) -> plugin.NewJob:
    return plugin.NewJob(Note.type, "notes", False, {"text": text}, None, [plugin.NewChunk(0, 1, None)])


class TestSubmit:
    def test_the_job_is_committed_with_the_transaction_and_shows_what_it_was_given(self, app: InProcess) -> None:
        app.executor._registry.add(Note())
        here = plugin.connect("test-plugin", database_url=str(app.gristmill.settings.database_url))
        with here.database.transaction() as connection:
            job_id = plugin.submit(
                connection, new("hello"), principal="me", request_id="r-1", priority=9, labels={"run": "1"}
            )
            assert app.http.get(f"/api/v1/jobs/{job_id}").status_code == 404
        here.wake()
        app.work()
        found = job(app, job_id)
        assert (found["state"], found["result"]) == ("succeeded", {"text": "hello"})
        shown = {name: found[name] for name in ("submitted_by", "request_id", "priority", "labels")}
        assert shown == {"submitted_by": "me", "request_id": "r-1", "priority": 9, "labels": {"run": "1"}}
        here.database.close()

    def test_nothing_is_left_of_a_job_whose_transaction_fails(self, app: InProcess) -> None:
        ids: list[uuid.UUID] = []

        def submit_and_fail() -> None:
            with app.gristmill.database.transaction() as connection:
                ids.append(plugin.submit(connection, new("hello")))
                raise RuntimeError("the caller's own mistake")

        with pytest.raises(RuntimeError, match="own mistake"):
            submit_and_fail()
        assert app.http.get(f"/api/v1/jobs/{ids[0]}").status_code == 404

    def test_an_error_of_the_tree_is_shown_by_the_job(self, app: InProcess) -> None:
        app.executor._registry.add(Note())
        with app.gristmill.database.transaction() as connection:
            job_id = plugin.submit(connection, new("refused"))
        app.work()
        found = job(app, job_id)
        assert (found["state"], found["error"]["code"], found["error"]["detail"]) == (
            "failed",
            "conflict",
            "no such note",
        )
