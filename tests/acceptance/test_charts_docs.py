"""docs/charts.md: its script draws a picture, and its cell of a notebook a line."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.system import System

from gristmill.client import Client

PAGE = (Path(__file__).parents[2] / "docs" / "charts.md").read_text(encoding="utf-8")
DATASET = {
    "name": "stream",
    "fields": [{"name": "timestamp", "type": "timestamp", "required": True}, {"name": "value", "type": "float"}],
    "time_field": "timestamp",
}


def test_both_pieces_of_code_run_as_they_stand(system: System, tmp_path: Path) -> None:
    records = [
        {"timestamp": f"2026-01-31T12:{n // 6:02}:{n % 6 * 10:02}Z", "value": float(n)} for n in range(60) if n != 30
    ]
    with Client(system.url) as client:
        client.create_dataset(DATASET, if_not_exists=True, wait=True)
        client.submit("stream", records, wait=True)
    script, cell = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    # The cell shows its line in a notebook; here it is counted.
    cell = 'import matplotlib; matplotlib.use("Agg")\n' + cell + "\nprint(len(frame), frame.index.tz)\n"
    said = []
    for name, code in (("script.py", script), ("cell.py", cell)):
        (tmp_path / name).write_text(code.replace("http://127.0.0.1:8000", system.url), encoding="utf-8")
        environment = {
            **os.environ,
            "MPLCONFIGDIR": str(tmp_path),
            "PYTHONWARNINGS": "error::DeprecationWarning:__main__",
        }
        done = subprocess.run(
            [sys.executable, name], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    picture = (tmp_path / "stream.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(picture) > 5000
    assert said[1] == "10 Europe/Berlin\n"
