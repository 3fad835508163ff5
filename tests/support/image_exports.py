"""Exports of images in one process: a dataset of images, an export of it, and what is in the storage afterwards."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from gristmill.records.export.stored.expiry import ExportExpiry
from tests.support.images import encoded, photograph
from tests.support.in_process import InProcess, Job

FIELDS = [
    {"name": "id", "type": "text", "required": True, "max_length": 400},
    {"name": "label", "type": "text"},
    {"name": "photo", "type": "image", "stored_as": "path"},
]
CONTRACT: dict[str, Any] = {"fields": FIELDS, "key": ["id"]}
CROP = {"op": "image_random_crop", "width": 0.8, "height": 0.8}
RESIZE = {"op": "image_resize", "width": 32, "height": 32}


class ImageMill(InProcess):
    """With an image folder, a storage, and workers of both queues."""

    def __init__(self, url: str, folder: Path, **options: Any) -> None:
        self.images, self.files = folder / "images", folder / "files"
        self.images.mkdir(exist_ok=True)
        self.files.mkdir(exist_ok=True)
        places = {"images_url": str(self.images), "storage_url": str(self.files)}
        super().__init__(url, **{**places, "export_grace": 0, "images_export_chunk_records": 7, **options})

    def put(self, path: str, data: bytes) -> None:
        (self.images / path).parent.mkdir(parents=True, exist_ok=True)
        (self.images / path).write_bytes(data)

    def filled(self, count: int = 20) -> str:
        """Return a dataset of photographs, whose keys are k000, k001 …"""
        name = self.dataset(CONTRACT)
        for number in range(count):
            self.put(f"{number}.jpg", picture(number))
        self.job(self.post(name, [record(f"k{n:03}", f"{n}.jpg") for n in range(count)]))
        return name

    def with_images(self, images: dict[str, bytes]) -> str:
        """Return a dataset with one record for each file, whose key is the file's name."""
        name = self.dataset(CONTRACT)
        for place, data in enumerate(images.values()):
            self.put(f"x{place}", data)
        self.job(self.post(name, [record(key, f"x{place}") for place, key in enumerate(images)]))
        return name

    def ask(self, name: str, **body: Any) -> Any:
        return self.http.post(f"/api/v1/datasets/{name}/images/export", json=body)

    def export(self, name: str, **body: Any) -> Job:
        """Export and return the job."""
        answer = self.ask(name, **body)
        assert answer.status_code == 202, answer.text
        return self.finish(answer.json()["id"])

    def finish(self, job_id: str) -> Job:
        self.work(queue="long")
        found: Job = self.http.get(f"/api/v1/jobs/{job_id}").json()
        assert found["done"], found
        return found

    def maintain(self) -> int:
        """Run what removes files, and the job that it submits."""
        made = ExportExpiry(self.gristmill.database, grace=0, retention_days=30, max_attempts=5).run()
        self.work(queue="long")
        return made

    def folder(self, job_id: str) -> Path:
        return self.files / "output" / job_id

    def contents(self, job_id: str) -> dict[str, bytes]:
        """Return all files of an export, by their names."""
        folder = self.folder(job_id)
        return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}

    def metadata(self, job_id: str) -> list[dict[str, str]]:
        return rows_of(self.contents(job_id)["metadata.csv"])

    def failures(self, job_id: str) -> dict[str, str]:
        """Return the code of each record that failed."""
        return {row["key"]: row["code"] for row in rows_of(self.contents(job_id)["failures.csv"])}


def picture(number: int, size: tuple[int, int] = (60, 48)) -> bytes:
    """Return a JPEG, another one for each number."""
    return encoded(photograph(size=size).rotate(number % 360))


def record(key: str, path: str | None, label: str = "a") -> dict[str, Any]:
    return {"id": key, "label": label, "photo": path}


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def problem(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.text)["code"]
