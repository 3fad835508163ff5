"""Exports of images through faults: kills at each phase, a frozen worker, a disk that is full."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image
from tests.support.disk import SmallDisk, small_disk
from tests.support.faults import FaultStack
from tests.support.folders import open_folder
from tests.support.images import encoded, photograph
from tests.support.rest import Rest
from tests.support.stored_stack import StoredStack
from tests.support.system import System, eventually

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2)]
RECORDS, CHUNK = 60, 10
CONTRACT = {
    "fields": [
        {"name": "id", "type": "text", "required": True},
        {"name": "photo", "type": "image", "stored_as": "path"},
    ],
    "key": ["id"],
}
BODY = {"steps": [{"op": "image_random_crop"}, {"op": "image_resize", "width": 64, "height": 64}], "seed": 5}
Json = dict[str, Any]
Stamps = dict[str, tuple[int, int]]


class Exports(StoredStack):
    """API and worker have an image folder, too."""

    def __init__(self, stack: FaultStack, folder: Path, disk: SmallDisk) -> None:
        self.images = folder / "images"
        self.images.mkdir()
        # Large enough that a chunk of them takes a while.
        (self.images / "large.jpg").write_bytes(encoded(photograph(size=(1600, 1600))))
        (self.images / "bad.jpg").write_bytes(b"no image")
        super().__init__(stack, disk, images_url=str(self.images), images_export_chunk_records=CHUNK)

    def export(self, name: str) -> str:
        answer = httpx.post(f"{self.system.url}/api/v1/datasets/{name}/images/export", json=BODY, timeout=60)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def folder(self, job: str) -> Path:
        return self.disk.path / "output" / job

    def parts(self, job: str) -> dict[int, int]:
        """Return the fence of each part that is noted."""
        rows = self.system.query(
            "SELECT number, fence FROM gristmill.image_export_parts WHERE export_id = %s ORDER BY 1", (job,)
        )
        return {row["number"]: row["fence"] for row in rows}

    def made(self, job: str, number: int = 1) -> None:
        """Wait until so many images are there."""
        eventually(lambda: len(stamps(self.folder(job))) >= number, f"{number} images are made", 60, 0.005)

    def finished_files(self, job: str) -> Stamps:
        """Return the stamps of the files of all chunks whose parts are noted."""
        noted, found = self.parts(job), stamps(self.folder(job))
        return {f"{n:03}.jpg": found[f"{n:03}.jpg"] for n in range(RECORDS) if n // CHUNK in noted and n != 33}

    def check(self, job: str, before: Stamps | None = None) -> dict[str, bytes]:
        """The job succeeds, every record is there once, nothing else is, and what was finished is as it was."""
        row = self.system.finished(job, 180)
        assert row["state"] == "succeeded", row
        assert (row["records_succeeded"], row["records_rejected"]) == (RECORDS - 1, 1)
        found = contents(self.folder(job))
        lines = found["metadata.csv"].decode().splitlines()
        wanted = [n for n in range(RECORDS) if n != 33]
        assert lines == ["id,photo,file", *(f"{n:03},large.jpg,images/{n:03}.jpg" for n in wanted)]
        assert found["failures.csv"].decode().splitlines()[1].startswith("033,not_an_image,")
        assert set(found) == {"metadata.csv", "failures.csv", *(f"images/{n:03}.jpg" for n in wanted)}
        whole(found)
        link = f"{self.system.url}{row['result']['links']['zip']}"
        with zipfile.ZipFile(io.BytesIO(httpx.get(link, timeout=60).content)) as archive:
            assert archive.testzip() is None
            assert {one: archive.read(one) for one in archive.namelist()} == found
        after = stamps(self.folder(job))
        for name, stamp in (before or {}).items():
            assert after[name] == stamp, f"{name} was made again"
        return found


def stamps(folder: Path) -> Stamps:
    """Return inode and time of change of each image: what is written again has others."""
    if not (folder / "images").is_dir():
        return {}
    found = {}
    for one in (folder / "images").iterdir():
        if not one.name.startswith("."):
            status = one.stat()
            found[one.name] = (status.st_ino, status.st_mtime_ns)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def whole(found: dict[str, bytes]) -> None:
    """Each image that is there is a whole one."""
    for name, data in found.items():
        if name.endswith(".jpg"):
            Image.open(io.BytesIO(data)).load()


@pytest.fixture(scope="module")
def storage(module_stack: FaultStack) -> Iterator[Exports]:
    """API and dispatcher have the storage as long as the module runs."""
    with (
        open_folder() as folder,
        small_disk(folder / "files", 64) as disk,
        Exports(module_stack, folder, disk).serving() as found,
    ):
        yield found


@pytest.fixture
def exports(storage: Exports, stack: FaultStack) -> Iterator[Exports]:
    """With an empty storage, and a worker for long jobs."""
    storage.empty()
    storage.restart("long")
    yield storage
    stack.system.kill("long")


@pytest.fixture
def pictures(exports: Exports) -> str:
    """A dataset of sixty images, of which one is none."""
    with Rest(exports.system) as rest:
        name = rest.create(CONTRACT)
        records = [{"id": f"{n:03}", "photo": "bad.jpg" if n == 33 else "large.jpg"} for n in range(RECORDS)]
        rest.post(name, records)
        rest.http.get(f"/api/v1/datasets/{name}/records")
    eventually(
        lambda: exports.system.query(f"SELECT count(*) AS n FROM data.{name}")[0]["n"] == RECORDS, "the records are in"
    )
    return name


class TestKills:
    def test_killed_while_it_makes_images_only_its_chunk_is_made_again(self, exports: Exports, pictures: str) -> None:
        job = exports.export(pictures)
        eventually(
            lambda: self._stopped_within_a_chunk(exports, job), "a chunk after the first is under way", 60, 0.005
        )
        exports.system.kill("long")
        before = exports.finished_files(job)
        parts = exports.parts(job)
        assert parts
        assert len(stamps(exports.folder(job))) > len(before), "a chunk was under way"
        whole(contents(exports.folder(job)))
        exports.restart("long")
        exports.check(job, before)
        assert {number: exports.parts(job)[number] for number in parts} == parts

    def test_killed_before_its_part_was_noted_the_chunk_is_made_again(self, exports: Exports, pictures: str) -> None:
        job = exports.export(pictures)
        exports.made(job, CHUNK + 2)
        with exports.stack.locked("LOCK TABLE gristmill.image_export_parts IN SHARE MODE"):
            eventually(lambda: exports.stack.waiting_for("gristmill.image_export_parts"), "the part is to be noted", 60)
            exports.system.kill("long")
            before, parts = exports.finished_files(job), exports.parts(job)
            assert len(stamps(exports.folder(job))) > len(before)
        exports.restart("long")
        exports.check(job, before)
        assert {number: exports.parts(job)[number] for number in parts} == parts
        assert max(exports.parts(job).values()) > 1

    def test_killed_before_its_chunk_was_done_its_part_is_adopted(self, exports: Exports, pictures: str) -> None:
        job = exports.export(pictures)
        exports.made(job)
        # The job is locked: parts are noted, and the end of a chunk cannot be written.
        with exports.stack.locked("SELECT 1 FROM gristmill.jobs WHERE id = %s FOR UPDATE", (job,)):
            number = eventually(lambda: self._noted_and_running(exports, job), "a part is noted, its chunk runs", 60)[0]
            fence = exports.parts(job)[number]
            exports.system.kill("long")
            before = exports.finished_files(job)
        assert {f"{n:03}.jpg" for n in range(number * CHUNK, (number + 1) * CHUNK) if n != 33} <= set(before)
        exports.restart("long")
        exports.check(job, before)
        assert exports.parts(job)[number] == fence == 1
        assert exports.system.chunk(job, number)["fence"] > 1
        assert exports.stack.events("long", "image_export.adopted", part=number)

    def test_killed_when_it_has_joined_the_parts_they_are_joined_again(self, exports: Exports, pictures: str) -> None:
        system = exports.system
        # Whoever notes the size of the archive waits, and whoever notes that of the parts does not.
        system.query("""
            CREATE FUNCTION data.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.bytes <> (SELECT sum(bytes) FROM gristmill.image_export_parts WHERE export_id = NEW.id) THEN
                    PERFORM pg_advisory_xact_lock(471147);
                END IF;
                RETURN NEW;
            END $$""")
        system.query(
            "CREATE TRIGGER hold BEFORE UPDATE OF bytes ON gristmill.exports FOR EACH ROW EXECUTE FUNCTION data.hold()"
        )
        try:
            job = exports.export(pictures)
            with exports.stack.locked("SELECT pg_advisory_lock(471147)"):
                eventually(lambda: (exports.folder(job) / "failures.csv").exists(), "the parts are joined", 120)
                eventually(lambda: self._held(system), "the size is to be noted", 60)
                system.kill("long")
                before = exports.finished_files(job)
        finally:
            system.query("DROP TRIGGER hold ON gristmill.exports")
            system.query("DROP FUNCTION data.hold()")
        assert len(before) == RECORDS - 1
        assert httpx.get(f"{system.url}/api/v1/exports/{job}").json()["code"] == "export_not_ready"
        exports.restart("long")
        exports.check(job, before)

    @staticmethod
    def _stopped_within_a_chunk(exports: Exports, job: str) -> bool:
        """Stop the worker where a part is noted, and images of another one are there; let it go on elsewhere."""
        exports.stack.pause("long")
        if exports.parts(job) and len(stamps(exports.folder(job))) > len(exports.finished_files(job)):
            return True
        exports.stack.resume("long")
        return False

    @staticmethod
    def _noted_and_running(exports: Exports, job: str) -> list[int]:
        return [number for number in exports.parts(job) if exports.system.chunk(job, number)["state"] == "running"]

    @staticmethod
    def _held(system: System) -> list[Json]:
        return system.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 471147 AND NOT granted")

    def test_a_frozen_attempt_that_comes_back_changes_nothing(self, exports: Exports, pictures: str) -> None:
        job = exports.export(pictures)
        exports.made(job, 3)
        exports.stack.pause("long")
        exports.system.start("long2", **exports.settings)
        try:
            found = exports.check(job)
            exports.stack.resume("long")
            eventually(lambda: exports.stack.events("long", "chunk.lost"), "the first attempt learns of it", 60)
            assert exports.check(job) == found
        finally:
            exports.system.kill("long2")

    def test_a_cancelled_export_leaves_nothing(self, exports: Exports, pictures: str) -> None:
        job = exports.export(pictures)
        exports.made(job, CHUNK + 1)
        httpx.post(f"{exports.system.url}/api/v1/jobs/{job}/cancel", timeout=60)
        assert exports.system.finished(job)["state"] == "cancelled"
        eventually(lambda: not exports.folder(job).exists(), "its files are removed", 60, 0.1)
        eventually(lambda: list((exports.disk.path / "exports").iterdir()) == [], "and what was said of them", 60, 0.1)
        assert httpx.get(f"{exports.system.url}/api/v1/exports/{job}").status_code in (404, 409)

    def test_the_deletion_of_files_goes_on_after_a_kill(self, exports: Exports, pictures: str) -> None:
        job = exports.export(pictures)
        exports.check(job)
        exports.system.kill("long")
        assert httpx.delete(f"{exports.system.url}/api/v1/exports/{job}", timeout=60).status_code == 202
        assert httpx.get(f"{exports.system.url}/api/v1/exports/{job}").status_code == 410
        exports.restart("long")
        eventually(lambda: not exports.folder(job).exists(), "its files are removed", 60, 0.1)


class TestDisk:
    def test_full_in_the_middle_it_waits_and_goes_on_when_there_is_room(self, exports: Exports, pictures: str) -> None:
        job = exports.export(pictures)
        exports.made(job, CHUNK + 2)
        exports.disk.fill(leave=8 * 1024)
        body = eventually(
            lambda: (body := exports.job(job))["error"] and body["error"]["code"] == "file_storage_full" and body,
            lambda: json.dumps(exports.job(job)), 60, 0.1,
        )  # fmt: skip
        assert "No space left on device" in body["error"]["detail"]
        before = exports.finished_files(job)
        eventually(lambda: exports.system.query(
            "SELECT 1 FROM gristmill.chunks WHERE job_id = %s AND fence > 4 AND attempts <= 1", (job,)
        ), "more claims than attempts", 60)  # fmt: skip
        whole(
            {name: data for name, data in contents(exports.folder(job)).items() if not Path(name).name.startswith(".")}
        )
        exports.disk.make_room()
        exports.check(job, before)


class TestWorkers:
    def test_two_workers_make_the_same_bytes_as_one(self, exports: Exports, pictures: str) -> None:
        one = exports.check(exports.export(pictures))
        exports.restart("long", worker_long_processes=2)
        job = exports.export(pictures)
        assert exports.check(job) == one
        workers = exports.system.query("SELECT DISTINCT worker FROM gristmill.chunks WHERE job_id = %s", (job,))
        assert len(workers) == 2

    def test_names_with_percent_signs_are_read_and_a_download_survives_the_api(
        self, exports: Exports, tmp_path: Path
    ) -> None:
        from gristmill.client import Client, Retry  # noqa: PLC0415 - the one test with a client

        with Rest(exports.system) as rest:
            name = rest.create(CONTRACT)
            rest.post(name, [{"id": key, "photo": "large.jpg"} for key in ("../../x", "50%", "😀", ".x")])
        with Client(exports.system.url, retry=Retry(attempts=10)) as client:
            eventually(lambda: len(list(client.records(name))) == 4, "the records are in")
            job = client.export_images(name)
            for row in client.export_metadata(job["id"]):
                path = quote(row["file"])
                answer = httpx.get(f"{exports.system.url}/api/v1/exports/{job['id']}/files/{path}")
                assert answer.content == (exports.images / "large.jpg").read_bytes()

            class Killing:
                """Kills the API at the first write, and starts it again."""

                def __init__(self) -> None:
                    self.file = (tmp_path / "x.zip").open("wb")
                    self.killed = False

                def write(self, data: bytes) -> int:
                    if not self.killed:
                        self.killed = True
                        exports.restart("api")
                    return self.file.write(data)

            target = Killing()
            assert client.download_export(job["id"], target) == job["result"]["bytes"]  # type: ignore[arg-type]
            target.file.close()
        assert zipfile.ZipFile(tmp_path / "x.zip").testzip() is None
