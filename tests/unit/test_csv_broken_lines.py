"""Broken lines in CSV: each is one reject at its line with its text, and every other record is read."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import Malformed
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.ingest.chunking import read_batches
from gristmill.records.readers.context import MAX_RECORD_BYTES, ReadContext
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.lines import lines_of
from gristmill.records.reject import Reject
from gristmill.records.validation.rows import Problems, RecordValidator

CONTRACT = parse_contract(
    {
        "name": "styles",
        "fields": [
            {"name": "id", "type": "integer", "required": True},
            {"name": "name", "type": "text"},
            {"name": "season", "type": "text"},
        ],
        "key": ["id"],
    }
)
GOOD = (b"%d,shirt,Fall", b'%d,"a shirt, blue",Fall', b'%d,"two\nlines",Fall', b'%d,"27"" wide",', b'%d,"",""')
BROKEN = {
    "too many cells": (b"%d,Tommy, Hilfiger,Fall", "uneven_row"),
    "too few cells": (b"%d,shirt", "uneven_row"),
    "quote in the middle of a cell": (b'%d,5" nail,Fall', "malformed"),
    "two quotes in the middle of a cell": (b'%d,a "good" shirt,Fall', "malformed"),
    "text after a quoted cell": (b'%d,"a" shirt,Fall', "malformed"),
    "quote never closed": (b'%d,"a shirt,Fall', "malformed"),
    "quote never closed after a quoted cell": (b'%d,"a, b","Fall', "malformed"),
    "not UTF-8": (b"%d,\xe4rmel,Fall", "malformed"),
    "NUL": (b"%d,a\0b,Fall", "nul"),
    "byte order mark": (b"\xef\xbb\xbf%d,a,Fall", "malformed"),
    "not an integer": (b"x%d,a,Fall", "wrong_type"),
    "no key": (b",a%d,Fall", "null"),
}
ALONE = {**BROKEN, "quote at the end of a cell": (b'%d,27",Fall', "malformed")}
ALONE.pop("quote never closed")
ALONE.pop("quote never closed after a quoted cell")


def read(body: bytes) -> tuple[list[int], list[int], list[Reject]]:
    """Return the ids and the places of the records that were read, and the rejects."""
    rejects: list[Reject] = []
    source = ReadContext(io.BytesIO(body), RecordValidator(CONTRACT), Problems(), rejects.append)
    ids, places = [], []
    for batch in read_batches(read_csv, source, 8 * 1024 * 1024, 1000):
        ids += batch.table["id"].to_pylist()
        count = batch.table.num_rows
        places += (
            list(range(batch.first_record, batch.first_record + count)) if batch.ords is None else list(batch.ords)
        )
    return ids, places, rejects


def lines(kinds: dict[str, tuple[bytes, str]]) -> st.SearchStrategy[list[tuple[bytes, str]]]:
    good = st.sampled_from([(row, "") for row in GOOD])
    return st.lists(good | st.sampled_from(sorted(kinds.values())), max_size=25)


def check(rows: list[tuple[bytes, str]], end: bytes, ended: bool, block: int) -> None:
    written = [row.replace(b"%d", b"%d" % number) for number, (row, _) in enumerate(rows)]
    body = end.join([b"id,name,season", *written]) + (end if ended else b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gristmill.records.readers.csv_blocks.BLOCK_BYTES", block)
        patch.setattr("gristmill.records.readers.csv_rows.BLOCK_BYTES", block)
        ids, places, rejects = read(body)
        starts = lines_of("text/csv", io.BytesIO(body), set(range(len(rows))))
    expected, line = {}, 2
    for number, row in enumerate(written):
        expected[number] = line
        line += 1 + row.count(b"\n")
    good = [number for number, (_, code) in enumerate(rows) if not code]
    assert ids == good
    assert places == good
    assert starts == expected
    assert [(reject.record, reject.line, reject.raw, reject.violations[0].code) for reject in rejects] == [
        (number, expected[number], written[number], code) for number, (_, code) in enumerate(rows) if code
    ]


class TestBrokenLines:
    @given(rows=lines(BROKEN), end=st.sampled_from([b"\n", b"\r\n"]), ended=st.booleans(), block=st.integers(20, 300))
    def test_each_broken_line_is_a_reject_and_the_others_are_read(
        self, rows: list[tuple[bytes, str]], end: bytes, ended: bool, block: int
    ) -> None:
        check([(GOOD[0], ""), *rows], end, ended, block)

    @given(rows=lines(ALONE), ended=st.booleans(), block=st.integers(20, 300))
    def test_so_is_one_whose_quote_could_close_another(
        self, rows: list[tuple[bytes, str]], ended: bool, block: int
    ) -> None:
        check([(GOOD[0], ""), *rows], b"\n", ended, block)

    @pytest.mark.parametrize("kind", BROKEN)
    def test_one_in_the_middle_of_many_blocks(self, kind: str) -> None:
        rows = [(GOOD[n % len(GOOD)], "") for n in range(20_000)]
        rows[7_000] = BROKEN[kind]
        check(rows, b"\n", True, 64 * 1024)

    def test_a_record_of_several_lines_with_too_many_cells_is_one_reject(self) -> None:
        ids, _, rejects = read(b'id,name,season\n1,Tommy, Hilfiger,"two\nlines"\n2,b,c\n')
        assert ids == [2]
        assert [(reject.line, reject.raw) for reject in rejects] == [(2, b'1,Tommy, Hilfiger,"two\nlines"')]

    def test_two_stray_quotes_do_not_swallow_the_rows_between_them(self) -> None:
        ids, _, rejects = read(b'id,name,season\n1,x,"abc\n2,b,c\n3,27",x\n4,d,e\n')
        assert ids == [2, 4]
        assert [reject.line for reject in rejects] == [2, 4]

    @pytest.mark.parametrize("before", [b"", b"1,a,b\n"])
    @pytest.mark.parametrize("quote", [b"", b'"'])
    def test_a_line_longer_than_any_record_is_one_reject(self, before: bytes, quote: bytes) -> None:
        long = b"2," + quote + b"x" * (MAX_RECORD_BYTES + 5_000_000)
        ids, _, rejects = read(b"id,name,season\n" + before + long + b"\n3,c,d\n")
        assert ids == ([1, 3] if before else [3])
        assert [(reject.line, reject.violations[0].code) for reject in rejects] == [(3 if before else 2, "too_long")]
        assert rejects[0].raw == long[:1000]

    def test_a_quote_never_closed_before_megabytes_of_rows_is_one_reject(self) -> None:
        rows = b"".join(b"%d,a shirt of some colour,Fall\n" % n for n in range(2, 500_000))
        ids, _, rejects = read(b'id,name,season\n1,"a,b\n' + rows)
        assert ids == list(range(2, 500_000))
        assert [(reject.line, reject.raw) for reject in rejects] == [(2, b'1,"a,b')]

    def test_a_header_whose_quote_is_never_closed_refuses_everything(self) -> None:
        with pytest.raises(Malformed):
            read(b'id,"name,season\n1,a,b\n')
