"""Images loaded from metadata and a folder, and from a zip, over REST."""

import base64
import io
import uuid
import zipfile
from typing import Any

import pytest
from tests.support.images import small
from tests.support.in_process import InProcess, Job

from gristmill.records.spool import MEMORY_BYTES

ZIP = {"content-type": "application/zip"}
RED, BLUE = small(), small("JPEG", (0, 0, 250))
ID = {"name": "id", "type": "integer", "required": True}
STORED: Job = {
    "fields": [ID, {"name": "title", "type": "text"}, {"name": "photo", "type": "image"}],
    "key": ["id"],
}
PATHS: Job = {
    "fields": [
        ID,
        {"name": "product_name", "type": "text"},
        {"name": "photo", "type": "image", "stored_as": "path", "computed": True},
    ],
    "key": ["id"],
    "pipeline": [{"op": "derive", "as": "photo", "value": "text(id) + '.jpg'"}],
}
STYLES = [
    "id,product_name",
    '1,"Turtle, Check Men Shirt"',
    "2,Peter England, Men Jeans",
    '3,"Never closed',
    "4,Titan Women Watch",
    '5,Puma 6" Sock',
    "6",
    "4,Titan Women Silver Watch",
]


def archive(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return target.getvalue()


def photo_of(row: Job) -> bytes | None:
    return None if row["photo"] is None else base64.b64decode(row["photo"])


class TestMetadata:
    def test_broken_lines_of_a_catalogue_are_rejects_and_the_rest_is_loaded(self, app: InProcess) -> None:
        name = app.dataset(PATHS)
        answer = app.post(
            name, "\n".join(STYLES).encode(), params={"on_error": "quarantine"}, headers={"content-type": "text/csv"}
        )
        job = app.job(answer)
        assert (job["state"], job["record_counts"]["rejected"]) == ("succeeded", 4)
        assert app.rows(name) == [
            {"id": 1, "product_name": "Turtle, Check Men Shirt", "photo": "1.jpg"},
            {"id": 4, "product_name": "Titan Women Silver Watch", "photo": "4.jpg"},
        ]
        rejects = app.http.get(job["links"]["rejects"]).json()["rejects"]
        found = [(one["line"], one["raw"], one["errors"][0]["code"]) for one in rejects]
        codes = {3: "uneven_row", 4: "malformed", 6: "malformed", 7: "uneven_row"}
        assert found == [(line, STYLES[line - 1], code) for line, code in codes.items()]

    @pytest.mark.promise(4)
    def test_without_quarantine_they_refuse_all_of_it_with_line_and_reason(self, app: InProcess) -> None:
        name = app.dataset(PATHS)
        answer = app.post(name, "\n".join(STYLES).encode(), headers={"content-type": "text/csv"})
        assert answer.status_code == 400
        body = answer.json()
        assert [error["line"] for error in body["errors"]] == [3, 4, 6, 7]
        assert "line 3" in body["detail"]

    @pytest.mark.parametrize(
        ("id", "code"), [("..", "unsafe_path"), ("a/../b", "unsafe_path"), ("/etc/x", "unsafe_path")]
    )
    def test_a_path_that_leaves_the_folder_is_the_reject_of_its_record(
        self, app: InProcess, id: str, code: str
    ) -> None:
        body = {
            "fields": [{**ID, "type": "text"}, PATHS["fields"][2]],
            "key": ["id"],
            "pipeline": [{"op": "derive", "as": "photo", "value": "id + '/x.jpg'"}],
        }
        name = app.dataset(body)
        job = app.job(app.post(name, [{"id": "good"}, {"id": id}], params={"on_error": "quarantine"}))
        assert [row["photo"] for row in app.rows(name)] == ["good/x.jpg"]
        (reject,) = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert (reject["record"], reject["errors"][0]["code"]) == (1, code)


class TestZip:
    def test_records_get_the_images_that_they_name(self, app: InProcess) -> None:
        name = app.dataset(STORED)
        rows = b"id,title,photo\n1,red,images/red.png\n2,blue,images/blue.jpg\n3,none,\n"
        body = archive({"metadata.csv": rows, "images/red.png": RED, "images/blue.jpg": BLUE, "images/more.png": RED})
        job = app.job(app.post(name, body, headers=ZIP))
        assert (job["state"], job["record_counts"]["succeeded"]) == ("succeeded", 3)
        assert [(row["title"], photo_of(row)) for row in app.rows(name)] == [
            ("red", RED),
            ("blue", BLUE),
            ("none", None),
        ]

    def test_a_form_takes_one_too(self, app: InProcess) -> None:
        name = app.dataset(STORED)
        body = archive({"metadata.ndjson": b'{"id":1,"photo":"red.png"}', "red.png": RED})
        for kind in ("application/zip", "application/octet-stream", "application/x-zip-compressed"):
            answer = app.http.post(f"/api/v1/datasets/{name}/records", files={"file": ("styles.ZIP", body, kind)})
            assert app.job(answer)["record_counts"]["succeeded"] == 1
        assert photo_of(app.rows(name)[0]) == RED

    def test_bad_records_are_rejects_that_can_be_mended_and_sent_again(self, app: InProcess) -> None:
        name = app.dataset(STORED)
        rows = b'id,title,photo\n1,"a, b",gone.png\n2,c,text.png\n3,d,red.png\nx,e,red.png\n'
        files = {"metadata.csv": rows, "red.png": RED, "text.png": b"no image"}
        job = app.job(app.post(name, archive(files), headers=ZIP, params={"on_error": "quarantine"}))
        assert job["record_counts"]["rejected"] == 3
        assert [row["id"] for row in app.rows(name)] == [3]
        rejects = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert [(one["line"], one["raw"], one["errors"][0]["code"], one["errors"][0]["line"]) for one in rejects] == [
            (2, '1,"a, b",gone.png', "image_missing", 2),
            (3, "2,c,text.png", "not_an_image", 3),
            (5, "x,e,red.png", "wrong_type", 5),
        ]
        listed = app.http.get(job["links"]["rejects"], params={"format": "csv"}).content
        mended = listed.replace(b"gone.png", b"red.png").replace(b"text.png", b"blue.jpg").replace(b"\nx,", b"\n9,")
        files = {"metadata.csv": mended, "red.png": RED, "blue.jpg": BLUE}
        again = app.job(app.post(name, archive(files), headers=ZIP, params={"retry_of": job["id"]}))
        assert again["state"] == "succeeded", again
        assert {row["id"]: photo_of(row) for row in app.rows(name)} == {1: RED, 2: BLUE, 3: RED, 9: RED}

    @pytest.mark.promise(4)
    def test_without_quarantine_nothing_is_stored(self, app: InProcess) -> None:
        name = app.dataset(STORED)
        body = archive({"metadata.csv": b"id,photo\n1,red.png\n2,gone.png\n", "red.png": RED})
        answer = app.post(name, body, headers=ZIP)
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["pointer"], error["line"], error["field"], error["code"]) == (
            "/1/photo",
            3,
            "photo",
            "image_missing",
        )
        assert app.http.post(f"/api/v1/datasets/{name}/validate", content=body, headers=ZIP).status_code == 422
        app.work()
        assert app.rows(name) == []

    def test_a_large_one_is_staged_in_several_chunks_while_it_is_read(self, app: InProcess) -> None:
        name = app.dataset(STORED)
        image = RED + uuid.uuid4().bytes * 6000
        files = {f"{n}.png": image + bytes([n]) for n in range(150)}
        rows = "".join(f"{n},{n}.png\n" for n in range(150))
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as file:
            file.writestr("metadata.csv", "id,photo\n" + rows)
            for member, data in files.items():
                file.writestr(member, data)
        assert target.tell() > MEMORY_BYTES
        job = app.job(app.post(name, target.getvalue(), headers=ZIP))
        assert (job["state"], job["record_counts"]["succeeded"]) == ("succeeded", 150)
        assert job["chunks"]["total"] >= 2
        for number in (0, 77, 149):
            assert photo_of(app.http.get(app.key(name, str(number))).json()) == files[f"{number}.png"]
        # One that is bad, behind all that was staged, undoes it.
        other = app.dataset(STORED)
        with zipfile.ZipFile(target, "a") as file:
            file.writestr("metadata.ndjson", "")
        assert app.post(other, target.getvalue(), headers=ZIP).status_code == 400
        app.work()
        assert app.rows(other) == []

    def test_merging_and_conflicts_and_keys_once_work_as_for_every_body(self, app: InProcess) -> None:
        name = app.dataset(STORED)
        first = archive({"metadata.csv": b"id,title,photo\n1,a,red.png\n", "red.png": RED})
        app.job(app.post(name, first, headers={**ZIP, "idempotency-key": "k1-" + name}))
        assert app.post(name, first, headers={**ZIP, "idempotency-key": "k1-" + name}).status_code in (200, 202)
        merged = archive({"metadata.csv": b"id,photo\n1,blue.jpg\n", "blue.jpg": BLUE})
        assert app.job(app.post(name, merged, headers=ZIP, params={"mode": "merge"}))["state"] == "succeeded"
        (row,) = app.rows(name)
        assert (row["title"], photo_of(row)) == ("a", BLUE)
        assert app.post(name, first, headers=ZIP, params={"on_conflict": "fail"}).status_code == 409

    def test_a_dataset_of_paths_says_where_the_files_belong(self, app: InProcess) -> None:
        answer = app.post(app.dataset(PATHS), archive({"metadata.csv": b"id\n1\n"}), headers=ZIP)
        assert answer.status_code == 422
        assert "image folder" in answer.json()["detail"]

    def test_the_document_knows_it(self, app: InProcess) -> None:
        document: Any = app.http.get("/openapi.json").json()
        body = document["paths"]["/api/v1/datasets/{dataset}/records"]["post"]["requestBody"]
        assert body["content"]["application/zip"]["schema"] == {"type": "string", "format": "binary"}
