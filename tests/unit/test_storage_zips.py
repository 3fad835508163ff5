"""Archives that are worked out: the standard library reads them as they are, from any place to any other."""

import io
import random
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.storage.errors import FileMissing
from gristmill.storage.local import LocalFolder
from gristmill.storage.zips.index import write_index
from gristmill.storage.zips.layout import Entry, central_header, end_of_directory, local_header, read_central
from gristmill.storage.zips.source import ZipSource

MIB = 1024 * 1024


def archive_of(folder: Path, files: dict[str, bytes]) -> tuple[LocalFolder, int]:
    storage = LocalFolder(folder, 100 * MIB)
    for name, data in files.items():
        storage.put(f"files/{name}", data)
    entries = (Entry(name, len(data), zlib.crc32(data)) for name, data in files.items())
    return storage, write_index(storage, "index", entries)


def read_all(source: ZipSource, piece: int = 10_000) -> bytes:
    return b"".join(source.read(at, min(piece, source.size - at)) for at in range(0, source.size, piece))


class TestArchive:
    @pytest.mark.parametrize("count", [0, 1, 3, 3000])
    def test_the_standard_library_reads_it(self, tmp_path: Path, count: int) -> None:
        chance = random.Random(count)
        files = {f"images/é{n}%.jpg": chance.randbytes(chance.choice([0, 1, 100, 5000])) for n in range(count)}
        storage, size = archive_of(tmp_path, files)
        source = ZipSource(storage, "index", "files")
        assert source.size == size
        whole = read_all(source)
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            assert archive.testzip() is None
            assert {name: archive.read(name) for name in archive.namelist()} == files
        for _ in range(300):
            start = chance.randrange(size)
            length = chance.randrange(min(20_000, size - start))
            assert source.read(start, length) == whole[start : start + length]
        for start, length in ((size, 1), (-1, 1), (0, -1), (0, 17 * MIB)):
            with pytest.raises(ValueError, match="cannot be read at once"):
                source.read(start, length)
        source.close()

    def test_more_entries_than_a_plain_archive_has(self, tmp_path: Path) -> None:
        storage = LocalFolder(tmp_path, 100 * MIB)
        storage.put("files/x", b"x")
        entries = (Entry("x", 1, zlib.crc32(b"x")) for _ in range(70_000))
        size = write_index(storage, "index", entries)
        with zipfile.ZipFile(io.BytesIO(read_all(ZipSource(storage, "index", "files"), MIB))) as archive:
            assert len(archive.infolist()) == 70_000
            assert archive.read(archive.infolist()[69_999]) == b"x"
        assert size > 0

    def test_more_bytes_than_a_plain_archive_has(self, tmp_path: Path) -> None:
        """The files are sparse: they take no room, and are read as zeros."""
        storage = LocalFolder(tmp_path, 1000 * MIB)
        sizes = {"a": 3 * 1024 * MIB, "b": 5 * 1024 * MIB, "c": 7}
        (tmp_path / "files").mkdir()
        for name, size in sizes.items():
            with (tmp_path / "files" / name).open("wb") as file:
                file.truncate(size)
        write_index(storage, "index", (Entry(name, size, 0) for name, size in sizes.items()))
        source = ZipSource(storage, "index", "files")
        with zipfile.ZipFile(_File(source)) as archive:
            found = {one.filename: (one.file_size, one.header_offset) for one in archive.infolist()}
            assert {name: size for name, (size, _) in found.items()} == sizes
            assert found["c"][1] > 8 * 1024 * MIB
            with archive.open("b") as member:
                assert member.read(10) == bytes(10)

    def test_memory_does_not_grow_with_the_number_of_entries(self, tmp_path: Path) -> None:
        def peak(count: int) -> int:
            storage = LocalFolder(tmp_path / str(count), 1000 * MIB)
            (tmp_path / str(count)).mkdir()
            storage.put("files/x", b"x")
            tracemalloc.start()
            write_index(storage, "index", (Entry("x", 1, 0) for _ in range(count)))
            source = ZipSource(storage, "index", "files")
            for at in [0, source.size // 3, source.size // 2, source.size - 1000]:
                source.read(at, 1000)
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            source.close()
            return found

        small, large = peak(5_000), peak(100_000)
        assert large < small + MIB, (small, large)

    def test_a_file_that_changed_or_is_gone_ends_it(self, tmp_path: Path) -> None:
        storage, _ = archive_of(tmp_path, {"a": b"1" * 100, "b": b"2" * 100})
        (tmp_path / "files" / "a").write_bytes(b"1")
        (tmp_path / "files" / "b").unlink()
        source = ZipSource(storage, "index", "files")
        for at in (50, 180):
            with pytest.raises(FileMissing):
                source.read(at, 60)
        with pytest.raises(FileMissing):
            ZipSource(storage, "other", "files")


class TestLayout:
    @given(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=50),
        st.integers(0, 2**63),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**63),
    )
    def test_a_line_of_the_directory_says_what_the_entry_is(self, name: str, size: int, crc: int, offset: int) -> None:
        entry = Entry(name, size, crc)
        assert read_central(central_header(entry, offset)) == entry
        assert local_header(entry).startswith(b"PK\x03\x04")

    def test_the_same_files_have_the_same_bytes(self, tmp_path: Path) -> None:
        files = {"a": b"x", "b": b"y"}
        one, two = (archive_of(tmp_path / name, files) for name in self._folders(tmp_path))
        assert read_all(ZipSource(one[0], "index", "files")) == read_all(ZipSource(two[0], "index", "files"))

    @staticmethod
    def _folders(tmp_path: Path) -> Iterator[str]:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            yield name

    def test_a_small_directory_ends_as_archives_always_did(self) -> None:
        assert end_of_directory(0, 0, 0) == b"PK\x05\x06" + bytes(18)
        assert end_of_directory(65_535, 0, 0).startswith(b"PK\x06\x06")


class _File(io.RawIOBase):
    """A source as a file that can be sought in."""

    def __init__(self, source: ZipSource) -> None:
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = self._source.size - self._at
        data = self._source.read(self._at, left if size < 0 else min(size, left))
        self._at += len(data)
        return data
