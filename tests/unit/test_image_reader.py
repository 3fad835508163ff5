"""Files of the image folder: what is wrong with one is that one's problem, what is wrong with the folder is not."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.folders import open_folder
from tests.support.images import small

from gristmill.images.errors import BadImage, NoImageFolder
from gristmill.images.reader import ImageReader
from gristmill.storage.errors import FileStorageRefused, FileStorageUnavailable
from gristmill.storage.local import LocalFolder

MOST = 100_000
PNG = small()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "images"
    (found / "shoes").mkdir(parents=True)
    (found / "shoes" / "1.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)
    return found


@pytest.fixture
def reader(folder: Path) -> ImageReader:
    return ImageReader(lambda: LocalFolder(folder, MOST), MOST, 1_000_000)


def refusal(reader: ImageReader, path: str) -> BadImage:
    with pytest.raises(BadImage) as caught:
        reader.decode(path)
    assert caught.value.reason.startswith(("is ", "has ", "may ", "was "))
    return caught.value


def at_errno(monkeypatch: pytest.MonkeyPatch, number: int, fails: Callable[[Any], bool]) -> None:
    """Have the operating system refuse to open what ``fails`` says: root may open everything, and tests run as root."""
    real = os.open

    def opening(path: Any, *args: Any, **options: Any) -> int:
        if fails(path):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", opening)


class TestPaths:
    def test_an_image_is_read_by_its_path_and_by_its_bytes(self, reader: ImageReader) -> None:
        assert reader.read("shoes/1.png") == reader.read(PNG) == PNG
        assert reader.decode("shoes/1.png").size == reader.decode(PNG).size == (12, 8)

    @pytest.mark.parametrize(
        "path",
        [
            "../secret.png", "../../secret.png", "shoes/../../secret.png", "/etc/passwd", "", ".", "..", "/", "shoes/",
            "shoes//1.png", "./shoes/1.png", "shoes\\1.png", "C:1.png", "shoes/1.png\0", "a\nb", "con", "shoes/.hidden",
            "\ud800.png", "a" * 300, "/".join(["a"] * 500), "~/x?", "file:///etc/passwd", "s3://other/x",
            "shoes/1.png ",
        ],
    )  # fmt: skip
    def test_a_path_that_is_not_plainly_below_the_folder_is_refused(self, reader: ImageReader, path: str) -> None:
        assert refusal(reader, path).code == "unsafe_path"

    def test_links_lead_nowhere(self, reader: ImageReader, folder: Path) -> None:
        (folder / "out.png").symlink_to("../secret.png")
        (folder / "in.png").symlink_to("shoes/1.png")
        (folder / "linked").symlink_to(folder / "shoes")
        (folder / "above").symlink_to("..")
        (folder / "loop").symlink_to("loop")
        for path in ("out.png", "in.png", "linked/1.png", "above/secret.png", "loop", "loop/1.png"):
            assert refusal(reader, path).code == "unsafe_path"

    def test_what_is_no_file_holds_nobody_up(self, reader: ImageReader, folder: Path) -> None:
        os.mkfifo(folder / "pipe.png")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(folder / "socket.png"))
            for path in ("pipe.png", "socket.png", "shoes", "shoes/1.png/2.png"):
                assert refusal(reader, path).code == "unsafe_path"

    def test_a_missing_file_is_missing(self, reader: ImageReader) -> None:
        for path in ("shoes/2.png", "boots/1.png", "größe 日本.png"):
            found = refusal(reader, path)
            assert found.code == "image_missing"
            assert path in found.reason


class TestFolder:
    def test_without_a_folder_paths_are_a_conflict_and_bytes_are_not(self) -> None:
        reader = ImageReader(None, MOST, 1_000_000)
        assert reader.decode(PNG).size == (12, 8)
        with pytest.raises(NoImageFolder, match=r"images\.url"):
            reader.read("a.png")

    def test_a_folder_that_is_gone_is_nobodys_fault(self, folder: Path, reader: ImageReader) -> None:
        folder.rename(folder.parent / "moved")
        with pytest.raises(FileStorageUnavailable):
            reader.read("shoes/1.png")
        (folder.parent / "moved").rename(folder)
        assert reader.read("shoes/1.png") == PNG

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
    def test_one_file_that_may_not_be_read_is_its_records_problem(
        self, reader: ImageReader, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        at_errno(monkeypatch, number, lambda path: path == "1.png")
        found = refusal(reader, "shoes/1.png")
        assert found.code == "image_unreadable"
        assert os.strerror(number) in found.reason

    def test_a_folder_that_refuses_everything_is_the_folders_problem(
        self, reader: ImageReader, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        at_errno(monkeypatch, errno.EACCES, lambda path: path != folder)
        with pytest.raises(FileStorageRefused):
            reader.read("shoes/1.png")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_permissions_as_the_system_has_them(self) -> None:
        with open_folder() as folder:
            reader = ImageReader(lambda: LocalFolder(folder, 1000), 1000, 1000)
            for name, mode in (("mine.png", 0o600), ("ours.png", 0o644)):
                (folder / name).write_bytes(PNG)
                (folder / name).chmod(mode)
            os.seteuid(65534)
            try:
                assert refusal(reader, "mine.png").code == "image_unreadable"
                assert reader.read("ours.png") == PNG
            finally:
                os.seteuid(0)

    def test_a_disk_that_fails_is_not_the_images_fault(
        self, reader: ImageReader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        at_errno(monkeypatch, errno.EIO, lambda path: path == "1.png")
        with pytest.raises(FileStorageUnavailable):
            reader.read("shoes/1.png")


class TestChanging:
    def test_a_file_over_the_limit_is_refused_unread(
        self, reader: ImageReader, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with (folder / "large.png").open("wb") as file:
            file.truncate(10**12)
        monkeypatch.setattr(os, "pread", None)
        found = refusal(reader, "large.png")
        assert (found.code, str(10**12) in found.reason) == ("image_too_large", True)

    def test_a_file_that_grows_is_read_as_long_as_it_was(
        self, reader: ImageReader, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, real = folder / "shoes" / "1.png", os.pread

        def reading(file: int, length: int, start: int) -> bytes:
            path.write_bytes(PNG + b"more" * 100_000)
            return real(file, length, start)

        monkeypatch.setattr(os, "pread", reading)
        assert reader.read("shoes/1.png") == PNG

    def test_a_file_that_gets_shorter_is_missing_and_one_that_is_removed_is_read(
        self, reader: ImageReader, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, real = folder / "shoes" / "1.png", os.pread

        def reading(file: int, length: int, start: int) -> bytes:
            change()
            return real(file, length, start)

        monkeypatch.setattr(os, "pread", reading)
        change = path.unlink
        assert reader.read("shoes/1.png") == PNG
        path.write_bytes(PNG)
        change = lambda: os.truncate(path, 10)  # noqa: E731
        assert refusal(reader, "shoes/1.png").code == "image_missing"
