"""The port for files, one suite for each kind of storage: a folder, and a bucket of a real server."""

import errno
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.swift import ACCESS_KEY, BUCKET, SECRET_KEY, Swift, running_swift

from gristmill.storage import local
from gristmill.storage.errors import (
    FileMissing,
    FileStorageFull,
    FileStorageRefused,
    FileStorageUnavailable,
    FileTooLarge,
    UnsafeName,
)
from gristmill.storage.local import LocalFolder
from gristmill.storage.port import LONGEST_READ, Storage
from gristmill.storage.s3 import Bucket, S3Bucket
from gristmill.storage.sync import sync_file_system

MIB = 1024 * 1024
MOST = 40 * MIB
# Writes two files, one of them anew, and ends neither.
KILLED = """
import sys, time
from gristmill.storage.local import LocalFolder
storage = LocalFolder(sys.argv[1], 1000)
with storage.write("f/1") as one, storage.write("f/2") as two:
    one.write(b"new")
    print("writing", flush=True)
    time.sleep(1000)
"""


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with running_swift(tmp_path_factory.mktemp("swift")) as server:
        yield server


def bucket(server: Swift, prefix: str, **options: Any) -> S3Bucket:
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, **options}
    return S3Bucket(Bucket(BUCKET, prefix=prefix, endpoint=server.url, **keys), MOST)


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return LocalFolder(tmp_path, MOST)
    return bucket(request.getfixturevalue("swift"), uuid.uuid4().hex)


def put(storage: Storage, name: str, data: bytes, piece: int = 3 * MIB) -> None:
    with storage.write(name) as file:
        for start in range(0, len(data), piece):
            file.write(data[start : start + piece])


def give_up(storage: Storage, name: str, size: int) -> None:
    with storage.write(name) as file:
        file.write(bytes(size))
        raise ZeroDivisionError


def get(storage: Storage, name: str) -> bytes:
    source = storage.open(name)
    try:
        return b"".join(source.read(start, min(MIB, source.size - start)) for start in range(0, source.size, MIB))
    finally:
        source.close()


class TestConformance:
    @pytest.mark.parametrize("size", [0, 1, 8 * MIB - 1, 8 * MIB, 20 * MIB + 7])
    def test_what_is_written_is_read_back(self, storage: Storage, size: int) -> None:
        data = os.urandom(size)
        put(storage, "a/b.bin", data)
        assert get(storage, "a/b.bin") == data

    def test_names_of_any_language_are_kept(self, storage: Storage) -> None:
        put(storage, "exports/größe und 日本.csv", b"x")
        assert storage.children("exports") == ["größe und 日本.csv"]
        assert get(storage, "exports/größe und 日本.csv") == b"x"

    @pytest.mark.parametrize("size", [10, 9 * MIB])
    def test_nothing_is_there_before_the_end_nor_after_a_failure(self, storage: Storage, size: int) -> None:
        with storage.write("a/one") as file:
            file.write(bytes(size))
            with pytest.raises(FileMissing):
                storage.open("a/one")
        with pytest.raises(ZeroDivisionError):
            give_up(storage, "a/two", size)
        with pytest.raises(FileMissing):
            storage.open("a/two")
        assert storage.children("a") == ["one"]

    def test_a_file_is_replaced_at_once(self, storage: Storage) -> None:
        put(storage, "a", b"old")
        with storage.write("a") as file:
            file.write(b"new")
            assert get(storage, "a") == b"old"
        assert get(storage, "a") == b"new"

    def test_a_file_is_bounded(self, storage: Storage) -> None:
        with pytest.raises(FileTooLarge, match="storage_max_file_bytes"):
            put(storage, "a", bytes(MOST + 1))
        with pytest.raises(FileMissing):
            storage.open("a")

    def test_many_files_become_durable_together(self, storage: Storage) -> None:
        data = {f"f/{number}.bin": os.urandom(number * 1000) for number in range(40)}
        with storage.batch() as batch:
            for name, content in data.items():
                batch.put(name, content)
        assert {name: get(storage, name) for name in data} == data
        assert len(storage.children("f")) == 40
        with storage.batch() as batch:
            batch.put("f/7.bin", b"another one")
        assert get(storage, "f/7.bin") == b"another one"

    def test_a_batch_without_files_is_nothing(self, storage: Storage) -> None:
        with storage.batch():
            pass
        assert storage.children("f") == []

    def test_what_a_batch_has_written_when_it_breaks_off_is_whole_or_not_there(self, storage: Storage) -> None:
        def break_off() -> None:
            with storage.batch() as batch:
                for number in range(30):
                    batch.put(f"f/{number}", bytes(100_000))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            break_off()
        assert {len(get(storage, f"f/{name}")) for name in storage.children("f")} <= {100_000}

    def test_a_file_of_a_batch_is_bounded_and_its_name_is_checked(self, storage: Storage) -> None:
        def put_one(name: str, data: bytes) -> None:
            with storage.batch() as batch:
                batch.put("f/before", b"x")
                batch.put(name, data)

        with pytest.raises(FileTooLarge, match="storage_max_file_bytes"):
            put_one("f/large", bytes(MOST + 1))
        with pytest.raises(UnsafeName):
            put_one("../x", b"x")
        assert storage.children("f") in ([], ["before"])

    def test_reads_are_bounded_and_exact(self, storage: Storage) -> None:
        data = os.urandom(17 * MIB)
        put(storage, "a", data)
        source = storage.open("a")
        assert source.read(MIB - 3, 10) == data[MIB - 3 : MIB + 7]
        assert source.read(source.size, 0) == b""
        for start, length in ((0, LONGEST_READ + 1), (source.size, 1), (-1, 1), (0, -1)):
            with pytest.raises(ValueError, match="cannot be read at once"):
                source.read(start, length)
        source.close()

    def test_removed_is_missing_and_removing_twice_is_nothing(self, storage: Storage) -> None:
        put(storage, "a/b", b"x")
        storage.remove("a/b")
        storage.remove("a/b")
        storage.remove("no/such/folder")
        with pytest.raises(FileMissing):
            storage.open("a/b")

    def test_clear_removes_everything_but_what_is_kept_and_what_is_being_written(self, storage: Storage) -> None:
        for name in ("f/1", "f/2", "f/g/3", "other/1"):
            put(storage, name, b"x")
        writing = storage.write("f/4")
        writing.__enter__().write(bytes(9 * MIB))
        assert storage.clear("f", keep=("2",)) == 3
        with pytest.raises((FileMissing, FileStorageUnavailable)):
            writing.__exit__(None, None, None)
        assert storage.children("f") == ["2"]
        assert storage.clear("f") == 1
        assert storage.clear("f") == 0
        assert (storage.children("f"), storage.children("other")) == ([], ["1"])

    def test_to_remove_what_is_unfinished_touches_no_file_and_no_folder_below(self, storage: Storage) -> None:
        put(storage, "f/1", b"x")
        with storage.write("f/g/2") as file:
            file.write(bytes(9 * MIB))
            storage.remove_unfinished("f")
            storage.remove_unfinished("none")
        assert (storage.children("f"), storage.children("none")) == (["1", "g"], [])
        assert (get(storage, "f/1"), get(storage, "f/g/2")) == (b"x", bytes(9 * MIB))

    @pytest.mark.parametrize(
        "name", ["../x", "/etc/passwd", "a/../../x", "a//b", "", ".", "a/.b", "a\0b", "con", "x" * 900]
    )
    def test_unsafe_names_are_refused_by_every_method(self, storage: Storage, name: str) -> None:
        calls: list[Callable[[], Any]] = [
            lambda: put(storage, name, b"x"),
            lambda: storage.open(name),
            lambda: storage.remove(name),
            lambda: storage.clear(name),
            lambda: storage.remove_unfinished(name),
            lambda: storage.children(name),
        ]
        for call in calls:
            with pytest.raises(UnsafeName):
                call()


class TestFolder:
    def test_links_are_not_followed(self, tmp_path: Path) -> None:
        outside, root = tmp_path / "outside", tmp_path / "root"
        for folder in (outside, root):
            folder.mkdir()
        (outside / "secret").write_text("s")
        (root / "link").symlink_to(outside)
        (root / "file").symlink_to(outside / "secret")
        storage = LocalFolder(root, MOST)
        for name in ("link/secret", "file"):
            with pytest.raises(UnsafeName):
                storage.open(name)
        with pytest.raises(UnsafeName):
            put(storage, "link/new", b"x")
        put(storage, "file", b"own")
        with pytest.raises(UnsafeName):
            storage.clear("link")
        with pytest.raises(UnsafeName):
            storage.remove_unfinished("link")
        assert sorted(path.name for path in outside.iterdir()) == ["secret"]
        assert (outside / "secret").read_text() == "s"

    def test_what_a_killed_process_was_writing_is_removed(self, tmp_path: Path) -> None:
        storage = LocalFolder(tmp_path, MOST)
        put(storage, "f/1", b"old")
        command = [sys.executable, "-c", KILLED, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            process.kill()
        assert len(os.listdir(tmp_path / "f")) == 3
        with storage.write("f/3") as file:
            file.write(b"in time")
            (tmp_path / "f/.folder").mkdir()
        late = storage.write("f/4")
        late.__enter__().write(b"too late")
        storage.remove_unfinished("f")
        with pytest.raises(FileStorageUnavailable):
            late.__exit__(None, None, None)
        assert sorted(os.listdir(tmp_path / "f")) == [".folder", "1", "3"]
        assert (get(storage, "f/1"), get(storage, "f/3")) == (b"old", b"in time")

    def test_what_is_no_file_is_not_read(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "folder").mkdir()
        listening = socket.socket(socket.AF_UNIX)
        here = Path.cwd()
        os.chdir(tmp_path)
        listening.bind("socket")
        os.chdir(here)
        os.mknod(tmp_path / "device", 0o600 | 0o020000, os.makedev(1, 3))
        storage = LocalFolder(tmp_path, MOST)
        for name in ("pipe", "folder", "device"):
            with pytest.raises(UnsafeName):
                storage.open(name)
        with pytest.raises((UnsafeName, FileStorageUnavailable)):
            storage.open("socket")
        listening.close()

    def test_a_root_that_is_gone_is_said(self, tmp_path: Path) -> None:
        storage = LocalFolder(tmp_path / "none", MOST)
        for call in (lambda: put(storage, "a", b""), lambda: storage.open("a"), lambda: storage.children("a")):
            with pytest.raises(FileStorageUnavailable, match="No such file"):
                call()

    def test_what_a_batch_could_not_make_durable_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        # Where a file system looks for room only after it has taken the bytes, syncing tells that there was none.
        monkeypatch.setattr(local, "sync_file_system", full)
        with pytest.raises(FileStorageFull, match="No space left"), LocalFolder(tmp_path, MOST).batch() as batch:
            batch.put("a", b"x")

    def test_syncing_reaches_the_system(self, tmp_path: Path) -> None:
        descriptor = os.open(tmp_path, os.O_RDONLY)
        sync_file_system(descriptor)
        os.close(descriptor)
        with pytest.raises(OSError, match="Bad file descriptor"):
            sync_file_system(descriptor)

    def test_a_file_that_shrinks_while_it_is_read_is_said(self, tmp_path: Path) -> None:
        storage = LocalFolder(tmp_path, MOST)
        put(storage, "a", bytes(100))
        source = storage.open("a")
        os.truncate(tmp_path / "a", 10)
        with pytest.raises(FileMissing, match="shorter"):
            source.read(0, 100)
        source.close()


class TestBucket:
    def test_a_server_that_goes_while_a_batch_is_sent_is_said(self, swift: Swift) -> None:
        name = uuid.uuid4().hex

        def send(timeout: float) -> Storage:
            storage = bucket(swift, name, timeout=timeout)
            with storage.batch() as batch:
                for number in range(50):
                    batch.put(f"f/{number}", b"x" * 1000)
            return storage

        with swift.frozen(), pytest.raises(FileStorageUnavailable):
            send(timeout=0.5)
        storage = send(timeout=30)
        assert len(storage.children("f")) == 50

    def test_a_killed_upload_is_seen_and_cleared(self, swift: Swift) -> None:
        storage = bucket(swift, uuid.uuid4().hex)
        writing = storage.write("f/x")
        writing.__enter__().write(bytes(9 * MIB))  # and nobody ends it
        assert storage.children("f") == ["x"]
        assert storage.clear("f") == 1
        assert storage.children("f") == []

    def test_a_file_that_is_replaced_or_removed_while_it_is_read_is_said(self, swift: Swift) -> None:
        storage = bucket(swift, uuid.uuid4().hex)
        put(storage, "a", b"first")
        source = storage.open("a")
        put(storage, "a", b"other")
        with pytest.raises(FileMissing):
            source.read(0, 5)
        storage.remove("a")
        with pytest.raises(FileMissing):
            source.read(0, 5)

    def test_wrong_credentials_are_refused(self, swift: Swift) -> None:
        storage = bucket(swift, "x", secret_key="wrong")
        with pytest.raises(FileStorageRefused, match="SignatureDoesNotMatch"):
            put(storage, "a", b"x")

    def test_no_such_bucket_and_no_such_server_are_said(self, swift: Swift) -> None:
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "timeout": 1}
        with pytest.raises(FileStorageUnavailable, match="NoSuchBucket"):
            put(S3Bucket(Bucket("none", endpoint=swift.url, **keys), MOST), "a", b"x")
        with pytest.raises(FileStorageUnavailable, match="connect"):
            put(S3Bucket(Bucket("none", endpoint="http://127.0.0.1:1", **keys), MOST), "a", b"x")

    def test_a_server_that_does_not_answer_is_given_up(self, swift: Swift) -> None:
        storage = bucket(swift, "x", timeout=0.5)
        with swift.frozen(), pytest.raises(FileStorageUnavailable, match="time"):
            put(storage, "a", b"x")
        put(storage, "a", b"x")
