"""The image of a record over REST: the file as it is, thumbnails, conditions, and what is wrong with an image."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image
from tests.support.images import bomb, encoded, hostile, photograph, png_header, turned, unusual
from tests.support.in_process import InProcess

from gristmill.images.decode import decode
from gristmill.images.read import endpoints

PHOTO = encoded(photograph("rocket.jpg", (640, 427)))
CLEAR = encoded(photograph("coffee.png", (300, 200)).convert("RGBA").rotate(20, expand=True), "PNG")
BYTES = {"type": "image", "max_bytes": 4 * 1024 * 1024}
PATH = {"type": "image", "stored_as": "path"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "images"
    found.mkdir()
    (found / "1.jpg").write_bytes(PHOTO)
    return found


@pytest.fixture
def app(database_url: str, folder: Path) -> Iterator[InProcess]:
    found = InProcess(
        database_url, images_url=str(folder), images_max_pixels=1_000_000, images_max_file_bytes=5_000_000
    )
    with found.http:
        yield found
    found.gristmill.database.close()


def dataset(app: InProcess, key: Any = "text", **fields: Any) -> str:
    keys = [{"name": f"k{place}", "type": kind, "required": True} for place, kind in enumerate(key.split())]
    body = {"fields": [*keys, *({"name": name, **spec} for name, spec in fields.items())]}
    return app.dataset({**body, "key": [one["name"] for one in keys]})


def with_paths(app: InProcess, paths: dict[str, str | None]) -> str:
    name = dataset(app, photo=PATH)
    job = app.job(app.post(name, [{"k0": key, "photo": path} for key, path in paths.items()]))
    assert job["state"] == "succeeded", job
    return name


def shown(answer: Any) -> Image.Image:
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    image = Image.open(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == f"image/{str(image.format).lower()}"
    return image


def error_of(answer: Any, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["detail"])


class TestReads:
    def test_without_a_size_it_is_the_file_as_it_is(self, app: InProcess, folder: Path) -> None:
        files = {"JPEG": PHOTO, "PNG": CLEAR, "GIF": unusual()["animated_gif"], "WEBP": unusual()["webp"]}
        for format, data in files.items():
            (folder / format).write_bytes(data)
        name = with_paths(app, {format: format for format in files})
        for format, data in files.items():
            answer = app.http.get(app.key(name, format) + "/image")
            assert shown(answer).format == format
            assert answer.content == data
            assert answer.headers["cache-control"] == "private, no-cache, no-transform"

    def test_a_thumbnail_fits_and_shows_the_same_picture(self, app: InProcess) -> None:
        name = with_paths(app, {"1": "1.jpg"})
        for size, expected in ((16, (16, 11)), (100, (100, 67)), (640, (640, 427)), (2048, (640, 427))):
            image = shown(app.http.get(app.key(name, "1") + f"/image?size={size}"))
            assert (image.size, image.format, image.mode) == (expected, "JPEG", "RGB")
            beside = photograph("rocket.jpg", (640, 427)).resize(expected, Image.Resampling.LANCZOS)
            assert np.abs(np.asarray(image).astype(int) - np.asarray(beside).astype(int)).mean() < 6

    def test_it_stands_upright_and_keeps_what_is_transparent(self, app: InProcess, folder: Path) -> None:
        opaque = photograph("coffee.png", (300, 200)).convert("RGBA")
        files = {
            "turned": turned(6, (480, 320)), "clear.png": CLEAR,
            "clear.gif": encoded(Image.open(io.BytesIO(CLEAR)), "GIF"),
            "clear.webp": encoded(Image.open(io.BytesIO(CLEAR)), "WEBP"),
            "opaque.png": encoded(opaque, "PNG"),
        }  # fmt: skip
        for path, data in files.items():
            (folder / path).write_bytes(data)
        name = with_paths(app, {path: path for path in files})
        images = {path: shown(app.http.get(app.key(name, path) + "/image?size=64")) for path in files}
        assert images["turned"].size == (43, 64)
        formats = {path: str(image.format) for path, image in images.items()}
        assert formats == {
            "turned": "JPEG", "clear.png": "PNG", "clear.gif": "PNG", "clear.webp": "WEBP", "opaque.png": "JPEG",
        }  # fmt: skip
        assert images["clear.png"].convert("RGBA").getpixel((0, 0))[3] == 0  # type: ignore[index]

    def test_bytes_in_the_record_are_read_as_well(self, app: InProcess) -> None:
        name = dataset(app, photo=BYTES)
        app.job(app.post(name, [{"k0": "1", "photo": base64.b64encode(PHOTO).decode()}]))
        assert app.http.get(app.key(name, "1") + "/image").content == PHOTO
        assert shown(app.http.get(app.key(name, "1") + "/image?size=32")).size == (32, 21)

    def test_every_unusual_image_has_a_thumbnail(self, app: InProcess, folder: Path) -> None:
        for path, data in unusual().items():
            (folder / path).write_bytes(data)
        name = with_paths(app, {path: path for path in unusual()})
        for path in unusual():
            assert max(shown(app.http.get(app.key(name, path) + "/image?size=48")).size) <= 48

    @pytest.mark.parametrize("key", ["a/image", "image", "a/b", "ü ?#%", "\n", '["x"]'])
    def test_odd_keys_are_named_as_everywhere(self, app: InProcess, key: str) -> None:
        name = with_paths(app, {key: "1.jpg", "a": None})
        assert app.http.get(app.key(name, key)).json() == {"k0": key, "photo": "1.jpg"}
        assert app.http.get(app.key(name, key) + "/image").content == PHOTO
        error_of(app.http.get(app.key(name, "a") + "/image"), 404, "image_missing")

    def test_only_reads_have_its_path_and_a_key_that_looks_like_it_is_written_encoded(self, app: InProcess) -> None:
        name = with_paths(app, {"a": "1.jpg", "a/image": "1.jpg"})
        path = f"/api/v1/datasets/{name}/records"
        for method in ("PATCH", "DELETE", "PUT", "POST"):
            answer = app.http.request(method, f"{path}/a/image", json={"photo": None})
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        job = app.job(app.http.patch(f"{path}/a%2Fimage", json={"photo": None}))
        assert job["state"] == "succeeded", job
        assert app.http.get(f"{path}/a%2Fimage").json()["photo"] is None
        assert app.http.get(f"{path}/a/image").status_code == 200

    def test_a_key_of_several_fields_is_an_array(self, app: InProcess) -> None:
        name = dataset(app, "text integer", photo=PATH)
        app.job(app.post(name, [{"k0": "a/image", "k1": 7, "photo": "1.jpg"}]))
        assert app.http.get(app.key(name, ["a/image", 7]) + "/image").content == PHOTO
        error_of(app.http.get(app.key(name, ["a/image"]) + "/image"), 422, "invalid")
        error_of(app.http.get(app.key(name, ["a/image", 8]) + "/image"), 404, "unknown_record")


class TestConditions:
    def test_an_etag_is_that_of_the_picture_in_its_size(self, app: InProcess, folder: Path) -> None:
        name = with_paths(app, {"1": "1.jpg"})
        url = app.key(name, "1") + "/image"
        tags = [app.http.get(url + query).headers["etag"] for query in ("", "?size=64", "?size=65")]
        assert len(set(tags)) == 3
        for query, tag in zip(("", "?size=64", "?size=65"), tags, strict=True):
            same = app.http.get(url + query, headers={"If-None-Match": f'"other", {tag}'})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
            assert same.headers["cache-control"] == "private, no-cache, no-transform"
            assert app.http.get(url + query).headers["etag"] == tag
        assert app.http.get(url, headers={"If-None-Match": tags[1]}).status_code == 200
        (folder / "1.jpg").write_bytes(encoded(photograph("rocket.jpg", (320, 200))))
        assert app.http.get(url + "?size=64", headers={"If-None-Match": tags[1]}).status_code == 200

    def test_head_has_the_headers_alone_and_parts_can_be_read(self, app: InProcess) -> None:
        name = with_paths(app, {"1": "1.jpg"})
        url = app.key(name, "1") + "/image"
        for query in ("", "?size=64"):
            whole, head = app.http.get(url + query), app.http.head(url + query)
            assert (head.status_code, head.content) == (200, b"")
            for header in ("content-length", "content-type", "etag", "accept-ranges"):
                assert head.headers[header] == whole.headers[header]
            part = app.http.get(url + query, headers={"Range": "bytes=5-9"})
            assert (part.status_code, part.content) == (206, whole.content[5:10])
        assert app.http.get(url, headers={"If-Match": '"other"'}).status_code == 412


class TestRefused:
    def test_the_field_has_to_be_named_where_there_are_several(self, app: InProcess) -> None:
        name = dataset(app, photo=PATH, back=BYTES, note={"type": "text"})
        app.job(app.post(name, [{"k0": "1", "photo": "1.jpg"}]))
        url = app.key(name, "1") + "/image"
        assert app.http.get(url + "?field=photo").content == PHOTO
        assert "image back of the record" in error_of(app.http.get(url + "?field=back"), 404, "image_missing")
        for query, code in (("", "missing"), ("?field=note", "unknown_field"), ("?field=x%00y", "unknown_field")):
            answer = app.http.get(url + query)
            assert "photo, back" in error_of(answer, 422, "invalid")
            assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [("/query/field", code)]
        plain = dataset(app, note={"type": "text"})
        app.job(app.post(plain, [{"k0": "1"}]))
        assert "no image field" in error_of(app.http.get(app.key(plain, "1") + "/image"), 422, "invalid")

    @pytest.mark.parametrize(
        "query", ["size=15", "size=2049", "size=-1", "size=x", "size=", "sise=64", "size=64&size=65"]
    )
    def test_sizes_are_from_16_to_2048(self, app: InProcess, query: str) -> None:
        name = with_paths(app, {"1": "1.jpg"})
        assert "size" in json.dumps(app.http.get(app.key(name, "1") + f"/image?{query}").json())
        assert app.http.get(app.key(name, "1") + f"/image?{query}").status_code == 422

    def test_what_is_not_there_is_404(self, app: InProcess, folder: Path) -> None:
        name = with_paths(app, {"1": "1.jpg", "2": "gone.jpg", "3": None})
        error_of(app.http.get("/api/v1/datasets/nothing/records/1/image"), 404, "unknown_dataset")
        error_of(app.http.get(app.key(name, "7") + "/image"), 404, "unknown_record")
        error_of(app.http.get(app.key(name, "3") + "/image"), 404, "image_missing")
        for query in ("", "?size=64"):
            assert "gone.jpg" in error_of(app.http.get(app.key(name, "2") + "/image" + query), 404, "image_missing")
        keyless = app.dataset({"fields": [{"name": "photo", **PATH}]})
        app.work()
        error_of(app.http.get(app.key(keyless, "1") + "/image"), 409, "no_key")

    def test_what_is_broken_or_hostile_says_so(self, app: InProcess, folder: Path) -> None:
        files = {
            **hostile(),
            "pixels": png_header(1001, 1000),
            "real_bomb": bomb(1100, 1000),
            "large": bytes(5_000_001),
        }
        for path, data in files.items():
            (folder / path).write_bytes(data)
        (folder / "link").symlink_to("1.jpg")
        name = with_paths(app, {path: path for path in [*files, "link"]})
        for path in [*files, "link"]:
            answer = app.http.get(app.key(name, path) + "/image?size=64")
            error_of(answer, 422, "unusable_image")
            (error,) = answer.json()["errors"]
            assert (error["pointer"], error["field"]) == ("/photo", "photo")
            special = {"pixels": "too_many_pixels", "real_bomb": "too_many_pixels", "large": "image_too_large"}
            expected = {**special, "link": "unsafe_path", "text": "not_an_image"}.get(path)
            assert expected in (None, error["code"])
            # As it is, only what an image begins as is given.
            whole = app.http.get(app.key(name, path) + "/image")
            assert whole.status_code == 422 or whole.headers["content-type"].startswith("image/")
        for path in ("html", "svg", "text", "tiff", "real_bomb", "link", "large"):
            error_of(app.http.get(app.key(name, path) + "/image"), 422, "unusable_image")

    def test_without_a_folder_and_without_pillow_it_says_what_to_do(
        self, database_url: str, app: InProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = with_paths(app, {"1": "1.jpg"})
        path = app.key(name, "1") + "/image"
        folder.rename(folder.parent / "moved")
        answer = app.http.get(path)
        assert "cannot be opened" in error_of(answer, 503, "file_storage_unavailable")
        assert answer.headers["retry-after"]
        plain = InProcess(database_url)
        with plain.http:
            assert "images.url" in error_of(plain.http.get(path), 409, "no_image_folder")
        plain.gristmill.database.close()
        monkeypatch.setattr("gristmill.bootstrap.images.find_spec", lambda _: None)
        without = InProcess(database_url)
        with without.http:
            assert "gristmill[images]" in error_of(without.http.get(path), 503, "images_not_installed")
        without.gristmill.database.close()


class TestBounded:
    def test_only_so_many_images_are_decoded_and_held_at_once(
        self, app: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = with_paths(app, {"1": "1.jpg"})
        running, most = [], []

        def decoding(*args: Any, **options: Any) -> Any:
            running.append(1)
            most.append(len(running))
            try:
                return decode(*args, **options)
            finally:
                running.pop()

        monkeypatch.setattr("gristmill.images.read.thumbnail.decode", decoding)
        statuses: list[int] = []

        async def ask(url: str) -> None:
            statuses.append((await anyio.to_thread.run_sync(app.http.get, url)).status_code)

        async def ask_all() -> None:
            async with anyio.create_task_group() as group:
                for size in range(20, 60):
                    group.start_soon(ask, app.key(name, "1") + f"/image?size={size}")

        anyio.run(ask_all)
        assert statuses == [200] * 40
        assert max(most) <= endpoints.DECODED_AT_ONCE
        # Turns come back, whatever became of the answers.
        for _ in range(2 * endpoints.HELD_AT_ONCE):
            assert app.http.get(app.key(name, "1") + "/image?size=17", headers={"Range": "bytes=a"}).status_code < 500
            assert app.http.get(app.key(name, "7") + "/image").status_code == 404
            assert app.http.get(app.key(name, "1") + "/image", headers={"If-Match": '"x"'}).status_code == 412
        tag = app.http.get(app.key(name, "1") + "/image").headers["etag"]
        for _ in range(endpoints.HELD_AT_ONCE + 1):
            assert app.http.get(app.key(name, "1") + "/image", headers={"If-None-Match": tag}).status_code == 304
        assert app.http.get(app.key(name, "1") + "/image").content == PHOTO
