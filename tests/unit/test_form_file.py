"""The file of a form: the same bytes however the body is cut; everything else in it is refused with the reason."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import Malformed, UnsupportedMedia
from gristmill.records.form_file import FormFile
from gristmill.records.readers import EXTENSIONS, MEDIA_TYPES


def form(*files: tuple[str, bytes] | tuple[str, bytes, str]) -> tuple[str, bytes]:
    """Return Content-Type and body of a form, as httpx writes it."""
    request = httpx.Request("POST", "http://x", files=[("file", file) for file in files])
    return request.headers["content-type"], request.read()


def read(header: str, body: bytes, sizes: list[int] | None = None) -> tuple[FormFile, bytes]:
    found, data, start = FormFile(header, MEDIA_TYPES, EXTENSIONS), b"", 0
    for size in [*(sizes or []), len(body)]:
        data += found.feed(body[start : start + size])
        start += size
    found.finish()
    return found, data


def written(head: str, data: bytes = b"k\n1\n") -> tuple[str, bytes]:
    return "multipart/form-data; boundary=b", b"--b\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n--b--\r\n"


class TestFile:
    @given(
        data=st.binary(max_size=200) | st.text("\r\n-b", max_size=60).map(str.encode),
        sizes=st.lists(st.integers(1, 60), max_size=12),
    )
    def test_any_bytes_come_out_however_the_body_is_cut(self, data: bytes, sizes: list[int]) -> None:
        assert read(*form(("notes.csv", data)), sizes)[1] == data

    @pytest.mark.parametrize(
        ("name", "kind", "expected"),
        [
            ("a.csv", None, ("text/csv", None)),
            ("a.csv", "application/vnd.ms-excel", ("text/csv", None)),
            ("A.CSV.GZ", "application/gzip", ("text/csv", "gzip")),
            ("a.b.ndjson.zst", "application/octet-stream", ("application/x-ndjson", "zstd")),
            ("a", "text/csv; charset=utf-8", ("text/csv", None)),
            ("a.gz", "text/csv", ("text/csv", "gzip")),
            ("a.csv", "application/json", ("application/json", None)),
            ('Jahr 2026; "ä".parquet', "application/octet-stream", ("application/vnd.apache.parquet", None)),
            ("a.arrows", None, ("application/vnd.apache.arrow.stream", None)),
            ("a.jsonl", "text/plain", ("application/x-ndjson", None)),
        ],
    )
    def test_its_type_says_what_it_is_or_else_its_name(
        self, name: str, kind: str | None, expected: tuple[str, str | None]
    ) -> None:
        found, _ = read(*form((name, b"x", kind) if kind else (name, b"x")))
        assert (found.media_type, found.encoding) == expected

    def test_every_format_has_a_name(self) -> None:
        assert set(EXTENSIONS.values()) <= set(MEDIA_TYPES)

    def test_a_field_without_a_file_name_is_read_by_its_type(self) -> None:
        found, data = read(*written('Content-Disposition: form-data; name="x"\r\nContent-Type: text/csv'))
        assert (found.media_type, data) == ("text/csv", b"k\n1\n")


class TestRefused:
    @pytest.mark.parametrize(
        "name", ["a.xlsx", "a", "", "csv", ".gz", "a.csv.gz.gz", "a.feather", "..", "a.csv\u0000", "x" * 5000]
    )
    def test_a_file_of_an_unknown_kind_names_what_is_valid(self, name: str) -> None:
        with pytest.raises(UnsupportedMedia) as caught:
            read(*form((name, b"x", "application/octet-stream")))
        assert ".csv" in caught.value.detail
        assert len(caught.value.detail) < 1000

    @pytest.mark.parametrize(
        "header", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; x"]
    )
    def test_a_form_without_a_boundary(self, header: str) -> None:
        with pytest.raises(UnsupportedMedia, match="boundary"):
            read(header, b"")

    def test_a_boundary_without_end(self) -> None:
        with pytest.raises(UnsupportedMedia):
            read(f"multipart/form-data; boundary={'b' * 5000}", b"")

    def test_two_files(self) -> None:
        with pytest.raises(Malformed) as caught:
            read(*form(("a.csv", b"x"), ("b.csv", b"x")))
        assert caught.value.violations[0].code == "one_file"

    @pytest.mark.parametrize("cut", range(1, 4))
    def test_a_form_that_is_broken_off(self, cut: int) -> None:
        header, body = form(("a.csv", b"x" * 100))
        with pytest.raises(Malformed) as caught:
            read(header, body[: -len(body) * cut // 4])
        assert caught.value.violations[0].code == "truncated"

    @pytest.mark.parametrize("body", [b"", b"x", b"--b--\r\n", b"--c\r\n\r\nx\r\n--c--", b"--b\r\n" + b"a: b\r\n" * 50])
    def test_what_is_no_form(self, body: bytes) -> None:
        with pytest.raises(Malformed) as caught:
            read("multipart/form-data; boundary=b", body)
        assert caught.value.violations[0].code in ("malformed", "truncated", "one_file")

    @pytest.mark.parametrize("more", [b"x", b"--b\r\n\r\nx\r\n", b"\r\n\r\n\r\nx"])
    @pytest.mark.parametrize("apart", [True, False])
    def test_what_follows_the_end(self, more: bytes, apart: bool) -> None:
        header, body = written('Content-Disposition: form-data; name="x"; filename="a.csv"')
        with pytest.raises(Malformed, match="follows the end"):
            read(header, body + more, [len(body)] if apart else [])

    def test_a_head_without_end(self) -> None:
        with pytest.raises(Malformed, match="header size"):
            read(*written("x: " + "y" * 100_000))

    def test_a_written_encoding(self) -> None:
        head = 'Content-Disposition: form-data; name="x"; filename="a.csv"\r\nContent-Transfer-Encoding: base64'
        with pytest.raises(UnsupportedMedia, match="base64"):
            read(*written(head))

    @given(body=st.binary(max_size=100) | st.text("\r\n-b:; x=", max_size=60).map(str.encode))
    def test_no_other_error_whatever_is_sent(self, body: bytes) -> None:
        try:
            read("multipart/form-data; boundary=b", body)
        except (Malformed, UnsupportedMedia):
            return
        raise AssertionError(body)
