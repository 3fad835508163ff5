"""Sources in one process: the REST interface, a runner in threads, and workers that run when they are told to."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.in_process import InProcess
from tests.support.system import eventually

from gristmill.bootstrap.sources import build_runner

CONTRACT: dict[str, Any] = {
    "fields": [
        {"name": "timestamp", "type": "timestamp", "required": True},
        {"name": "id", "type": "uuid", "required": True},
        {"name": "value", "type": "float", "minimum": 10, "maximum": 100},
    ],
    "key": ["id"],
}


@pytest.fixture
def runner(app: InProcess) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=build_runner(app.gristmill, "runner-1", stop).run)
    thread.start()
    yield
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


class TestSimulator:
    def test_its_records_arrive(self, app: InProcess, runner: None) -> None:
        name = app.dataset(CONTRACT)
        settings = {"interval": 0.01, "batch_size": 10, "seed": 7, "limit": 95, "batch_seconds": 1}
        answer = app.http.post(
            "/api/v1/sources", json={"name": "demo", "kind": "simulator", "dataset": name, "settings": settings}
        )
        assert answer.status_code == 201, answer.text
        path = answer.headers["location"]
        found = eventually(
            lambda: (body := app.http.get(path).json())["state"] == "finished" and body,
            lambda: app.http.get(path).text,
            20,
        )
        assert (found["records"], found["batches"]) == (95, 10), found
        app.work()
        assert len(app.rows(name)) == 95
