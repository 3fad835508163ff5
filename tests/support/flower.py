"""Flower as its clients see it: over its REST API, with its password."""

import os
import subprocess
import sys
from collections import Counter
from typing import Any

import httpx
from celery.events import EventReceiver

from gristmill.broker.app import make_celery
from gristmill.core.config import Settings
from gristmill.stack.ports import any_free
from tests.support.system import System, eventually

PASSWORD = "watcher"


def flower_settings() -> dict[str, Any]:
    """What a system needs for a Flower of its own."""
    return {"flower_port": any_free(), "flower_password": PASSWORD}


class Flower:
    """The running Flower of a system, and Celery's own commands beside it."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.url = f"http://127.0.0.1:{system.settings['flower_port']}"
        self.http = httpx.Client(base_url=self.url, auth=("gristmill", PASSWORD), timeout=30)

    def start(self) -> "Flower":
        """Start it, and wait until it hears of the workers."""
        self.system.start("flower")
        eventually(lambda: any(self.http.get("/api/workers").json()), "Flower knows the workers", 60)
        return self

    def info(self, task_id: str) -> dict[str, Any] | None:
        answer = self.http.get(f"/api/task/info/{task_id}")
        return answer.json() if answer.status_code == 200 else None

    def state(self, task_id: str) -> str | None:
        found = self.info(task_id)
        return found["state"] if found else None

    def task(self, task_id: str, state: str, seconds: float = 30) -> dict[str, Any]:
        """Wait until the task is in this state; return what is said of it."""
        eventually(lambda: self.state(task_id) == state, lambda: f"{task_id} {state}: {self.info(task_id)}", seconds)
        found = self.info(task_id)
        assert found is not None
        return found

    def search(self, text: str) -> dict[str, dict[str, Any]]:
        """The tasks that its search finds, by id."""
        found: dict[str, dict[str, Any]] = self.http.get("/api/tasks", params={"search": text, "limit": 1000}).json()
        return found

    def states(self, text: str) -> Counter[str]:
        return Counter(task["state"] for task in self.search(text).values())

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``celery -A gristmill.broker.commands ...``."""
        return subprocess.run(
            self._line(*arguments), env=self._environment(), capture_output=True, text=True, check=False
        )

    def dump(self) -> subprocess.Popen[str]:
        """Start ``celery events --dump``."""
        return subprocess.Popen(
            self._line("events", "--dump"), env=self._environment(), stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def receiver(self, seen: list[dict[str, Any]]) -> tuple[Any, EventReceiver]:
        """Return a connection, and a stock receiver that puts every event of a task into ``seen``."""
        app = make_celery(Settings(broker_url=self.system.broker_url), confirm=False)
        connection = app.connection_for_read()

        def keep(event: dict[str, Any]) -> None:
            if event["type"].startswith("task-"):
                seen.append(event)

        return connection, EventReceiver(connection, handlers={"*": keep}, app=app)

    def _line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "gristmill.broker.commands", *arguments]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.system.environment()}
