"""The image data set of the example, by its own interface and nothing else."""

import csv
import io
import zipfile
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.support.example import Example
from tests.support.system import eventually

Json = dict[str, Any]


class Fashion:
    """The application. data: its data folder. output: where results are written."""

    def __init__(self, example: Example, data: Path) -> None:
        self.example, self.data = example, data
        self.output = Path(example.environment["GRISTMILL_STACK_DATA"]) / "files" / "output"
        self.http = httpx.Client(base_url=f"{example.url}/api/v1/svc_ml", timeout=60)

    def post(self, path: str, body: Any = None, **params: Any) -> str:
        """Submit a task and return its id."""
        answer = self.http.post(path, json=body, params=params)
        assert answer.status_code == 202, answer.text
        task: str = answer.json()["task_id"]
        assert answer.headers["Location"] == f"/api/v1/svc_ml/result/{task}"
        return task

    def result(self, task: str) -> Json:
        """Return what a task made, once it is done; until then the answer has to be a 202."""

        def done() -> Any:
            answer = self.http.get(f"result/{task}")
            assert answer.status_code in (200, 202), answer.text
            return answer.json() if answer.status_code == 200 else None

        return eventually(done, f"the result of {task}", 180)  # type: ignore[no-any-return]

    def done(self, path: str, body: Any = None, **params: Any) -> Json:
        """Submit a task, expect it to succeed, and return what it made."""
        found = self.result(self.post(path, body, **params))
        assert (found["state"], found["error"]) == ("succeeded", None), found
        return found

    def failures(self, task: str) -> list[Json]:
        answer = self.http.get(f"result/{task}/failures")
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def files(self, task: str) -> dict[str, bytes]:
        """Return the files of a result as they lie in its folder, by their path in it."""
        folder = self.output / task
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    def archive(self, task: str) -> dict[str, bytes]:
        """Return the files of a result as its zip has them."""
        answer = self.http.get(f"result/{task}/zip")
        # Its own answer: whoever asks here may not reach the API, as from outside of containers.
        assert answer.status_code == 200, answer.text
        assert int(answer.headers["content-length"]) == len(answer.content)
        with zipfile.ZipFile(io.BytesIO(answer.content)) as found:
            assert found.testzip() is None
            return {name: found.read(name) for name in found.namelist()}

    def image(self, product: int) -> Path:
        """Return the file of a product's image."""
        return self.data / "fashion" / "images" / f"{product}.jpg"


def rows(data: bytes) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(data.decode())))


def size(data: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(data)).size
