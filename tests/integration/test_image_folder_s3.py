"""The image folder as a bucket of a real server: read, missing, changed meanwhile, refused, gone."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.images import small
from tests.support.swift import ACCESS_KEY, BUCKET, SECRET_KEY, Swift, running_swift

from gristmill.images.errors import BadImage
from gristmill.images.reader import ImageReader
from gristmill.storage.errors import FileStorageRefused, FileStorageUnavailable
from gristmill.storage.s3 import Bucket, S3Bucket

MOST = 100_000
PNG = small()


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with running_swift(tmp_path_factory.mktemp("swift")) as server:
        yield server


def bucket(server: Swift, prefix: str, **options: Any) -> S3Bucket:
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, **options}
    return S3Bucket(Bucket(BUCKET, prefix=prefix, endpoint=server.url, **keys), MOST)


def put(storage: S3Bucket, name: str, data: bytes) -> None:
    with storage.write(name) as file:
        file.write(data)


def test_images_of_a_bucket_are_read_and_bad_ones_are_their_own_problem(swift: Swift) -> None:
    prefix = uuid.uuid4().hex
    storage = bucket(swift, prefix)
    reader = ImageReader(lambda: storage, 50_000, 1_000_000)
    put(storage, "shoes/1.png", PNG)
    put(storage, "large.png", bytes(50_001))
    assert reader.read("shoes/1.png") == PNG
    assert reader.decode("shoes/1.png").size == (12, 8)
    codes = {
        "gone.png": "image_missing",
        "large.png": "image_too_large",
        "../x": "unsafe_path",
        "shoes": "image_missing",
    }
    for path, code in codes.items():
        with pytest.raises(BadImage) as caught:
            reader.read(path)
        assert caught.value.code == code


def test_an_image_that_is_replaced_while_it_is_read_is_not_a_mixture(swift: Swift) -> None:
    storage = bucket(swift, uuid.uuid4().hex)
    put(storage, "1.png", PNG)

    class Replacing(S3Bucket):
        def open(self, name: str) -> Any:
            found = super().open(name)
            put(storage, name, bytes(len(PNG)))
            return found

    replacing = Replacing(storage._bucket, MOST)
    with pytest.raises(BadImage) as caught:
        ImageReader(lambda: replacing, MOST, 1_000_000).read("1.png")
    assert caught.value.code == "image_missing"


def test_wrong_credentials_and_a_server_that_is_gone_are_the_folders_problem(swift: Swift) -> None:
    wrong = bucket(swift, "a", secret_key="wrong")
    with pytest.raises(FileStorageRefused):
        ImageReader(lambda: wrong, MOST, 1_000_000).read("1.png")
    silent = bucket(swift, "a", timeout=1.0)
    with swift.frozen(), pytest.raises(FileStorageUnavailable):
        ImageReader(lambda: silent, MOST, 1_000_000).read("1.png")
