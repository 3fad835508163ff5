"""A zip of metadata and images: what becomes of each record, and what is refused as a whole."""

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.images import small

from gristmill.core.errors import GristmillError, Invalid, Malformed, TooLarge
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.ingest.chunking import read_batches
from gristmill.records.readers.archive import ArchiveLimits
from gristmill.records.readers.context import ReadContext
from gristmill.records.readers.zip import read_zip
from gristmill.records.reject import Reject
from gristmill.records.spool import Spool
from gristmill.records.validation.rows import Problems, RecordValidator

ID = {"name": "id", "type": "integer", "required": True}
CONTRACT = parse_contract(
    {"name": "styles", "fields": [ID, {"name": "photo", "type": "image", "max_bytes": 5000}], "key": ["id"]}
)
RED, BLUE = small(), small("JPEG", (0, 0, 250))
CSV = b"id,photo\n1,images/red.png\n2,images/blue.jpg\n3,\n"
FILES = {"metadata.csv": CSV, "images/red.png": RED, "images/blue.jpg": BLUE}


def archive(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, **attributes: Any) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as file:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            file.writestr(info, data)
    return target.getvalue()


def read(
    body: bytes, quarantine: bool = True, contract: Any = CONTRACT, max_bytes: int = 1 << 20, entries: int = 1000
) -> tuple[list[tuple[int, bytes | None]], list[Reject]]:
    rejects: list[Reject] = []
    spool = Spool("", 1 << 30)
    limits = ArchiveLimits(spool, max_bytes, entries)
    takes = rejects.append if quarantine else None
    source = ReadContext(io.BytesIO(body), RecordValidator(contract), Problems(), takes, archives=limits)
    records: list[tuple[int, bytes | None]] = []
    try:
        for batch in read_batches(read_zip, source, 8 * 1024 * 1024, 1000):
            records += zip(batch.table["id"].to_pylist(), batch.table["photo"].to_pylist(), strict=True)
    finally:
        assert spool.used == 0
    return records, rejects


def refusal(body: bytes, **options: Any) -> GristmillError:
    with pytest.raises(GristmillError) as caught:
        read(body, **options)
    return caught.value


class TestRecords:
    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_each_record_gets_the_bytes_of_the_member_that_it_names(self, method: int) -> None:
        assert read(archive(FILES, method)) == ([(1, RED), (2, BLUE), (3, None)], [])

    @pytest.mark.parametrize(
        ("name", "metadata"),
        [
            ("metadata.ndjson", b'{"id":1,"photo":"red.png"}\n'),
            ("metadata.jsonl", b'{"id":1,"photo":"red.png"}'),
            ("metadata.json", b'{"records":[{"id":1,"photo":"red.png"}]}'),
            ("Metadata.CSV", b"id,photo\n1,red.png"),
            ("styles.csv", b"id,photo\n1,red.png"),
            ("metadata.parquet", b""),
        ],
    )
    def test_metadata_may_have_any_of_the_formats(self, name: str, metadata: bytes) -> None:
        if name.endswith("parquet"):
            target = io.BytesIO()
            pq.write_table(pa.table({"id": [1], "photo": ["red.png"]}), target)
            metadata = target.getvalue()
        assert read(archive({"red.png": RED, name: metadata})) == ([(1, RED)], [])

    def test_what_is_called_metadata_is_it_and_members_that_no_record_names_are_passed_over(self) -> None:
        more = {"labels.csv": b"x", "data/metadata.csv": b"x", "__MACOSX/._red.png": b"x", ".DS_Store": b"x", "a/": b""}
        assert read(archive({**FILES, **more}))[0] == [(1, RED), (2, BLUE), (3, None)]

    def test_what_is_wrong_with_one_record_is_its_reject_with_its_line_and_text(self) -> None:
        rows = [
            "id,photo",
            "1,images/red.png",
            "2,images/gone.png",
            "x,images/red.png",
            "4,../red.png",
            "5,empty.png",
            '6,"text.png"',
            "7,large.png",
            "8,images/red.png,more",
            "9,images/red.png",
        ]
        files = {"empty.png": b"", "text.png": b"no image", "large.png": RED + bytes(5000)}
        records, rejects = read(archive({**FILES, **files, "metadata.csv": "\n".join(rows).encode()}))
        assert records == [(1, RED), (9, RED)]
        found = sorted(
            (reject.record, reject.line, reject.raw.decode(), reject.violations[0].code) for reject in rejects
        )
        codes = [
            "image_missing",
            "wrong_type",
            "unsafe_path",
            "not_an_image",
            "not_an_image",
            "too_large",
            "uneven_row",
        ]
        assert found == [(n, n + 2, rows[n + 1], code) for n, code in enumerate(codes, 1)]
        assert all(reject.violations[0].line == reject.line for reject in rejects)

    def test_without_quarantine_the_first_lines_and_the_total_are_named(self) -> None:
        rows = b"".join(b"%d,gone/%d.png\n" % (n, n) for n in range(250))
        error = refusal(archive({**FILES, "metadata.csv": b"id,photo\n" + rows}), quarantine=False)
        assert isinstance(error, Invalid)
        assert error.total == 250
        assert [(one.line, one.code) for one in error.violations] == [(n, "image_missing") for n in range(2, 102)]
        assert "line 2" in error.detail

    def test_a_reject_of_ndjson_has_its_line_and_one_of_parquet_its_record(self) -> None:
        body = archive({"metadata.ndjson": b'\n{"id":1,"photo":"gone.png"}\n'})
        ((reject,),) = (read(body)[1],)
        assert (reject.line, reject.raw) == (2, b'{"id":1,"photo":"gone.png"}')
        target = io.BytesIO()
        pq.write_table(pa.table({"id": [1], "photo": ["gone.png"]}), target)
        ((reject,),) = (read(archive({"metadata.parquet": target.getvalue()}))[1],)
        assert (reject.line, reject.raw) == (None, b'{"id": 1, "photo": "gone.png"}')

    def test_a_damaged_member_is_the_reject_of_its_record(self) -> None:
        body = bytearray(archive(FILES, zipfile.ZIP_STORED))
        body[body.index(RED) + 40] ^= 0xFF
        records, rejects = read(bytes(body))
        assert records == [(2, BLUE), (3, None)]
        assert [(reject.line, reject.violations[0].code) for reject in rejects] == [(2, "damaged_member")]
        assert "CRC" in rejects[0].violations[0].reason

    @pytest.mark.parametrize("by", [-1, 1])
    def test_so_is_one_of_another_size_than_the_directory_says(self, by: int) -> None:
        body = bytearray(archive(FILES))
        place = body.index(b"images/red.png", body.index(b"PK\1\2"))
        body[place - 22 : place - 18] = struct.pack("<L", len(RED) + by)
        records, rejects = read(bytes(body))
        assert records == [(2, BLUE), (3, None)]
        assert [reject.violations[0].code for reject in rejects] == ["damaged_member"]


class TestRefusals:
    @pytest.mark.parametrize(
        "name",
        [
            "../x.png",
            "/etc/passwd",
            "a/../../x.png",
            "a\\b.png",
            "C:/x.png",
            "C:x.png",
            "a//b.png",
            "./x.png",
            "con.png",
        ],
    )
    def test_unsafe_names_are_refused_whether_or_not_a_record_names_them(self, name: str) -> None:
        error = refusal(archive({**FILES, name: RED}))
        assert isinstance(error, Malformed)
        assert error.violations[0].code == "unsafe_member"

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (lambda: b"not a zip at all", "not_a_zip"),
            (lambda: b"", "not_a_zip"),
            (lambda: b"PK\5\6", "not_a_zip"),
            (lambda: archive(FILES)[:-30], "not_a_zip"),
            (lambda: archive(FILES)[200:], "malformed"),
            (lambda: archive(FILES, zipfile.ZIP_BZIP2), "unsupported_compression"),
            (lambda: archive(FILES, zipfile.ZIP_LZMA), "unsupported_compression"),
            (lambda: archive({**FILES, "more.zip": archive(FILES)}), "nested_archive"),
            (lambda: archive({"images/red.png": RED}), "no_metadata"),
            (lambda: archive({"data/metadata.csv": CSV}), "no_metadata"),
            (lambda: archive({}), "no_metadata"),
            (lambda: archive({**FILES, "metadata.json": b"[]"}), "several_metadata"),
            (lambda: archive({"a.csv": CSV, "b.csv": CSV}), "several_metadata"),
            (lambda: archive(FILES, external_attr=0o120777 << 16), "not_a_file"),
            (lambda: archive(FILES, external_attr=0o010644 << 16), "not_a_file"),
            (lambda: archive({"a.csv": CSV, "images/": b"content"}), "unsafe_member"),
        ],
    )
    def test_what_cannot_be_taken_is_refused_with_its_code(self, body: Callable[[], bytes], code: str) -> None:
        error = refusal(body())
        assert isinstance(error, Malformed)
        assert (error.status, error.violations[0].code) == (400, code)

    def test_encrypted_members_are_refused(self) -> None:
        body = bytearray(archive(FILES))
        body[body.index(b"PK\1\2") + 8] |= 1
        assert refusal(bytes(body)).violations[0].code == "encrypted_member"

    def test_two_members_of_one_name_are_refused(self) -> None:
        body = archive({**FILES, "images/rod.png": RED}).replace(b"images/rod.png", b"images/red.png")
        assert refusal(body).violations[0].code == "duplicate_member"

    def test_metadata_that_is_damaged_is_refused(self) -> None:
        body = bytearray(archive(FILES, zipfile.ZIP_STORED))
        body[body.index(CSV) + 3] ^= 0xFF
        error = refusal(bytes(body))
        assert isinstance(error, Malformed)
        assert "metadata.csv" in error.detail

    def test_a_bomb_is_refused_by_its_directory(self) -> None:
        error = refusal(archive({**FILES, "images/bomb.png": bytes(2 << 20)}))
        assert isinstance(error, TooLarge)
        assert "api_max_body_bytes" in error.detail

    def test_so_is_one_member_that_many_records_name(self) -> None:
        rows = b"".join(b"%d,large.png\n" % n for n in range(1000))
        body = archive({"metadata.csv": b"id,photo\n" + rows, "large.png": RED + bytes(4000)})
        assert isinstance(refusal(body), TooLarge)

    def test_a_million_entries_are_refused_before_anything_is_made_of_them(self) -> None:
        entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
        directory = entry * 1_000_000
        start = len(directory)
        end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 10**6, 10**6, len(directory), 0)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, start, 1)
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        honest = directory + end64 + locator + end
        lying = directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 5, 5, len(directory), 0, 0)
        for body in (honest, lying):
            file = io.BytesIO(body)
            tracemalloc.start()
            error = refusal_of(file)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert isinstance(error, TooLarge)
            assert peak < 2 << 20

    def test_datasets_whose_images_are_paths_are_told_what_to_do(self) -> None:
        photo = {"name": "photo", "type": "image", "stored_as": "path"}
        paths = parse_contract({"name": "styles", "fields": [ID, photo], "key": ["id"]})
        error = refusal(archive(FILES), contract=paths)
        assert "image folder" in error.detail
        plain = parse_contract({"name": "styles", "fields": [ID], "key": ["id"]})
        assert "no field" in refusal(archive(FILES), contract=plain).detail

    @given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=6), st.booleans())
    def test_flipped_bits_never_end_in_anything_but_a_refusal_or_rejects(
        self, flips: list[tuple[float, int]], stored: bool
    ) -> None:
        body = bytearray(archive(FILES, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED))
        for place, bits in flips:
            body[int(place * (len(body) - 1))] ^= bits
        records, status = outcome(bytes(body))
        assert 400 <= status < 500
        # Whatever was flipped, a record has a whole image or none.
        assert all(image in (RED, BLUE, None) for _, image in records)

    @given(st.integers(0, 2000), st.integers(0, 2000), st.binary(max_size=40))
    def test_so_do_pieces_that_are_cut_out_or_put_in(self, start: int, length: int, more: bytes) -> None:
        body = archive(FILES)
        assert 400 <= outcome(body[:start] + more + body[start + length :])[1] < 500


def outcome(body: bytes) -> tuple[list[tuple[int, bytes | None]], int]:
    """Return the records, and the status of the refusal; that of a refused record where all of it was read."""
    try:
        return read(body)[0], Invalid.status
    except GristmillError as error:
        return [], error.status


def refusal_of(file: io.BytesIO) -> GristmillError:
    spool = Spool("", 1 << 30)
    source = ReadContext(file, RecordValidator(CONTRACT), Problems(), archives=ArchiveLimits(spool, 1 << 20, 1000))
    with pytest.raises(GristmillError) as caught:
        list(read_zip(source))
    return caught.value


def test_memory_is_that_of_a_few_images_however_many_there_are() -> None:
    image = RED + bytes(4000)
    peaks = []
    for count in (3000, 12_000):
        rows = b"".join(b"%d,%d.png\n" % (n, n) for n in range(count))
        body = archive({"metadata.csv": b"id,photo\n" + rows, **{f"{n}.png": image for n in range(count)}})
        source = ReadContext(
            io.BytesIO(body),
            RecordValidator(CONTRACT),
            Problems(),
            archives=ArchiveLimits(Spool("", 1 << 30), 1 << 30, 100_000),
        )
        before = pa.total_allocated_bytes()
        peak = 0
        for block in read_zip(source):
            peak = max(peak, pa.total_allocated_bytes() - before)
            assert block.table.nbytes < 6 << 20
        peaks.append(peak)
    assert peaks[1] < peaks[0] * 1.5
