"""Stored exports through faults: kills at each phase, a storage that is full, read-only, gone, or another one."""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.disk import small_disk
from tests.support.faults import FaultStack
from tests.support.folders import open_folder
from tests.support.rest import Rest
from tests.support.stored_stack import StoredStack
from tests.support.swift import running_swift, settings_of
from tests.support.system import eventually

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2)]
ROWS = 60_000
CONTRACT = {
    "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "note", "type": "text"}],
    "key": ["id"],
}
Json = dict[str, Any]


class Filed(StoredStack):
    """What the tests of this module ask of it."""

    def export(self, name: str, **body: Any) -> str:
        answer = self.post(name, **body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def post(self, name: str, **body: Any) -> httpx.Response:
        return httpx.post(f"{self.system.url}/api/v1/datasets/{name}/exports", json=body, timeout=60)

    def waits_with(self, job: str, code: str) -> Json:
        """Wait until the job shows what it waits for."""
        return dict(eventually(
            lambda: (body := self.job(job))["error"] and body["error"]["code"] == code and body,
            lambda: json.dumps(self.job(job)), 60, 0.1,
        ))  # fmt: skip

    def check(self, job: str, rows: int = ROWS) -> None:
        """The job succeeds; its file has every record once; nothing else of it is left."""
        row = self.system.finished(job, 120)
        assert row["state"] == "succeeded", row
        result = row["result"]
        data = httpx.get(f"{self.system.url}{result['link']}", timeout=60).content
        assert hashlib.sha256(data).hexdigest() == result["sha256"]
        assert [json.loads(line)["id"] for line in data.splitlines()] == list(range(1, rows + 1))
        assert len(list((self.disk.path / "exports" / job).iterdir())) == 1

    def bucket_check(self, job: str) -> None:
        """As ``check``, for a file that is no file of this machine."""
        result = self.system.finished(job, 120)["result"]
        data = httpx.get(f"{self.system.url}{result['link']}", timeout=60).content
        assert hashlib.sha256(data).hexdigest() == result["sha256"]
        assert (result["rows"], data.count(b"\n")) == (ROWS, ROWS)

    def writing(self, job: str) -> Path:
        """Wait until the job has written a part of its file; return its folder."""
        folder = self.disk.path / "exports" / job

        def begun() -> bool:
            return folder.is_dir() and any(file.stat().st_size for file in folder.iterdir())

        eventually(begun, "the export writes", 60, 0.005)
        return folder


@pytest.fixture(scope="module")
def storage(module_stack: FaultStack) -> Iterator[Filed]:
    """API and dispatcher have the storage as long as the module runs."""
    with (
        open_folder() as folder,
        small_disk(folder / "files", 64) as disk,
        Filed(module_stack, disk).serving() as found,
    ):
        yield found


@pytest.fixture
def filed(storage: Filed, stack: FaultStack) -> Iterator[Filed]:
    """With an empty storage, and a worker for long jobs."""
    storage.empty()
    storage.restart("long")
    yield storage
    stack.system.kill("long")


@pytest.fixture
def large(filed: Filed) -> str:
    """A dataset whose export has some 13 MB."""
    with Rest(filed.system) as rest:
        name = rest.create(CONTRACT)
    filed.system.query(
        f'INSERT INTO data.{name} (id, note, "_seq", "_ord") '
        f"SELECT g, repeat('n', 200), 0, g FROM generate_series(1, {ROWS}) g"
    )
    return name


def block(filed: Filed, table: str) -> Any:
    return filed.stack.locked(f"LOCK TABLE gristmill.{table} IN ACCESS EXCLUSIVE MODE")


class TestKills:
    def test_killed_while_it_writes_the_next_attempt_leaves_one_whole_file(self, filed: Filed, large: str) -> None:
        job = filed.export(large, format="ndjson")
        filed.writing(job)
        filed.system.kill("long")
        left = [file.name for file in (filed.disk.path / "exports" / job).iterdir()]
        assert [name[0] for name in left] == ["."], "nothing is there under the name of a file"
        filed.restart("long")
        filed.check(job)

    def test_killed_before_it_said_what_it_wrote_the_file_is_made_anew(self, filed: Filed, large: str) -> None:
        job = filed.export(large, format="ndjson")
        folder = filed.writing(job)
        with block(filed, "exports"):
            eventually(lambda: [file.name for file in folder.iterdir()] == ["1.ndjson"], "the file is whole", 60)
            filed.system.kill("long")
        filed.restart("long")
        filed.check(job)
        assert filed.system.chunk(job)["fence"] > 1

    def test_killed_before_its_chunk_was_done_the_file_is_adopted(self, filed: Filed, large: str) -> None:
        job = filed.export(large, format="ndjson")
        filed.writing(job)
        # The chunk is locked: the file is noted, and the end of the chunk cannot be written.
        with filed.stack.locked("SELECT 1 FROM gristmill.chunks WHERE job_id = %s FOR UPDATE", (job,)):
            eventually(
                lambda: filed.system.query("SELECT 1 FROM gristmill.exports WHERE id = %s AND fence = 1", (job,)),
                "the file is noted", 60,
            )  # fmt: skip
            filed.system.kill("long")
        filed.restart("long")
        filed.check(job)
        assert [file.name for file in (filed.disk.path / "exports" / job).iterdir()] == ["1.ndjson"]
        assert filed.stack.events("long", "export.adopted", file=f"exports/{job}/1.ndjson")

    def test_a_frozen_attempt_that_comes_back_changes_nothing(self, filed: Filed, large: str) -> None:
        job = filed.export(large, format="ndjson")
        filed.writing(job)
        filed.stack.pause("long")
        filed.system.start("long2", **filed.settings)
        try:
            filed.check(job)
            before = filed.job(job)["result"]
            filed.stack.resume("long")
            eventually(lambda: filed.stack.events("long", "chunk.lost"), "the first attempt learns of it", 60)
            assert filed.job(job)["result"] == before
            filed.check(job)
        finally:
            filed.system.kill("long2")

    def test_a_cancelled_export_leaves_nothing(self, filed: Filed, large: str) -> None:
        job = filed.export(large, format="ndjson")
        folder = filed.writing(job)
        httpx.post(f"{filed.system.url}/api/v1/jobs/{job}/cancel", timeout=60)
        assert filed.system.finished(job)["state"] == "cancelled"
        eventually(lambda: not folder.exists(), "its folder is removed", 60, 0.1)
        assert httpx.get(f"{filed.system.url}/api/v1/exports/{job}").status_code in (404, 409)

    def test_the_deletion_of_files_goes_on_after_a_kill(self, filed: Filed, large: str) -> None:
        job = filed.export(large, format="ndjson")
        filed.check(job)
        filed.system.kill("long")
        assert httpx.delete(f"{filed.system.url}/api/v1/exports/{job}", timeout=60).status_code == 202
        assert httpx.get(f"{filed.system.url}/api/v1/exports/{job}").status_code == 410
        filed.restart("long")
        eventually(lambda: not (filed.disk.path / "exports" / job).exists(), "its file is removed", 60, 0.1)


class TestStorage:
    def test_full_it_waits_with_the_reason_and_goes_on_when_there_is_room(self, filed: Filed, large: str) -> None:
        filed.disk.fill(leave=4 * 1024 * 1024)
        job = filed.export(large, format="ndjson")
        body = filed.waits_with(job, "file_storage_full")
        assert "No space left on device" in body["error"]["detail"]
        claims = eventually(
            lambda: (chunk := filed.system.chunk(job))["fence"] > 5 and chunk, "more claims than attempts", 60
        )
        assert claims["attempts"] <= 1
        filed.disk.make_room()
        filed.check(job)

    def test_read_only_it_says_so_and_fails_after_its_attempts(self, filed: Filed, large: str) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(filed.disk.path)], check=True)
        try:
            row = filed.system.finished(filed.export(large, format="ndjson"), 90)
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(filed.disk.path)], check=True)
        job = str(row["id"])
        assert (row["state"], row["error"]["code"]) == ("failed", "file_storage_refused")
        assert "Read-only file system" in row["error"]["detail"]
        assert httpx.post(f"{filed.system.url}/api/v1/jobs/{job}/retry", timeout=60).status_code == 202
        filed.check(job)

    def test_gone_it_is_refused_and_said_by_name(self, filed: Filed, large: str) -> None:
        done = filed.export(large, format="ndjson")
        filed.check(done)
        link = f"{filed.system.url}/api/v1/exports/{done}/{large}.ndjson"

        def refused() -> bool:
            return filed.post(large).status_code == 503 and httpx.get(link).status_code == 503

        # The disk is not mounted: the folder is there, and empty.
        subprocess.run(["umount", "--lazy", str(filed.disk.path)], check=True)
        try:
            eventually(refused, "both say that it is not the storage", 30, 0.2)
            problem = filed.post(large).json()
            filed.restart("api")
            eventually(lambda: filed.stack.events("api", "file_storage.unusable"), "the API says so", 30)
            with Rest(filed.system) as rest:
                assert rest.post(large, [{"id": ROWS + 1}]).status_code == 202, "what needs no files works"
            assert list(filed.disk.path.iterdir()) == [], "nothing was written to the disk below"
        finally:
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(filed.disk.path)], check=True)
        assert problem["code"] == "file_storage_unavailable"
        assert "has no file gristmill.id" in problem["detail"]
        assert "storage_url" in problem["detail"]

    def test_a_worker_with_another_folder_waits_and_says_so(self, filed: Filed, large: str, tmp_path: Path) -> None:
        filed.restart("long", storage_url=str(tmp_path))
        job = filed.export(large, format="ndjson")
        assert (
            "is not the file storage of this installation"
            in filed.waits_with(job, "file_storage_unavailable")["error"]["detail"]
        )
        assert list(tmp_path.iterdir()) == []
        filed.restart("long")
        filed.check(job)


class TestBucket:
    def test_gone_and_silent_it_is_waited_for(self, filed: Filed, large: str, tmp_path: Path) -> None:
        with running_swift(tmp_path / "swift") as server:
            settings = {**settings_of(server, "gristmill"), "storage_timeout": 1}
            filed.system.query("DELETE FROM gristmill.file_storage")
            filed.restart("long", "api", **settings)
            filed.bucket_check(filed.export(large, format="ndjson"))
            filed.system.kill("long")
            job, other = filed.export(large, format="ndjson"), filed.export(large, format="csv")
            server.kill()
            filed.restart("long", **settings)
            body = filed.waits_with(job, "file_storage_unavailable")
            assert "does not answer" in body["error"]["detail"]
            server.start()
            filed.bucket_check(job)
            assert filed.system.finished(other, 120)["state"] == "succeeded"
            filed.system.kill("long")
            job = filed.export(large, format="ndjson")
            with server.frozen():
                filed.restart("long", **settings)
                filed.waits_with(job, "file_storage_unavailable")
            filed.bucket_check(job)
            assert filed.system.chunk(job)["attempts"] <= 1
            filed.restart("api")


class TestReading:
    def test_one_that_expires_while_it_is_read_is_read_to_its_end(self, filed: Filed, large: str) -> None:
        job = filed.export(large, format="ndjson")
        filed.check(job)
        result = filed.job(job)["result"]
        got, digest = 0, hashlib.sha256()
        with httpx.stream("GET", f"{filed.system.url}{result['link']}", timeout=60) as answer:
            pieces = answer.iter_raw(65536)
            first = next(pieces)
            filed.system.query("UPDATE gristmill.exports SET expires_at = now() WHERE id = %s", (job,))
            eventually(lambda: not (filed.disk.path / "exports" / job).exists(), "its file is removed", 60, 0.1)
            assert httpx.get(f"{filed.system.url}{result['link']}").status_code == 410
            for piece in (first, *pieces):
                digest.update(piece)
                got += len(piece)
        assert (got, digest.hexdigest()) == (result["bytes"], result["sha256"])

    def test_a_file_that_is_cut_while_it_is_read_breaks_the_answer_off(self, filed: Filed, large: str) -> None:
        job = filed.export(large, format="ndjson")
        filed.check(job)
        link = filed.system.url + filed.job(job)["result"]["link"]
        with httpx.stream("GET", link, timeout=60) as answer:
            pieces = answer.iter_raw(65536)
            next(pieces)
            os.truncate(filed.disk.path / "exports" / job / "1.ndjson", 1000)
            with pytest.raises(httpx.RemoteProtocolError):
                list(pieces)
        assert "shorter" in filed.stack.events("api", "file.aborted")[-1]["reason"]

    def test_a_restarted_api_lets_the_client_go_on(self, filed: Filed, large: str, tmp_path: Path) -> None:
        from gristmill.client import Client, Retry  # noqa: PLC0415 - the one test with a client

        job = filed.export(large, format="ndjson")
        filed.check(job)

        class Killing:
            """Kills the API at the first write, and starts it again."""

            def __init__(self, path: Path, act: Callable[[], None]) -> None:
                self.file = path.open("wb")
                self.act: Callable[[], None] | None = act

            def write(self, data: bytes) -> int:
                if self.act is not None:
                    act, self.act = self.act, None
                    act()
                return self.file.write(data)

        target = Killing(tmp_path / "x", lambda: filed.restart("api"))
        with Client(filed.system.url, retry=Retry(attempts=10)) as client:
            assert client.download_export(job, target) == filed.job(job)["result"]["bytes"]  # type: ignore[arg-type]
