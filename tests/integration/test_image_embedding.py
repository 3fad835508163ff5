"""Images become vectors as they are written: the bad ones are their records' rejects, whatever way they come in."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageEnhance
from tests.support.images import PHOTOGRAPHS, encoded, hostile, photograph, unusual
from tests.support.in_process import InProcess, Job
from tests.support.servers import add_database

from gristmill.storage.errors import FileStorageUnavailable

PHOTOS = [encoded(photograph(name, (96, 64))) for name in PHOTOGRAPHS]
PATHS: Job = {
    "fields": [
        {"name": "k", "type": "integer", "required": True},
        {"name": "photo", "type": "image", "stored_as": "path"},
        {"name": "note", "type": "text"},
    ],
    "key": ["k"],
    "embedding": {"from": ["photo"], "embedder": "image_hash"},
}
BYTES: Job = {**PATHS, "fields": [PATHS["fields"][0], {"name": "photo", "type": "image"}, PATHS["fields"][2]]}
# What the first bytes show is refused before it is queued.
BROKEN = {name: data for name, data in hostile().items() if name in ("truncated_jpeg", "bomb_png", "jpeg_start_only")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("images")
    for number, data in enumerate(PHOTOS):
        (made / f"{number}.jpg").write_bytes(data)
    for name, data in {**hostile(), **unusual()}.items():
        (made / name).write_bytes(data)
    return made


@pytest.fixture(scope="module")
def images(folder: Path) -> Iterator[InProcess]:
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
    found = InProcess(url, images_url=str(folder))
    with found.http:
        yield found
    found.gristmill.database.close()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def embeddings(app: InProcess, name: str) -> dict[int, Any]:
    rows = app.http.get(f"/api/v1/datasets/{name}/records?include=embedding&page_size=1000").json()["records"]
    return {row["k"]: row["_embedding"] for row in rows}


def hashes(app: InProcess, photos: list[bytes]) -> list[str]:
    vectors, _ = app.gristmill.embedders.get_of_images("image_hash").embed(photos)
    return ["".join(str(int(bit)) for bit in row) for row in vectors]


def counts(job: Job) -> dict[str, int]:
    return {name: number for name, number in job["record_counts"].items() if number}


def rejects(app: InProcess, job: Job) -> list[Any]:
    found = app.http.get(job["links"]["rejects"]).json()["rejects"]
    return [(one["record"], one["errors"][0]["field"], one["errors"][0]["code"]) for one in found]


@pytest.mark.parametrize("large", [False, True], ids=["few", "many"])
def test_bad_images_are_rejected_and_all_others_are_stored_with_their_vectors(images: InProcess, large: bool) -> None:
    name = images.dataset(PATHS)
    bad = [*hostile(), "missing.jpg"]
    good = [f"{number}.jpg" for number in range(len(PHOTOS))] + list(unusual()) + [None]
    sent = [{"k": k, "photo": photo} for k, photo in enumerate([*bad[:5], *good * (20 if large else 1), *bad[5:]])]
    job = images.job(images.post(name, sent, params={"on_error": "quarantine"}))
    assert job["state"] == "succeeded"
    assert counts(job) == {"total": len(sent), "succeeded": len(sent) - len(bad), "rejected": len(bad)}
    places = [one["k"] for one in sent if one["photo"] in bad]
    found = rejects(images, job)
    assert [(record, field) for record, field, _ in found] == [(place, "photo") for place in places]
    codes = {sent[record]["photo"]: code for record, _, code in found}
    assert codes["missing.jpg"] == "image_missing"
    assert codes["empty"] == "image_empty"
    assert codes["bomb_png"] in ("too_many_pixels", "image_broken")
    stored = embeddings(images, name)
    assert sorted(stored) == [one["k"] for one in sent if one["photo"] not in bad]
    expected = hashes(images, PHOTOS)
    for one in sent:
        if one["photo"] is None:
            assert stored[one["k"]] is None
        elif one["photo"] not in bad:
            assert len(stored[one["k"]]) == 64
            if str(one["photo"])[1:] == ".jpg":
                assert stored[one["k"]] == expected[int(str(one["photo"])[0])]


def test_with_reject_the_chunk_fails_naming_record_field_code_and_reason(images: InProcess) -> None:
    name = images.dataset(BYTES)
    sent = [{"k": k, "photo": b64(data)} for k, data in enumerate([PHOTOS[0], *BROKEN.values()])]
    job = images.job(images.post(name, sent))
    assert job["state"] == "failed"
    error = job["error"]
    assert error["code"] == "record_unfit"
    assert "Record 1: photo: photo is broken" in error["detail"]
    assert error["errors"][0]["pointer"] == "/1/photo"
    assert error["errors"][0]["code"] == "image_broken"
    assert len(error["errors"]) == len(BROKEN)
    assert images.rows(name) == []


def test_places_of_the_records_that_stay_decide_between_equal_keys(images: InProcess) -> None:
    name = images.dataset(BYTES)
    broken = next(iter(BROKEN.values()))
    sent = [
        {"k": 1, "photo": b64(PHOTOS[0]), "note": "first"},
        {"k": 2, "photo": b64(broken)},
        {"k": 1, "photo": b64(PHOTOS[1]), "note": "second"},
        {"k": 1, "photo": b64(broken), "note": "third"},
    ]
    job = images.job(images.post(name, sent, params={"on_error": "quarantine"}))
    assert counts(job) == {"total": 4, "succeeded": 1, "superseded": 1, "rejected": 2}
    assert [row["note"] for row in images.rows(name)] == ["second"]
    again = images.post(name, sent[1:3], params={"on_error": "quarantine", "on_conflict": "skip"})
    assert counts(images.job(again)) == {"total": 2, "superseded": 1, "rejected": 1}
    new = [{**sent[1], "k": 7}, {**sent[0], "k": 8}]
    added = images.job(images.post(name, new, params={"on_error": "quarantine", "on_conflict": "fail"}))
    assert counts(added) == {"total": 2, "succeeded": 1, "rejected": 1}
    assert [row["k"] for row in images.rows(name)] == [1, 8]


def test_a_pipeline_and_its_embedding_fail_together_record_by_record(images: InProcess) -> None:
    steps = [{"op": "filter", "where": {"k": {"ge": 0}}}]
    name = images.dataset({**BYTES, "pipeline": steps})
    sent = [
        {"k": -1, "photo": b64(next(iter(BROKEN.values())))},
        {"k": 1, "photo": b64(next(iter(BROKEN.values())))},
        {"k": 2, "photo": b64(PHOTOS[2])},
        {"k": 3},
    ]
    job = images.job(images.post(name, sent, params={"on_error": "quarantine"}))
    assert counts(job) == {"total": 4, "succeeded": 2, "rejected": 1, "dropped": 1}
    assert rejects(images, job) == [(1, "photo", "image_broken")]
    assert embeddings(images, name) == {2: hashes(images, [PHOTOS[2]])[0], 3: None}


def test_merging_embeds_what_is_given_and_rejects_what_cannot_be(images: InProcess) -> None:
    name = images.dataset(BYTES)
    images.job(images.post(name, [{"k": k, "photo": b64(PHOTOS[k])} for k in range(3)]))
    sent = [
        {"k": 0, "note": "only a note"},
        {"k": 1, "photo": b64(next(iter(BROKEN.values()))), "note": "lost"},
        {"k": 2, "photo": b64(PHOTOS[5])},
        {"k": 3, "photo": b64(PHOTOS[4])},
    ]
    job = images.job(images.post(name, sent, params={"on_error": "quarantine", "mode": "merge"}))
    assert counts(job) == {"total": 4, "succeeded": 3, "rejected": 1}
    assert rejects(images, job) == [(1, "photo", "image_broken")]
    before = hashes(images, PHOTOS)
    assert embeddings(images, name) == {0: before[0], 1: before[1], 2: before[5], 3: before[4]}
    assert [row["note"] for row in images.rows(name)] == ["only a note", None, None, None]
    failed = images.job(images.post(name, sent[1:2], params={"mode": "merge"}))
    assert (failed["state"], failed["error"]["errors"][0]["code"]) == ("failed", "image_broken")


def test_a_patch_moves_the_vector_or_fails_with_the_reason(images: InProcess) -> None:
    name = images.dataset(BYTES)
    images.job(images.post(name, [{"k": 0, "photo": b64(PHOTOS[0])}]))
    changed = images.job(images.http.patch(images.key(name, 0), json={"photo": b64(PHOTOS[3])}))
    assert changed["state"] == "succeeded"
    assert embeddings(images, name) == {0: hashes(images, [PHOTOS[3]])[0]}
    failed = images.job(images.http.patch(images.key(name, 0), json={"photo": b64(next(iter(BROKEN.values())))}))
    assert failed["state"] == "failed"
    assert (failed["error"]["code"], failed["error"]["errors"][0]["code"]) == ("record_unfit", "image_broken")
    gone = images.job(images.http.patch(images.key(name, 0), json={"photo": None}))
    assert (gone["state"], embeddings(images, name)) == ("succeeded", {0: None})


def test_a_folder_that_does_not_answer_costs_no_attempt(images: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.gristmill.images is not None
    name = images.dataset(PATHS)
    images.work()

    def unavailable() -> Any:
        raise FileStorageUnavailable("The file storage is away")

    with monkeypatch.context() as patched:
        patched.setattr(images.gristmill.images.reader, "folder", unavailable)
        answer = images.post(name, [{"k": 1, "photo": "1.jpg"}])
        images.work()
        waiting = images.http.get(answer.json()["links"]["self"]).json()
        assert (waiting["done"], waiting["attempt"]) == (False, 0)
    with images.gristmill.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE gristmill.chunks SET run_at = now() WHERE state = 'waiting'")
    assert images.job(answer)["state"] == "succeeded"


@pytest.fixture(scope="module")
def name(images: InProcess) -> str:
    name = images.dataset({**BYTES, "embedding": {"from": ["photo"]}})
    images.job(images.post(name, [{"k": k, "photo": b64(data)} for k, data in enumerate(PHOTOS)]))
    return name


class TestSearch:
    def test_the_layout_is_the_default_of_images(self, images: InProcess, name: str) -> None:
        contract = images.http.get(f"/api/v1/datasets/{name}").json()["contract"]
        assert contract["embedding"]["embedder"] == "image_layout"

    @pytest.mark.parametrize("number", range(len(PHOTOS)))
    def test_a_changed_copy_finds_its_original(self, images: InProcess, name: str, number: int) -> None:
        copy = ImageEnhance.Brightness(photograph(PHOTOGRAPHS[number], (300, 220)).crop((15, 10, 285, 210))).enhance(
            0.9
        )
        data = encoded(copy, "PNG")
        answer = images.post(name, {"image": b64(data), "k": 2}, path="search")
        assert answer.status_code == 200, answer.text
        assert answer.json()["hits"][0]["key"] == number
        form = images.http.post(
            f"/api/v1/datasets/{name}/search",
            files={"image": ("x.png", data)},
            data={"query": '{"k": 2, "where": {"k": {"ge": 0}}}'},
        )
        assert form.json()["hits"] == answer.json()["hits"]

    @pytest.mark.parametrize("kind", list(hostile()))
    def test_a_hostile_file_is_refused_at_its_place(self, images: InProcess, name: str, kind: str) -> None:
        data = hostile()[kind]
        sent = {"queries": [{"image": b64(PHOTOS[0])}, {"image": b64(data)}]}
        for answer, pointer in (
            (images.post(name, {"image": b64(data)}, path="search"), "/image"),
            (images.post(name, sent, path="search"), "/queries/1/image"),
            (images.http.post(f"/api/v1/datasets/{name}/search", files={"image": ("x", data)}), "/image"),
        ):
            assert answer.status_code == 422, answer.text
            (error,) = answer.json()["errors"]
            assert error["pointer"] == pointer
            assert error["code"] in ("image_empty", "not_an_image", "image_broken", "too_many_pixels")

    @pytest.mark.parametrize("kind", list(unusual()))
    def test_unusual_files_are_searched_by(self, images: InProcess, name: str, kind: str) -> None:
        assert images.post(name, {"image": b64(unusual()[kind])}, path="search").status_code == 200

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({"image": "%%"}, "/image", "not_base64"),
            ({"image": 7}, "/image", "wrong_type"),
            ({"image": "A" * 5_600_000}, "/image", "image_too_large"),
            ({"text": "a cat"}, "/text", "no_embedder"),
            ({"image": "", "vector": [1]}, "/image", "exactly_one"),
            ({"vector": [1.0]}, "/vector", "wrong_length"),
        ],
    )
    def test_what_is_wrong_is_named(self, images: InProcess, name: str, body: Any, pointer: str, code: str) -> None:
        answer = images.post(name, body, path="search")
        assert answer.status_code == 422, answer.text
        assert (pointer, code) in [(one["pointer"], one["code"]) for one in answer.json()["errors"]]
        if code == "no_embedder":
            assert "search by image, vector or like" in answer.text

    def test_texts_are_not_searched_by_images(self, images: InProcess) -> None:
        body = {**BYTES, "embedding": {"from": ["note"], "embedder": "hashing"}}
        texts = images.dataset(body)
        images.work()
        answer = images.post(texts, {"image": b64(PHOTOS[0])}, path="search")
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["pointer"], error["code"]) == ("/image", "no_embedder")
        assert "search by text, vector or like" in error["reason"]

    @pytest.mark.parametrize(
        ("content", "status", "code"),
        [
            (b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nx', 400, "truncated"),
            (b"no form", 400, "malformed"),
            (b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n{}\r\n--b--\r\n', 400, "missing"),
            (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\n{}\r\n--b--\r\n', 400, "unknown_member"),
            (b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n[]\r\n--b--\r\n', 422, "wrong_type"),
            (b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\n{\r\n--b--\r\n', 400, "malformed"),
        ],
    )
    def test_forms_that_are_none_are_refused(
        self, images: InProcess, name: str, content: bytes, status: int, code: str
    ) -> None:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        answer = images.http.post(f"/api/v1/datasets/{name}/search", content=content, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.json()["errors"][0]["code"] == code
        other = images.http.post(
            f"/api/v1/datasets/{name}/search", content=content, headers={"content-type": "multipart/form-data"}
        )
        assert other.status_code == 415


@pytest.mark.parametrize(
    ("embedding", "pointer", "code", "says"),
    [
        ({"from": ["photo", "note"]}, "/embedding/from/0", "not_supported", "not both"),
        ({"from": ["photo", "other"]}, "/embedding/from/0", "too_many", "reads one field"),
        (
            {"from": ["photo"], "embedder": "hashing"},
            "/embedding/embedder",
            "wrong_embedder",
            "image_hash, image_layout",
        ),
        ({"from": ["note"], "embedder": "image_hash"}, "/embedding/embedder", "wrong_embedder", "hashing, static"),
        ({"from": ["photo"], "embedder": "x"}, "/embedding/embedder", "unknown_embedder", "image_hash, image_layout"),
        ({"from": ["photo"], "embedder": "image_hash", "metric": "l2"}, "/embedding/metric", "wrong_metric", "hamming"),
        ({"from": ["photo"], "metric": "hamming"}, "/embedding/metric", "wrong_metric", "cosine, l2, inner_product"),
        (
            {"from": ["photo"], "storage": "bit", "metric": "l2"},
            "/embedding/storage",
            "wrong_storage",
            "vector, halfvec",
        ),
        ({"dimensions": 8, "metric": "hamming", "storage": "vector"}, "/embedding/storage", "wrong_storage", "bit"),
        ({"dimensions": 64_001, "metric": "hamming"}, "/embedding/dimensions", "not_supported", "64000"),
        ({"from": ["k"]}, "/embedding/from/0", "not_supported", "is no text or image"),
    ],
)
def test_what_cannot_be_is_refused_with_the_valid_ones(
    images: InProcess, embedding: Any, pointer: str, code: str, says: str
) -> None:
    fields = [*BYTES["fields"], {"name": "other", "type": "image"}]
    answer = images.http.post(
        "/api/v1/datasets", json={**BYTES, "name": "refused", "fields": fields, "embedding": embedding}
    )
    assert answer.status_code == 422, answer.text
    found = {one["pointer"]: (one["code"], one["reason"]) for one in answer.json()["errors"]}
    assert found[pointer][0] == code
    assert says in found[pointer][1]
