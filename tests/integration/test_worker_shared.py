"""What a batch needs is loaded before a worker forks its processes, so that they share it and none waits for it."""

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


def test_a_batch_with_texts_and_steps_imports_nothing(app: InProcess, tmp_path: Path) -> None:
    name = app.dataset(CONTRACT)
    app.work()
    assert app.post(name, [{"at": "2026-01-01T00:00:00Z", "text": "a mill by the river", "n": 1}]).status_code == 202
    settings = {"GRISTMILL_DATABASE_URL": str(app.gristmill.settings.database_url), "GRISTMILL_WORKER_QUEUE": "default"}
    ended = subprocess.run(
        [sys.executable, "-c", WORKER],
        cwd=tmp_path, env={**settings, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.stdout.splitlines()[-1:] == ["done []"], ended.stdout + ended.stderr
