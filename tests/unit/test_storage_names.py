"""Names of files: whatever a name is, it is below the root, or it is refused; and members of archives likewise."""

import io
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.storage.errors import FileMissing, GristmillError, UnsafeName
from gristmill.storage.local import LocalFolder
from gristmill.storage.names import LONGEST_NAME, LONGEST_PART, parts_of

PARTS = st.one_of(
    st.sampled_from(
        ["..", ".", "", "a", "exports", "con", "NUL.txt", "c:", "~", "a.", " a", "a\0", "\\", "..\\x", "é"]
    ),
    st.text(max_size=12),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=300),
)
NAMES = st.one_of(st.text(max_size=40), st.lists(PARTS, max_size=8).map("/".join))


class TestNames:
    @given(NAMES)
    def test_a_name_is_plainly_below_the_root_or_refused(self, name: str) -> None:
        try:
            parts = parts_of(name)
        except UnsafeName:
            return
        assert "/".join(parts) == name
        assert len(name.encode()) <= LONGEST_NAME
        for part in parts:
            assert part not in ("", ".", "..")
            assert part[0] != "."
            assert part.isprintable()
            assert not set(part) & set('/\\:*?"<>|\0')
            assert len(part.encode()) <= LONGEST_PART
        assert Path("/root", name).resolve() == Path("/root", *parts)

    @given(NAMES, st.binary(max_size=20))
    def test_nothing_is_written_outside_of_the_root(self, name: str, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder, "a", "root")
            root.mkdir(parents=True)
            storage = LocalFolder(root, 1000)
            try:
                with storage.write(name) as file:
                    file.write(data)
            except UnsafeName:
                with pytest.raises(UnsafeName):
                    storage.open(name)
            else:
                source = storage.open(name)
                assert source.read(0, source.size) == data
                source.close()
                assert (root / name).read_bytes() == data
            found = {path for path in Path(folder).rglob("*") if path.is_file()}
            assert all(root in path.parents for path in found)

    @given(st.lists(NAMES.filter(lambda name: "\0" not in name), max_size=5, unique=True))
    def test_members_of_a_hostile_archive_stay_below_the_root(self, names: list[str]) -> None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name in names:
                try:
                    archive.writestr(zipfile.ZipInfo(name), b"x")
                except (UnicodeEncodeError, ValueError):
                    continue
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed) as archive:
            root = Path(folder, "root")
            root.mkdir()
            storage = LocalFolder(root, 1000)
            for member in archive.infolist():
                try:
                    with storage.write(member.filename) as file:
                        file.write(archive.read(member))
                except GristmillError:
                    continue
            assert all(root in path.parents or path == root for path in Path(folder).rglob("*"))

    @pytest.mark.parametrize(
        "name",
        [
            "CON",
            "nul.csv",
            "com1",
            "LPT9.x.y",
            "a/aux",
            "a:b",
            "a|b",
            "a\\b",
            "x\n",
            "x\x7f",
            "\ud800",
            "a ",
            "a.",
            "\u202eb",
        ],
    )
    def test_what_means_something_to_a_system_is_refused(self, name: str) -> None:
        with pytest.raises(UnsafeName, match="not safe"):
            parts_of(name)

    def test_what_is_not_there_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileMissing):
            LocalFolder(tmp_path, 10).open("a/b")
