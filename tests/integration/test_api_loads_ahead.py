"""What the first batch needs is loaded by the API once it serves, so that nobody waits for it."""

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
}
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


def test_the_first_batch_imports_nothing(app: InProcess, tmp_path: Path) -> None:
    name = app.dataset(CONTRACT)
    app.work()
    settings = {"GRISTMILL_DATABASE_URL": str(app.gristmill.settings.database_url)}
    ended = subprocess.run(
        [sys.executable, "-c", API, name],
        cwd=tmp_path, env={**settings, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.stdout.splitlines()[-1:] == ["202 []"], ended.stdout + ended.stderr
