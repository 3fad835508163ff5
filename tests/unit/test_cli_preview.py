"""The first records of a file, as ``gristmill pipeline preview`` sends them."""

import gzip
from pathlib import Path

import pytest

from gristmill.cli.dialect import SIGNS
from gristmill.cli.exits import UsageError
from gristmill.cli.pipeline import read_sample
from gristmill.records.readers.dialect import NAMED


def sample(folder: Path, name: str, content: bytes, limit: int = 2) -> object:
    path = folder / name
    path.write_bytes(content)
    return read_sample(str(path), limit, {})


@pytest.mark.parametrize(
    ("name", "content", "data"),
    [
        ("a.csv", b'a,b\n1,"x\ny"\n2,z\n3,w\n', 'a,b\n1,"x\ny"\n2,z\n'),
        ("a.csv", b"\xef\xbb\xbfa\n1\n", "a\n1\n"),
        ("a.csv", b"a,b\n\n\n\n1,2\n3,4\n5,6\n", "a,b\n\n\n\n1,2\n3,4\n"),
        ("a.csv", b"a\n" + b"x" * 200_000 + b"\n", "a\n" + "x" * 200_000 + "\n"),
        ("a.csv", b"", ""),
        ("a.csv.gz", gzip.compress(b"a\n1\n2\n3\n"), "a\n1\n2\n"),
        ("a.tsv", b'\xef\xbb\xbf"a"\tb\n1\t"x\ty"\n2\t\n', '"a","b"\n"1","x\ty"\n"2",\n'),
        ("a.ndjson", b'\xef\xbb\xbf{"a":1}\n\n{"a":2}\n{"a":3}\n', '{"a":1}\n{"a":2}\n'),
    ],
)
def test_the_first_records_as_they_stand(tmp_path: Path, name: str, content: bytes, data: str) -> None:
    found = sample(tmp_path, name, content)
    assert isinstance(found, dict)
    assert found["data"].replace('"', "") == data.replace('"', "")


@pytest.mark.parametrize(
    ("name", "content", "dialect", "found"),
    [
        (
            "a.csv",
            "a;b\n1;'ä\n;'\n2;z\n3;w\n".encode("latin-1"),
            {"delimiter": ";", "quote": "'", "encoding": "latin-1", "decimal": ","},
            {"data": "a;b\n1;'ä\n;'\n2;z\n", "format": "csv", "delimiter": ";", "quote": "'", "decimal": ","},
        ),
        (
            "a.tsv",
            "a\tb\n1\t2\n".encode("utf-16"),
            {"encoding": "utf-16"},
            {"data": "a\tb\n1\t2\n", "format": "csv", "delimiter": "tab"},
        ),
    ],
)
def test_a_file_is_read_in_its_dialect(
    tmp_path: Path, name: str, content: bytes, dialect: dict[str, str], found: dict[str, str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_sample(str(tmp_path / name), 2, dialect) == found


@pytest.mark.parametrize(
    ("name", "dialect"), [("a.ndjson", {"quote": "'"}), ("a.csv", {"encoding": "x"}), ("a.csv", {"delimiter": "ab"})]
)
def test_a_dialect_that_does_not_fit_is_named(tmp_path: Path, name: str, dialect: dict[str, str]) -> None:
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(UsageError, match=next(iter(dialect.values()) if name == "a.csv" else iter(dialect))):
        read_sample(str(tmp_path / name), 2, dialect)


def test_names_of_characters_are_those_of_the_server() -> None:
    assert {**NAMED, **SIGNS} == NAMED
    assert set(NAMED) - set(SIGNS) == {"point", "nbsp", "nnbsp"}


@pytest.mark.parametrize("content", [b'[{"a":1},{"a":2},{"a":3}]', b'\xef\xbb\xbf{"records":[{"a":1},{"a":2}]}'])
def test_json_is_cut_to_its_first_records(tmp_path: Path, content: bytes) -> None:
    assert sample(tmp_path, "a.json", content) == {"records": [{"a": 1}, {"a": 2}]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"[" * 100_000),
        ("a.json", b'"x"'),
        ("a.json", b"@/etc/hostname"),
        ("a.csv", b"a\n\xff\xfe\n"),
        ("a.csv.gz", gzip.compress(b"a\n1\n" * 1000)[:-20]),
        ("a.csv.gz", b"no gzip"),
        ("a.csv.gz", gzip.compress(b"a\n1\n" * 1000)[:20] + b"\0" * 40),
        ("a.parquet", b"PAR1"),
        ("a.csv.zst", b""),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(UsageError) as error:
        sample(tmp_path, name, content)
    assert name in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.csv"):
        read_sample(str(tmp_path / "none.csv"), 1, {})
