"""Exports of images in one process: what is asked for, what is made, and what is said of it."""

import base64
import io
import os
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.support.image_exports import CONTRACT, CROP, FIELDS, RESIZE, ImageMill, picture, problem, record
from tests.support.images import hostile, small, unusual
from tests.support.in_process import InProcess

HOSTILE_KEYS = [
    "../../x", ".hidden", "..", "a/b", "a\\b", "CON", "con", "con.txt", "x" * 300, "x" * 301, "😀", "é", "a b", "%2f",
    "A", "a", "aA", "AA", "Aa", "a.", "-", "~1", "a~1", "a@b", "\n", "a,b", 'a"b', "=1+1", "\\.", "𝔘𝔫𝔦",
]  # fmt: skip


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
        counts = {"total": 18, "succeeded": 18, "rejected": 0, "superseded": 0, "dropped": 0}
        assert job["record_counts"] == counts
        assert (job["progress"], job["chunks"]["total"]) == (1.0, 3)
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

    def test_what_killed_attempts_were_writing_is_no_part_of_it(self, mill: ImageMill) -> None:
        name = mill.filled(20)
        whole = mill.contents(mill.export(name)["id"])
        job_id = mill.ask(name).json()["id"]
        images = mill.folder(job_id) / "images"
        images.mkdir(parents=True)
        # As a kill leaves them, at any moment of a write.
        (images / ".k003.jpg.0123abcd").write_bytes(b"")
        (images / ".k012.jpg.0123abcd").write_bytes(picture(12)[:100])
        (images.parent / ".metadata.csv.0123abcd").write_bytes(b"id,")
        assert mill.finish(job_id)["state"] == "succeeded"
        assert mill.contents(job_id) == whole

    def test_without_steps_and_format_files_are_copied_byte_for_byte(self, mill: ImageMill) -> None:
        job = mill.export(mill.filled(8))
        found = mill.contents(job["id"])
        assert [found[f"images/k{n:03}.jpg"] for n in range(8)] == [picture(n) for n in range(8)]

    def test_images_in_records_and_keys_of_several_fields(self, mill: ImageMill) -> None:
        fields = [
            {"name": "shop", "type": "text", "required": True},
            {"name": "number", "type": "integer", "required": True},
            {"name": "file", "type": "decimal", "precision": 10, "scale": 2},
            {"name": "photo", "type": "image"},
            {"name": "thumb", "type": "image"},
        ]
        name = mill.dataset({"fields": fields, "key": ["shop", "number"]})
        data = base64.b64encode(small()).decode()
        records = [{"shop": "Ü", "number": n, "file": "1.50" if n else None, "photo": data} for n in range(-1, 9)]
        mill.job(mill.post(name, records))
        job = mill.export(name, field="photo", only_failed_of=None)
        rows = mill.metadata(job["id"])
        assert len(rows) == 10
        assert rows[0] == {"shop": "Ü", "number": "-1", "file": "1.50", "_file": "images/%c3%9c@-1.png"}
        assert rows[1]["file"] == ""
        assert mill.contents(job["id"])["images/%c3%9c@-1.png"] == small()

    def test_fields_choose_the_columns_and_texts_are_those_of_an_export_of_records(self, mill: ImageMill) -> None:
        name = mill.dataset(CONTRACT)
        mill.put("a.jpg", picture(0))
        labels: list[Any] = ["", None, 'say "x", y', "two\nlines", "\\.", "NA", " x "]
        mill.job(mill.post(name, [record(str(n), "a.jpg", one) for n, one in enumerate(labels)]))
        lines = mill.contents(mill.export(name, fields=["label"])["id"])["metadata.csv"]
        exported = mill.http.get(f"/api/v1/datasets/{name}/export?format=csv&fields=id,label").content
        for number in range(len(labels)):
            lines = lines.replace(f",images/{number}.jpg\n".encode(), b"\n", 1)
        assert lines == exported.replace(b"id,label\n", b"id,label,file\n")

    def test_a_selection_of_nothing_is_an_empty_export(self, mill: ImageMill) -> None:
        job = mill.export(mill.filled(2), where={"id": "none"})
        assert (job["state"], job["result"]["images"], job["record_counts"]["total"]) == ("succeeded", 0, 0)
        found = mill.contents(job["id"])
        assert found == {"metadata.csv": b"id,label,photo,file\n", "failures.csv": b"key,code,reason\n"}
        packed = mill.http.get(job["result"]["links"]["zip"]).content
        assert zipfile.ZipFile(io.BytesIO(packed)).namelist() == ["metadata.csv", "failures.csv"]

    def test_metrics_count_images_and_failures(self, mill: ImageMill) -> None:
        name = mill.with_images({"a": small(), "b": b"no"})
        mill.export(name)
        mill.gristmill.counters.flush()
        text = mill.http.get("/metrics").text
        assert f'gristmill_images_exported_total{{dataset="{name}"}} 1.0' in text
        assert f'gristmill_images_failed_total{{dataset="{name}"}} 1.0' in text
        assert 'gristmill_records_written_total{type="images.export"}' not in text
        assert 'gristmill_jobs_finished_total{state="succeeded",type="images.export"} 1.0' in text


class TestNames:
    def test_hostile_keys_have_files_of_their_own_within_the_folder(self, mill: ImageMill, tmp_path: Path) -> None:
        name = mill.with_images({key: small(size=(2 + place, 2)) for place, key in enumerate(HOSTILE_KEYS)})
        job = mill.export(name)
        assert job["result"]["images"] == len(HOSTILE_KEYS), mill.failures(job["id"])
        rows = mill.metadata(job["id"])
        files = {row["id"]: row["file"] for row in rows}
        assert len({file.casefold() for file in files.values()}) == len(HOSTILE_KEYS)
        found = mill.contents(job["id"])
        for place, key in enumerate(HOSTILE_KEYS):
            assert Image.open(io.BytesIO(found[files[key]])).size == (2 + place, 2), key
            if "%" not in files[key]:  # The test client decodes them twice.
                assert mill.http.get(f"/api/v1/exports/{job['id']}/files/{files[key]}").content == found[files[key]]
        assert sorted(one.name for one in tmp_path.iterdir()) == ["files", "images"]
        assert sorted(one.name for one in mill.files.iterdir()) == ["exports", "gristmill.id", "output"]

    def test_a_link_out_of_the_image_folder_is_not_followed(self, mill: ImageMill, tmp_path: Path) -> None:
        (tmp_path / "secret.png").write_bytes(small())
        (mill.images / "link.png").symlink_to(tmp_path / "secret.png")
        name = mill.dataset(CONTRACT)
        mill.job(mill.post(name, [record("a", "link.png")]))
        assert mill.failures(mill.export(name)["id"]) == {"a": "unsafe_path"}


class TestFailures:
    @pytest.mark.parametrize("steps", [[], [CROP, RESIZE]])
    def test_bad_images_are_listed_and_the_rest_goes_on(self, mill: ImageMill, steps: list[Any]) -> None:
        good, bad = unusual(), hostile()
        name = mill.with_images({**good, **bad})
        mill.job(mill.post(name, [record("null", None), record("nowhere", "not/there.jpg")]))
        job = mill.export(name, steps=steps)
        assert job["state"] == "succeeded", job
        failures = mill.failures(job["id"])
        expected = {*bad, "null", "nowhere"}
        # What is copied is checked by its header only.
        assert expected - (set() if steps else {"truncated_jpeg", "truncated_png"}) <= set(failures) <= expected
        codes = {"null": "no_image", "nowhere": "image_missing", "bomb_png": "too_many_pixels", "empty": "image_empty"}
        assert {key: failures[key] for key in codes} == codes
        counts = job["record_counts"]
        assert (counts["rejected"], counts["total"]) == (len(failures), len(good) + len(bad) + 2)
        assert {row["id"] for row in mill.metadata(job["id"])} >= set(good)
        assert len(mill.contents(job["id"])) == 2 + counts["succeeded"]

    def test_records_that_were_deleted_meanwhile_are_listed(self, mill: ImageMill) -> None:
        name = mill.filled(3)
        answer = mill.ask(name)
        mill.job(mill.http.delete(mill.key(name, "k001")))
        mill.job(mill.post(name, [record("k001b", "0.jpg")]))
        job = mill.finish(answer.json()["id"])
        assert mill.failures(job["id"]) == {"k001": "record_gone"}
        assert [row["id"] for row in mill.metadata(job["id"])] == ["k000", "k002"]

    def test_what_failed_is_exported_alone_once_it_is_mended(self, mill: ImageMill) -> None:
        name = mill.with_images({"a": small(), 'b,\n"c': b"broken", "d": b"", "e": small()})
        first = mill.export(name, steps=[RESIZE])
        assert set(mill.failures(first["id"])) == {'b,\n"c', "d"}
        mill.put("x1", small(colour=(1, 2, 3)))
        second = mill.export(name, steps=[RESIZE], only_failed_of=first["id"])
        assert second["record_counts"]["total"] == 2
        assert [row["id"] for row in mill.metadata(second["id"])] == ['b,\n"c']
        assert mill.failures(second["id"]) == {"d": "image_empty"}
        mill.put("x2", small())
        third = mill.export(name, steps=[RESIZE], only_failed_of=second["id"])
        assert [row["id"] for row in mill.metadata(third["id"])] == ["d"]
        assert mill.export(name, only_failed_of=third["id"])["record_counts"]["total"] == 0

    def test_what_failed_elsewhere_is_refused(self, mill: ImageMill) -> None:
        name, other = mill.filled(2), mill.filled(2)
        made = mill.export(other)["id"]
        assert problem(mill.ask(name, only_failed_of=made)) == (409, "other_export")
        plain = mill.http.post(f"/api/v1/datasets/{name}/exports", json={}).json()["id"]
        mill.finish(plain)
        assert problem(mill.ask(name, only_failed_of=plain)) == (409, "other_export")
        unfinished = mill.ask(name).json()["id"]
        assert problem(mill.ask(name, only_failed_of=unfinished)) == (409, "export_not_ready")
        assert problem(mill.ask(name, only_failed_of=str(uuid.uuid4()))) == (404, "unknown_export")
        mill.http.delete(f"/api/v1/exports/{made}")
        assert problem(mill.ask(other, only_failed_of=made)) == (410, "export_expired")


class TestReproducible:
    def test_a_seed_gives_the_same_bytes_however_records_are_cut(self, mill: ImageMill, database_url: str) -> None:
        name = mill.with_images({**{f"k{n}": picture(n) for n in range(15)}, "bad": b"x"})
        first, second = (mill.export(name, steps=[CROP, RESIZE], seed=7) for _ in range(2))
        one_chunk = ImageMill(database_url, mill.images.parent, images_export_chunk_records=1000)
        third = one_chunk.export(name, steps=[CROP, RESIZE], seed=7)
        assert (first["chunks"]["total"], third["chunks"]["total"]) == (3, 1)
        contents = [mill.contents(job["id"]) for job in (first, second, third)]
        assert contents[0] == contents[1] == contents[2]
        zips = [mill.http.get(job["result"]["links"]["zip"]).content for job in (first, second, third)]
        assert zips[0] == zips[1] == zips[2]
        other = mill.contents(mill.export(name, steps=[CROP, RESIZE], seed=8)["id"])
        assert sum(other[file] != data for file, data in contents[0].items() if file.endswith(".jpg")) >= 10
        own = mill.contents(mill.export(name, steps=[{**CROP, "seed": 7}, RESIZE], seed=99)["id"])
        assert own == contents[0]
        one_chunk.gristmill.database.close()


class TestRequest:
    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({"field": "label"}, "/field", "not_an_image_field"),
            ({"field": "nope"}, "/field", "not_an_image_field"),
            ({"field": 1}, "/field", "wrong_type"),
            ({"where": {"nope": 1}}, "/where/nope", "unknown_field"),
            ({"where": []}, "/where", "wrong_type"),
            ({"steps": {}}, "/steps", "wrong_type"),
            ({"steps": [{}]}, "/steps/0/op", "missing"),
            ({"steps": [RESIZE, {"op": "derive"}]}, "/steps/1/op", "unknown_step"),
            ({"steps": [{"op": "image_resize", "width": 3}]}, "/steps/0/height", "missing"),
            ({"steps": [RESIZE, {**RESIZE, "width": 10**9}]}, "/steps/1/width", "wrong_type"),
            ({"steps": [{**RESIZE, "x": 1}]}, "/steps/0/x", "unknown_member"),
            ({"steps": [{**RESIZE, "column": "photo"}]}, "/steps/0/column", "not_applicable"),
            ({"steps": [{**RESIZE, "as": "photo"}]}, "/steps/0/as", "not_applicable"),
            ({"steps": [{**RESIZE, "format": "png"}]}, "/steps/0/format", "not_applicable"),
            ({"steps": [RESIZE] * 51}, "/steps", "wrong_type"),
            ({"seed": -1}, "/seed", "wrong_type"),
            ({"seed": 1.5}, "/seed", "wrong_type"),
            ({"format": "tiff"}, "/format", "unknown_value"),
            ({"quality": 0}, "/quality", "wrong_type"),
            ({"fields": ["id", "nope"]}, "/fields", "unknown_field"),
            ({"fields": ["id", "id"]}, "/fields", "duplicate"),
            ({"fields": []}, "/fields", "bad_value"),
            ({"fields": ["thumb"]}, "/fields/0", "not_a_cell"),
            ({"keep_days": 8}, "/keep_days", "bad_value"),
            ({"keep_days": 0}, "/keep_days", "wrong_type"),
            ({"keep": "7d"}, "/keep", "unknown_member"),
            ({"only_failed_of": "x"}, "/only_failed_of", "bad_value"),
            ({"only_failed_of": str(uuid.uuid4()), "where": {}}, "/where", "conflicting"),
        ],
    )
    def test_a_bad_request_names_the_place_and_makes_no_job(
        self, mill: ImageMill, body: dict[str, Any], pointer: str, code: str
    ) -> None:
        fields = [*FIELDS, {"name": "thumb", "type": "image"}]
        name = mill.dataset({"fields": fields, "key": ["id"]})
        mill.work()
        answer = mill.ask(name, **{"field": "photo", **body})
        assert answer.status_code == 422, answer.text
        (error,) = answer.json()["errors"]
        assert (error["pointer"], error["code"]) == (pointer, code), error
        assert mill.http.get("/api/v1/jobs", params={"type": "images.export"}).json()["jobs"] == []
        assert mill.http.get("/api/v1/exports").json()["exports"] == []

    def test_what_is_missing_is_said_early(self, mill: ImageMill, database_url: str, tmp_path: Path) -> None:
        assert problem(mill.ask("nowhere")) == (404, "unknown_dataset")
        name = mill.dataset(CONTRACT)
        assert problem(mill.ask(name)) == (409, "conflict")
        keyless = mill.dataset({"fields": FIELDS})
        plain = mill.dataset({"fields": FIELDS[:1], "key": ["id"]})
        several = mill.dataset({"fields": [*FIELDS, {"name": "thumb", "type": "image"}], "key": ["id"]})
        mill.work()
        assert problem(mill.ask(keyless)) == (409, "no_key")
        assert problem(mill.ask(plain)) == (409, "no_image_field")
        answer = mill.ask(several)
        assert problem(answer) == (409, "no_image_field")
        assert "photo, thumb" in answer.json()["detail"]
        for options, code in (({"storage_url": str(tmp_path / "files")}, "no_image_folder"), ({}, "no_file_storage")):
            other = InProcess(database_url, **options)
            answer = other.http.post(f"/api/v1/datasets/{name}/images/export", json={})
            assert problem(answer) == (409, code)
            other.gristmill.database.close()

    def test_the_same_key_gives_the_same_job(self, mill: ImageMill) -> None:
        name = mill.filled(2)
        path, headers = f"/api/v1/datasets/{name}/images/export", {"Idempotency-Key": uuid.uuid4().hex}
        first, second = (mill.http.post(path, json={}, headers=headers) for _ in range(2))
        assert first.json()["id"] == second.json()["id"]
        other = mill.http.post(path, json={"seed": 1}, headers=headers)
        assert problem(other) == (422, "idempotency_key_reused")

    def test_over_the_limit_of_all_exports_another_one_is_refused(self, database_url: str, tmp_path: Path) -> None:
        mill = ImageMill(database_url, tmp_path, export_max_stored_bytes=1024 * 1024)
        name = mill.dataset(CONTRACT)
        mill.put("large.png", small() + os.urandom(1024 * 1024))
        mill.put("bad.png", b"")
        mill.job(mill.post(name, [record(f"{n}", "large.png" if n < 7 else "bad.png") for n in range(8)]))
        answer = mill.ask(name)
        # One of two chunks is made: what is there counts before the export is ready.
        mill.work(1, queue="long")
        assert problem(mill.ask(name)) == (429, "exports_full")
        job = mill.finish(answer.json()["id"])
        assert job["result"]["images"] == 7
        mill.finish(mill.http.delete(f"/api/v1/exports/{job['id']}").json()["id"])
        assert mill.ask(name).status_code == 202
        mill.gristmill.database.close()
