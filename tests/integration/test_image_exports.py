"""Exports of images in one process: what is made, what is said of it, how it is read, and when it goes."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.support.image_exports import CROP, RESIZE, ImageMill, picture


@pytest.fixture
def mill(database_url: str, tmp_path: Path) -> Iterator[ImageMill]:
    found = ImageMill(database_url, tmp_path)
    yield found
    found.gristmill.database.close()


class TestFiles:
    def test_each_record_has_a_file_and_a_line_of_metadata(self, mill: ImageMill) -> None:
        name = mill.filled(20)
        job = mill.export(name, steps=[CROP, RESIZE], where={"id": {"lt": "k018"}}, seed=3, format="png")
        assert job["state"] == "succeeded", job
        assert job["record_counts"] | {"superseded": 0} == {
            "total": 18, "succeeded": 18, "rejected": 0, "superseded": 0, "dropped": 0,
        }  # fmt: skip
        rows = mill.metadata(job["id"])
        assert [row["id"] for row in rows] == [f"k{n:03}" for n in range(18)]
        assert rows[3] == {"id": "k003", "label": "a", "photo": "3.jpg", "file": "images/k003.png"}
        found = mill.contents(job["id"])
        assert sorted(found) == sorted(["metadata.csv", "failures.csv", *(row["file"] for row in rows)])
        for row in rows:
            image = Image.open(io.BytesIO(found[row["file"]]))
            assert (image.format, image.size) == ("PNG", (32, 32))
        result = job["result"]
        assert (result["images"], result["failed"], result["folder"]) == (18, 0, f"output/{job['id']}")
        packed = mill.http.get(result["links"]["zip"])
        assert len(packed.content) == result["bytes"] == int(packed.headers["content-length"])
        with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
            assert archive.testzip() is None
            assert {one: archive.read(one) for one in archive.namelist()} == found

    def test_without_steps_and_format_files_are_copied_byte_for_byte(self, mill: ImageMill) -> None:
        job = mill.export(mill.filled(8))
        found = mill.contents(job["id"])
        assert [found[f"images/k{n:03}.jpg"] for n in range(8)] == [picture(n) for n in range(8)]
