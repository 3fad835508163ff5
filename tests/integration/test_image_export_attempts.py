"""Exports of images whose attempts are lost, fail or are cancelled; and how what was made is read, kept and removed."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.image_exports import CONTRACT, CROP, RESIZE, ImageMill, problem, record
from tests.support.images import small

from gristmill.core.errors import Conflict, DatabaseUnavailable
from gristmill.images.export import tasks
from gristmill.jobs.handlers import ChunkTask
from gristmill.kit.ids import uuid7
from gristmill.storage.errors import FileStorageFull

Stamps = dict[str, tuple[int, int]]
STEPS = [CROP, RESIZE]


@pytest.fixture
def mill(database_url: str, tmp_path: Path) -> Iterator[ImageMill]:
    found = ImageMill(database_url, tmp_path, jobs_retry_base=0.001, jobs_retry_max=0.001)
    yield found
    found.gristmill.database.close()


def stamps(folder: Path) -> Stamps:
    """Return inode and time of change of each file: what is written again has others."""
    return {one.name: (one.stat().st_ino, one.stat().st_mtime_ns) for one in folder.rglob("*") if one.is_file()}


def once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[ChunkTask], None]) -> list[int]:
    """Let a function that takes a task call ``act`` first; return the numbers of the chunks that it is called for."""
    called: list[int] = []
    real = getattr(owner, name)

    def instead(*args: Any, **options: Any) -> Any:
        task = next(one for one in args if isinstance(one, ChunkTask))
        called.append(task.number)
        act(task)
        return real(*args, **options)

    monkeypatch.setattr(owner, name, instead)
    return called


def fails_first(number: int, error: Exception) -> Callable[[ChunkTask], None]:
    waiting = [error]

    def act(task: ChunkTask) -> None:
        if task.number == number and waiting:
            raise waiting.pop()

    return act


def expected(mill: ImageMill, name: str) -> dict[str, bytes]:
    """Return what an export is that nothing happened to."""
    return mill.contents(mill.export(name, steps=STEPS)["id"])


class TestAttempts:
    @pytest.mark.promise(2)
    def test_a_chunk_that_could_not_say_that_it_is_done_makes_nothing_again(
        self, mill: ImageMill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = mill.filled(20)
        answer = mill.ask(name, steps=STEPS)
        made = once(monkeypatch, tasks, "make_part", lambda task: None)
        found: list[Stamps] = []

        def lost(task: ChunkTask) -> None:
            if task.number == 1 and not found:
                found.append(stamps(mill.folder(str(task.job_id)) / "images"))
                raise DatabaseUnavailable("away")

        once(monkeypatch, tasks.ImageExportHandler, "apply", lost)
        job = mill.finish(answer.json()["id"])
        assert job["state"] == "succeeded"
        assert sorted(made) == [0, 1, 2]
        after = stamps(mill.folder(job["id"]) / "images")
        assert len(found[0]) >= 7
        assert {one: after[one] for one in found[0]} == found[0]
        assert mill.contents(job["id"]) == expected(mill, name)

    @pytest.mark.promise(2)
    def test_an_attempt_that_lost_its_chunk_notes_nothing(
        self, mill: ImageMill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = mill.filled(20)
        answer = mill.ask(name, steps=STEPS)
        real = tasks.make_part
        lost: list[ChunkTask] = []

        def late(storage: Any, task: ChunkTask, *args: Any) -> Any:
            part = real(storage, task, *args)
            if task.number == 1 and not lost:
                lost.append(task)
                with mill.gristmill.database.transaction() as connection:
                    # As the rescuer does when the lease is over.
                    connection.exec_driver_sql(
                        "UPDATE gristmill.chunks SET state = 'waiting' WHERE job_id = %s AND number = 1",
                        (str(task.job_id),),
                    )
            return part

        monkeypatch.setattr(tasks, "make_part", late)
        job = mill.finish(answer.json()["id"])
        with mill.gristmill.database.autocommit() as connection:
            rows = connection.exec_driver_sql(
                "SELECT number, fence FROM gristmill.image_export_parts WHERE export_id = %s ORDER BY 1", (job["id"],)
            ).all()
        assert [tuple(row) for row in rows] == [(0, 1), (1, 2), (2, 1)]
        assert mill.contents(job["id"]) == expected(mill, name)

    def test_a_record_that_changed_between_two_attempts_has_one_file(
        self, mill: ImageMill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = mill.with_images({"a": small("PNG"), "b": small("PNG"), "c": small("PNG")})
        answer = mill.ask(name)

        # The files are there, and the part could not be noted.
        real = tasks.claim.hold

        def refuse(connection: Any, job_id: Any, number: int, fence: int) -> bool:
            if fence == 1:
                mill.put("x0", small("JPEG"))
                mill.put("x1", b"broken")
                raise DatabaseUnavailable("away")
            return real(connection, job_id, number, fence)

        monkeypatch.setattr(tasks.claim, "hold", refuse)
        job = mill.finish(answer.json()["id"])
        assert [row["file"] for row in mill.metadata(job["id"])] == ["images/a.jpg", "images/c.png"]
        assert sorted(mill.contents(job["id"])) == ["failures.csv", "images/a.jpg", "images/c.png", "metadata.csv"]

    def test_a_storage_that_is_full_while_parts_are_joined_is_waited_for(
        self, mill: ImageMill, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = mill.filled(20)
        answer = mill.ask(name, steps=STEPS)
        made = once(monkeypatch, tasks, "make_part", lambda task: None)
        real, fulls = tasks.assemble, [FileStorageFull("no room", 1)] * 7

        def full(*args: Any) -> int:
            if fulls:
                raise fulls.pop()
            return real(*args)

        monkeypatch.setattr(tasks, "assemble", full)
        job_id = answer.json()["id"]
        while fulls:
            mill.work(queue="long")
            with mill.gristmill.database.transaction() as connection:
                connection.exec_driver_sql("UPDATE gristmill.chunks SET run_at = now() WHERE state = 'waiting'")
        job = mill.finish(job_id)
        assert (job["state"], sorted(made)) == ("succeeded", [0, 1, 2])
        assert mill.contents(job_id) == expected(mill, name)


class TestFailed:
    @pytest.fixture
    def failed(self, mill: ImageMill, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
        """A dataset, and its export whose second chunk of three has failed for good."""
        name = mill.filled(20)
        with monkeypatch.context() as patched:
            once(patched, tasks, "make_part", fails_first(1, Conflict("for good")))
            job = mill.export(name, steps=STEPS)
        assert (job["state"], job["error"]["records"]) == ("failed", {"first": 7, "last": 13})
        return name, str(job["id"])

    def test_retry_makes_only_what_failed_and_then_the_whole(
        self, mill: ImageMill, failed: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name, job_id = failed
        assert problem(mill.http.get(f"/api/v1/exports/{job_id}")) == (409, "export_not_ready")
        mill.maintain()
        before = stamps(mill.folder(job_id))
        assert len(before) == 13
        made = once(monkeypatch, tasks, "make_part", lambda task: None)
        assert mill.http.post(f"/api/v1/jobs/{job_id}/retry").status_code == 202
        job = mill.finish(job_id)
        assert (job["state"], made) == ("succeeded", [1])
        after = stamps(mill.folder(job_id))
        assert {one: after[one] for one in before} == before
        assert (job["record_counts"]["succeeded"], job["result"]["images"]) == (20, 20)
        assert mill.contents(job_id) == expected(mill, name)

    def test_its_files_go_when_they_would_have_gone_had_it_succeeded(
        self, mill: ImageMill, failed: tuple[str, str]
    ) -> None:
        _, job_id = failed
        with mill.gristmill.database.transaction() as connection:
            connection.exec_driver_sql("UPDATE gristmill.jobs SET finished_at = now() - interval '8 days'")
        mill.maintain()
        assert not mill.folder(job_id).exists()
        mill.http.post(f"/api/v1/jobs/{job_id}/retry")
        job = mill.finish(job_id)
        assert (job["state"], job["error"]["code"]) == ("failed", "export_removed")

    def test_cancelled_in_the_middle_it_leaves_nothing(self, mill: ImageMill, monkeypatch: pytest.MonkeyPatch) -> None:
        job_id = mill.ask(mill.filled(20)).json()["id"]
        cancelled: list[int] = []

        def cancel(task: ChunkTask) -> None:
            if not cancelled and len(stamps(mill.folder(job_id))) >= 7:
                cancelled.append(task.number)
                assert mill.http.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 202

        once(monkeypatch, tasks, "make_part", cancel)
        assert mill.finish(job_id)["state"] == "cancelled"
        assert cancelled
        assert mill.maintain() == 1
        assert not mill.folder(job_id).exists()
        assert list((mill.files / "exports").iterdir()) == []
        assert problem(mill.http.get(f"/api/v1/exports/{job_id}")) == (404, "unknown_export")

    def test_of_a_dropped_dataset_it_is_cancelled_and_of_a_renamed_one_made(self, mill: ImageMill) -> None:
        dropped, renamed = mill.filled(3), mill.filled(3)
        jobs = [mill.ask(name).json()["id"] for name in (dropped, renamed)]
        mill.job(mill.http.delete(f"/api/v1/datasets/{dropped}?confirm={dropped}"))
        answer = mill.http.post(f"/api/v1/datasets/{renamed}/rename", json={"name": "other_name"})
        mill.job(answer)
        assert [mill.finish(job)["state"] for job in jobs] == ["cancelled", "succeeded"]
        assert len(mill.metadata(jobs[1])) == 3

    def test_a_field_of_another_type_fails_it_with_its_name(self, mill: ImageMill) -> None:
        fields = [*CONTRACT["fields"], {"name": "n", "type": "integer"}]
        name = mill.dataset({"fields": fields, "key": ["id"]})
        mill.put("a.png", small())
        mill.job(mill.post(name, [record("a", "a.png")]))
        job_id = mill.ask(name).json()["id"]
        change = {"alter_fields": [{"name": "n", "type": "decimal"}]}
        mill.job(mill.http.patch(f"/api/v1/datasets/{name}", json=change))
        job = mill.finish(job_id)
        assert (job["state"], job["error"]["code"]) == ("failed", "contract_moved")
        assert "The field n got the type decimal" in job["error"]["detail"]


class TestReading:
    @pytest.fixture
    def export(self, mill: ImageMill) -> dict[str, Any]:
        mill.put("bad", b"")
        name = mill.filled(9)
        mill.job(mill.post(name, [record("z", "bad")]))
        job = mill.export(name, steps=STEPS)
        return {"name": name, "id": job["id"], **job["result"]}

    def test_the_zip_is_read_in_parts_as_any_file(self, mill: ImageMill, export: dict[str, Any]) -> None:
        link = export["links"]["zip"]
        whole = mill.http.get(link)
        assert whole.headers["content-type"] == "application/zip"
        assert whole.headers["content-disposition"] == f'attachment; filename="{export["name"]}.zip"'
        size = len(whole.content)
        for first, last in ((0, 0), (10, 99), (size - 50, size - 1), (1000, size - 200)):
            part = mill.http.get(link, headers={"range": f"bytes={first}-{last}"})
            assert (part.status_code, part.content) == (206, whole.content[first : last + 1])
        tag = whole.headers["etag"]
        assert mill.http.get(link, headers={"if-none-match": tag}).status_code == 304
        assert mill.http.head(link).headers["content-length"] == str(size)

    def test_single_files_have_media_types_and_parts(self, mill: ImageMill, export: dict[str, Any]) -> None:
        folder = f"/api/v1/exports/{export['id']}/files"
        image = mill.http.get(f"{folder}/images/k001.jpg")
        assert (image.headers["content-type"], image.headers["x-content-type-options"]) == ("image/jpeg", "nosniff")
        assert image.content == mill.contents(export["id"])["images/k001.jpg"]
        assert mill.http.get(f"{folder}/images/k001.jpg", headers={"range": "bytes=1-2"}).content == image.content[1:3]
        tags = {mill.http.get(f"{folder}/{name}").headers["etag"] for name in ("images/k001.jpg", "images/k002.jpg")}
        assert len(tags) == 2
        failures = mill.http.get(export["links"]["failures"])
        assert failures.headers["content-type"].startswith("text/csv")
        assert failures.text.splitlines() == ["key,code,reason", "z,image_empty,is an empty file"]

    @pytest.mark.parametrize("path", ["", "images", "images/", "x", "../gristmill.id", "images/../../x", ".x", "a//b"])
    def test_what_is_no_file_of_it_is_404(self, mill: ImageMill, export: dict[str, Any], path: str) -> None:
        # Dots are encoded, as the client would take them away.
        escaped = path.replace("..", "%2e%2e")
        answer = mill.http.get(f"/api/v1/exports/{export['id']}/files/{escaped}")
        assert answer.status_code == 404, answer.text

    def test_it_is_listed_linked_deleted_and_removed(
        self, mill: ImageMill, export: dict[str, Any], database_url: str
    ) -> None:
        (one,) = mill.http.get("/api/v1/exports").json()["exports"]
        assert one == mill.http.get(f"/api/v1/exports/{export['id']}").json()
        assert (one["format"], one["rows"], one["failed"], one["bytes"]) == ("images", 9, 1, export["bytes"])
        assert one["links"]["file"] == export["links"]["zip"]
        path = mill.http.post(f"/api/v1/exports/{export['id']}/link", json={}).json()["path"]
        keyed = ImageMill(database_url, mill.images.parent, api_require_key=True)
        packed = keyed.http.get(path)
        assert len(zipfile.ZipFile(io.BytesIO(packed.content)).namelist()) == 11
        query = path.partition("?")[2]
        assert keyed.http.get(export["links"]["metadata"]).status_code == 401
        assert keyed.http.get(f"{export['links']['metadata']}?{query}").status_code == 422
        keyed.gristmill.database.close()
        mill.finish(mill.http.delete(f"/api/v1/exports/{export['id']}").json()["id"])
        assert problem(mill.http.get(export["links"]["zip"])) == (410, "export_expired")
        assert problem(mill.http.get(export["links"]["metadata"])) == (410, "export_expired")
        assert [list((mill.files / one).iterdir()) for one in ("exports", "output")] == [[], []]

    def test_expired_and_unknown_folders_are_removed(self, mill: ImageMill, export: dict[str, Any]) -> None:
        unknown = mill.files / "output" / str(uuid7())
        (unknown / "images").mkdir(parents=True)
        (unknown / "images" / "x.jpg").write_bytes(b"x")
        with mill.gristmill.database.transaction() as connection:
            connection.exec_driver_sql("UPDATE gristmill.exports SET expires_at = now() - interval '1 second'")
        assert mill.maintain() == 1
        assert [list((mill.files / one).iterdir()) for one in ("exports", "output")] == [[], []]

    def test_one_file_exports_have_no_files(self, mill: ImageMill, export: dict[str, Any]) -> None:
        plain = mill.http.post(f"/api/v1/datasets/{export['name']}/exports", json={}).json()["id"]
        mill.finish(plain)
        assert problem(mill.http.get(f"/api/v1/exports/{plain}/files/x")) == (404, "unknown_export")
