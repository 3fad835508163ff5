"""What a batch needs is loaded ahead: by a worker before it forks its processes, by the API once it serves."""

import subprocess
import sys
from pathlib import Path

from tests.support.in_process import InProcess
from tests.support.system import ROOT

CONTRACT = {
    "fields": [
        {"name": "n", "type": "integer", "required": True},
        {"name": "at", "type": "timestamp"},
        {"name": "text", "type": "text"},
    ],
    "key": ["n"],
    "embedding": {"from": ["text"], "embedder": "static"},
    "pipeline": [{"op": "filter", "where": {"n": {"ge": 0}}}],
}
# Stands for the parent up to the fork, then for a process of the pool.
WORKER = """
import sys
import gristmill.worker.app as app
from gristmill.bootstrap.worker import load_shared
from gristmill.jobs.repository.dispatch import mark_sent

load_shared(app._parent)
loaded = set(sys.modules)
app._start_process()
with app._parent.database.transaction() as connection:
    [message] = mark_sent(connection, "default", 1)
[ended] = app._executor.run_all([(message.job_id, message.number, message.dispatch)])
small = ("encodings.", "pyarrow.vendored.")
print(ended.how, sorted(name for name in set(sys.modules) - loaded if not name.startswith(small)))
"""
# The application with its lifespan; the request is sent when the thread that loads has ended.
API = """
import sys, threading
from fastapi.testclient import TestClient
from gristmill.api.app import make_app
from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.shared import Gristmill
from gristmill.core.config import Settings

class Watched(Gristmill):
    def load_ahead(self):
        super().load_ahead()
        loaded.set()

loaded = threading.Event()
gristmill = Watched(Settings(log_level="error"), "test")
with TestClient(make_app(ApiServices(gristmill)), base_url="http://localhost") as http:
    assert loaded.wait(60)
    before = set(sys.modules)
    record = {"n": 1, "text": "a mill", "at": "2026-01-01T00:00:00Z"}
    answer = http.post(f"/api/v1/datasets/{sys.argv[1]}/records", json=[record])
    new = set(sys.modules) - before
small = ("encodings.", "pyarrow.vendored.")
print(answer.status_code, sorted(name for name in new if not name.startswith(small)))
"""


def last_line(app: InProcess, folder: Path, program: str, *arguments: str, **settings: str) -> str:
    """Run ``program`` in a process of its own on the database of ``app``; return the last line that it prints."""
    environment = {"GRISTMILL_DATABASE_URL": str(app.gristmill.settings.database_url), "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder, env={**environment, **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.stdout, ended.stderr
    return ended.stdout.splitlines()[-1]


def test_in_a_worker_a_batch_with_texts_and_steps_imports_nothing(app: InProcess, tmp_path: Path) -> None:
    name = app.dataset(CONTRACT)
    app.work()
    assert app.post(name, [{"at": "2026-01-01T00:00:00Z", "text": "a mill by the river", "n": 1}]).status_code == 202
    assert last_line(app, tmp_path, WORKER, GRISTMILL_WORKER_QUEUE="default") == "done []"


def test_in_the_api_the_first_batch_imports_nothing(app: InProcess, tmp_path: Path) -> None:
    name = app.dataset(CONTRACT)
    app.work()
    assert last_line(app, tmp_path, API, name) == "202 []"
