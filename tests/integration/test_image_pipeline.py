"""A pipeline on images from end to end: paths that are made of keys, bytes that are stored, bad images by record."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.support.images import encoded, hostile, photograph, png_header
from tests.support.in_process import CSV, NDJSON, InProcess, Job

from gristmill.jobs.repository.dispatch import mark_sent

STEPS: list[Job] = [
    {"op": "derive", "as": "photo", "value": "id + '.jpg'"},
    {"op": "image_random_crop", "column": "photo", "as": "part", "width": 0.8, "height": 0.8, "seed": 7},
    {"op": "image_resize", "column": "part", "as": "small", "width": 32, "height": 32},
]
BODY: Job = {
    "input": ["id", "label"],
    "fields": [
        {"name": "id", "type": "text", "required": True},
        {"name": "label", "type": "text"},
        {"name": "photo", "type": "image", "stored_as": "path", "computed": True},
        {"name": "small", "type": "image", "max_bytes": 20_000, "computed": True},
    ],
    "key": ["id"],
    "pipeline": STEPS,
}
GOOD = [f"p{number}" for number in range(6)]
BAD = {
    "text": "not_an_image", "empty": "image_empty", "truncated_jpeg": "image_broken", "bomb_png": "too_many_pixels",
    "gone": "image_missing", "large": "image_too_large", "linked": "unsafe_path", "../secret": "unsafe_path",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "images"
    found.mkdir()
    for number, name in enumerate(GOOD):
        image = photograph("rocket.jpg", (120 + number, 90)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        (found / f"{name}.jpg").write_bytes(encoded(image))
    files = hostile()
    for name in ("text", "empty", "truncated_jpeg", "bomb_png"):
        (found / f"{name}.jpg").write_bytes(files[name])
    (found / "large.jpg").write_bytes(png_header(2, 2) + bytes(1_100_000))
    (found / "linked.jpg").symlink_to("p0.jpg")
    (tmp_path / "secret.jpg").write_bytes((found / "p0.jpg").read_bytes())
    return found


def make_app(database_url: str, folder: Path, **options: Any) -> InProcess:
    return InProcess(database_url, images_url=str(folder), images_max_file_bytes=1_000_000, **options)


@pytest.fixture
def app(database_url: str, folder: Path) -> Iterator[InProcess]:
    found = make_app(database_url, folder, jobs_chunk_records=4)
    with found.http:
        yield found
    found.gristmill.database.close()


def sent(*names: str) -> list[Job]:
    return [{"id": name, "label": f"label of {name}"} for name in names]


def long_job(app: InProcess, answer: Any) -> Job:
    """Run what was accepted on the queue for long jobs, too."""
    assert answer.status_code == 202, answer.text
    app.work()
    app.work(queue="long")
    return app.job(answer)


def small(record: Job) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(record["small"])))
    assert (image.size, image.format) == ((32, 32), "JPEG")
    return image


class TestIngest:
    def test_under_quarantine_the_bad_ones_are_rejects_and_the_rest_is_written(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        records = sent(*(one for pair in zip(BAD, [*GOOD, "p0", "p1"], strict=False) for one in pair))
        job = app.job(app.post(name, records, path="records?on_error=quarantine"))
        assert (job["state"], job["chunks"]["total"]) == ("succeeded", 4), job
        assert job["record_counts"]["rejected"] == len(BAD)
        rejects = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert [one["values"] for one in rejects] == sent(*BAD)
        for place, ((wrong, code), reject) in enumerate(zip(BAD.items(), rejects, strict=True)):
            (error,) = reject["errors"]
            assert (reject["record"], error["field"], error["code"]) == (2 * place, "photo", code), wrong
            assert error["reason"]
        rows = app.rows(name)
        assert [row["id"] for row in rows] == GOOD
        assert [row["photo"] for row in rows] == [f"{one}.jpg" for one in GOOD]
        assert all(small(row) for row in rows)
        assert len({row["small"] for row in rows}) == len(GOOD)

    def test_otherwise_the_job_fails_and_names_record_field_and_reason(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        for bad, code in BAD.items():
            job = app.job(app.post(name, sent("p0", bad)))
            error = job["error"]
            assert (job["state"], job["attempt"], error["code"], error["record"]) == ("failed", 1, "record_unfit", 1)
            (found,) = error["errors"]
            assert (found["field"], found["code"], found["record"]) == ("photo", code, 1)
            assert "(image_random_crop): photo " in found["reason"]
        assert app.rows(name) == []

    def test_a_folder_that_is_gone_is_waited_for_and_costs_no_attempt(self, app: InProcess, folder: Path) -> None:
        name = app.dataset(BODY)
        app.work()
        answer = app.post(name, sent(*GOOD))
        folder.rename(folder.parent / "away")
        app.work()
        job = app.http.get(answer.json()["links"]["self"]).json()
        assert (job["done"], app.rows(name)) == (False, [])
        (folder.parent / "away").rename(folder)
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql("UPDATE gristmill.chunks SET run_at = now() WHERE state = 'waiting'")
        job = app.job(answer)
        assert (job["state"], job["attempt"], len(app.rows(name))) == ("succeeded", 1, len(GOOD)), job

    def test_the_bytes_are_the_same_whatever_the_cut_the_order_and_the_attempt(
        self, app: InProcess, database_url: str, folder: Path
    ) -> None:
        name, again = app.dataset(BODY), app.dataset(BODY)
        app.job(app.post(name, sent(*GOOD)))
        other = make_app(database_url, folder, jobs_chunk_records=1)
        with other.http:
            app.job(other.post(again, sent(*reversed(GOOD))))
        other.gristmill.database.close()
        assert app.rows(name) == app.rows(again)
        # A chunk that is run a second time, as after the loss of a worker.
        third = app.dataset(BODY)
        app.work()
        answer = app.post(third, sent(*GOOD[:2]))
        with app.gristmill.database.transaction() as connection:
            (message,) = mark_sent(connection, "default", 1)
        for _ in range(2):
            app.executor.run(message.job_id, message.number, message.dispatch)
        assert app.job(answer)["record_counts"]["succeeded"] == 2
        assert app.rows(third) == app.rows(name)[:2]

    def test_a_retry_after_the_image_was_mended_writes_what_a_first_attempt_would(
        self, app: InProcess, folder: Path
    ) -> None:
        name, other = app.dataset(BODY), app.dataset(BODY)
        job = app.job(app.post(name, sent("text")))
        assert job["state"] == "failed"
        (folder / "text.jpg").write_bytes((folder / "p3.jpg").read_bytes())
        app.http.post(job["links"]["retry"])
        app.work()
        assert app.http.get(job["links"]["self"]).json()["state"] == "succeeded"
        app.job(app.post(other, sent("p3")))
        # The randomness is of the image's bytes, so it is the same image.
        assert app.rows(name)[0]["small"] == app.rows(other)[0]["small"]

    def test_another_seed_gives_other_bytes(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        seeded = app.dataset({**BODY, "pipeline": [STEPS[0], {**STEPS[1], "seed": 8}, STEPS[2]]})
        for one in (name, seeded):
            app.job(app.post(one, sent(*GOOD)))
        assert [row["small"] for row in app.rows(name)] != [row["small"] for row in app.rows(seeded)]

    def test_what_is_made_has_to_fit_its_field(self, app: InProcess) -> None:
        fields = [*BODY["fields"][:3], {**BODY["fields"][3], "max_bytes": 600}]
        name = app.dataset({**BODY, "fields": fields})
        job = app.job(app.post(name, sent("p0"), path="records?on_error=quarantine"))
        ((error,),) = [one["errors"] for one in app.http.get(job["links"]["rejects"]).json()["rejects"]]
        assert (error["field"], error["code"]) == ("small", "too_large")


class TestContract:
    def test_a_path_is_no_place_for_bytes(self, app: InProcess) -> None:
        small = {"name": "small", "type": "image", "stored_as": "path", "computed": True}
        answer = app.http.post("/api/v1/datasets", json={**BODY, "name": "x", "fields": [*BODY["fields"][:3], small]})
        found = [(one["pointer"], one["code"], one["field"]) for one in answer.json()["errors"]]
        assert (answer.status_code, found) == (422, [("/pipeline/2", "wrong_type", "small")])

    def test_bytes_are_not_made_of_a_path_by_naming_it_otherwise(self, app: InProcess) -> None:
        path = {"name": "path", "type": "image", "stored_as": "path"}
        photo = {"name": "photo", "type": "image", "computed": True}
        for named in (photo, {**photo, "stored_as": "path"}):
            fields = [BODY["fields"][0], named]
            steps = [{"op": "rename", "columns": {"path": "photo"}}]
            body = {"name": "renamed", "input": ["id", path], "fields": fields, "key": ["id"], "pipeline": steps}
            answer = app.http.post("/api/v1/datasets", json=body)
            assert answer.status_code == (202 if "stored_as" in named else 422), answer.text
        app.job(app.post("renamed", [{"id": "a", "path": "p0.jpg"}]))
        assert app.rows("renamed") == [{"id": "a", "photo": "p0.jpg"}]
        shown = app.http.post(
            "/api/v1/datasets/renamed/pipeline/preview", json={"records": [{"id": "a", "path": "x.png"}]}
        )
        assert shown.status_code == 200
        assert "x.png" in shown.text


class TestChanges:
    def test_patch_and_merge_make_anew_what_depends_on_the_change_alone(self, app: InProcess, folder: Path) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, sent(*GOOD)))
        before = app.rows(name)
        (folder / "p0.jpg").write_bytes((folder / "p1.jpg").read_bytes())
        assert app.job(app.http.patch(app.key(name, "p0"), json={"label": "new"}))["state"] == "succeeded"
        job = app.job(app.post(name, [{"id": "p1", "label": "merged"}], path="records?mode=merge"))
        assert job["state"] == "succeeded", job
        after = app.rows(name)
        assert [row["label"] for row in after[:2]] == ["new", "merged"]
        assert [{**row, "label": 0} for row in after] == [{**row, "label": 0} for row in before]
        for field in ("photo", "small"):
            answer = app.http.patch(app.key(name, "p0"), json={field: before[0][field]})
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "computed_field")

    def test_a_path_that_clients_send_is_patched_and_its_image_made_anew(self, app: InProcess) -> None:
        fields = [BODY["fields"][0], {"name": "photo", "type": "image", "stored_as": "path"}, BODY["fields"][3]]
        name = app.dataset({**BODY, "input": ["id", "photo"], "fields": fields, "pipeline": STEPS[1:]})
        app.job(app.post(name, [{"id": "a", "photo": "p0.jpg"}, {"id": "b", "photo": "p1.jpg"}, {"id": "c"}]))
        first = app.rows(name)
        assert (first[2]["photo"], first[2]["small"]) == (None, None)
        app.job(app.http.patch(app.key(name, "a"), json={"photo": "p1.jpg"}))
        assert app.rows(name)[0]["small"] == first[1]["small"]
        job = app.job(app.http.patch(app.key(name, "a"), json={"photo": "gone.jpg"}))
        error = job["error"]
        assert (job["state"], error["code"], error["field"]) == ("failed", "record_unfit", "photo")
        assert "there is no gone.jpg in the image folder" in error["detail"]
        answer = app.http.patch(app.key(name, "a"), json={"photo": "../secret.jpg"})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unsafe_path")
        job = app.job(app.post(name, [{"id": "b", "photo": "p2.jpg"}], path="records?mode=merge"))
        assert (job["state"], app.rows(name)[1]["photo"]) == ("succeeded", "p2.jpg")
        assert app.rows(name)[1]["small"] != first[1]["small"]

    def test_recompute_makes_images_of_stored_records_anew(self, app: InProcess, folder: Path) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, sent(*GOOD)))
        before = app.rows(name)
        change = {"pipeline": [STEPS[0], STEPS[1], {**STEPS[2], "format": "png"}]}
        fields = {"pipeline": change["pipeline"]}
        assert app.job(app.http.patch(f"/api/v1/datasets/{name}", json=fields))["state"] == "succeeded"
        assert app.rows(name) == before
        job = long_job(app, app.http.post(f"/api/v1/datasets/{name}/recompute", json={}))
        assert job["state"] == "succeeded", job
        for row in app.rows(name):
            assert Image.open(io.BytesIO(base64.b64decode(row["small"]))).format == "PNG"
        app.job(app.http.patch(f"/api/v1/datasets/{name}", json={"pipeline": STEPS}))
        (folder / "p2.jpg").write_bytes(b"broken")
        job = long_job(app, app.http.post(f"/api/v1/datasets/{name}/recompute", json={}))
        assert job["state"] == "failed", job
        assert "photo is no PNG, JPEG, GIF or WebP image" in job["error"]["detail"], job["error"]

    def test_a_preview_shows_images_and_what_is_wrong_with_them(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, sent(*GOOD)))
        answer = app.http.post(
            f"/api/v1/datasets/{name}/pipeline/preview", json={"records": sent("p0", "text", "gone")}
        )
        assert answer.status_code == 200, answer.text
        shown = answer.json()
        assert "not_an_image" in answer.text
        assert "image_missing" in answer.text
        assert app.rows(name)[0]["small"] in str(shown)


class TestReadsAndExports:
    def test_both_kinds_are_the_same_in_every_export(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [*sent(*GOOD), {"id": "p0", "label": None}]))
        rows = app.rows(name)
        export = f"/api/v1/datasets/{name}/export"
        lines = app.http.get(export, params={"format": "ndjson"}).content
        csv = app.http.get(export, params={"format": "csv"}).content
        table = pq.read_table(io.BytesIO(app.http.get(export, params={"format": "parquet"}).content))
        assert [str(table.schema.field(one).type) for one in ("photo", "small")] == ["string", "binary"]
        assert table["photo"].to_pylist() == [row["photo"] for row in rows]
        assert table["small"].to_pylist() == [base64.b64decode(row["small"]) for row in rows]
        fields = [{**field, "computed": False} for field in BODY["fields"]]
        copies = {"ndjson": (lines, NDJSON), "csv": (csv, CSV)}
        for body, headers in copies.values():
            plain = app.dataset({"fields": fields, "key": ["id"]})
            job = app.job(app.post(plain, body, headers=headers))
            assert job["state"] == "succeeded", job
            assert app.rows(plain) == rows
        assert (
            app.http.post(f"/api/v1/datasets/{name}/records/get", json={"keys": ["p0"]}).json()["records"] == rows[:1]
        )
        assert app.http.get(app.key(name, "p0") + "/image?field=small").content == base64.b64decode(rows[0]["small"])

    def test_copies_renames_and_new_fields_keep_them(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, sent(*GOOD)))
        rows = app.rows(name)
        job = long_job(app, app.http.post(f"/api/v1/datasets/{name}/copy", json={"name": f"{name}_copy"}))
        assert job["state"] == "succeeded", job
        assert app.rows(f"{name}_copy") == rows
        job = app.job(app.http.post(f"/api/v1/datasets/{name}_copy/rename", json={"name": f"{name}_new"}))
        assert job["state"] == "succeeded", job
        more = {
            "add_fields": [{"name": "back", "type": "image", "stored_as": "path"}, {"name": "icon", "type": "image"}]
        }
        job = app.job(app.http.patch(f"/api/v1/datasets/{name}_new", json=more))
        assert job["state"] == "succeeded", job
        assert app.rows(f"{name}_new") == [{**row, "back": None, "icon": None} for row in rows]
        job = app.job(app.post(f"{name}_new", [{"id": "p0", "back": "p1.jpg", "icon": rows[0]["small"]}]))
        assert job["state"] == "succeeded", job
        first = app.rows(f"{name}_new")[0]
        assert (first["back"], first["icon"]) == ("p1.jpg", rows[0]["small"])

    def test_aggregates_views_and_children_show_them(self, app: InProcess) -> None:
        view = {"all": [{"op": "filter", "where": {"id": {"ne": "p1"}}}]}
        name = app.dataset({**BODY, "views": view})
        app.job(app.post(name, sent(*GOOD)))
        rows = app.rows(name)
        answer = app.http.get(f"/api/v1/datasets/{name}/views/all")
        assert answer.json()["rows"] == [row for row in rows if row["id"] != "p1"], answer.text
        counted = app.http.post(
            f"/api/v1/datasets/{name}/aggregate",
            json={
                "measures": [
                    {"agg": "count", "field": "small", "as": "n"},
                    {"agg": "count", "field": "photo", "as": "m"},
                ]
            },
        )
        assert counted.status_code == 200, counted.text
        child = app.dataset(
            {
                "fields": [
                    {"name": "n", "type": "integer", "required": True}, {"name": "product", "type": "text"},
                    {"name": "side", "type": "image", "stored_as": "path"}, {"name": "icon", "type": "image"},
                ],
                "key": ["n"],
                "parents": [{"field": "product", "dataset": name}],
            }
        )  # fmt: skip
        record = {"n": 1, "product": "p0", "side": "p1.jpg", "icon": rows[0]["small"]}
        assert app.job(app.post(child, [record]))["state"] == "succeeded"
        nested = app.http.get(app.key(name, "p0") + "?expand=children").json()
        assert nested["small"] == rows[0]["small"]
        assert [one for found in nested["_children"].values() for one in found] == [record]
