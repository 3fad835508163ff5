"""Rejects as they are spooled and shown: nothing is lost between what was sent and what is downloaded."""

import csv
import io
import json
import struct
import uuid
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gristmill.core.errors import Violation
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.readers.csv_rows import split_row
from gristmill.records.reject import Reject
from gristmill.records.rejects.cells import csv_cells, csv_line, csv_values, json_values, readable
from gristmill.records.rejects.repository import StoredReject
from gristmill.records.rejects.show import csv_header, reject_csv, reject_json
from gristmill.records.rejects.spool import RejectSpool, TooManyRejects
from gristmill.records.spool import MEMORY_BYTES, Spool
from gristmill.records.validation.rows import validator_of

CONTRACT = parse_contract(
    {
        "name": "things",
        "fields": [
            {"name": "t", "type": "text"},
            {"name": "n", "type": "decimal"},
            {"name": "j", "type": "json"},
        ],
    }
)
FIELDS = validator_of(CONTRACT).fields
PLACE = Violation("/3/n", "wrong_type", "no number", record=3, field="n")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
# What the reader of CSV can be given: its lines end with a line feed, and it takes no cell apart at one.
CELLS = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=5)

# A cell with NUL is shown by what was sent, see TestNul.
PRINTED = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


class TestCells:
    @given(CELLS)
    @example(["", None, '"', ",", "\r\n", " "])
    def test_a_row_is_read_back_as_it_was_written(self, cells: list[str | None]) -> None:
        line = csv_line(cells)
        assert line.endswith(b"\r\n")
        assert split_row(line[:-2].decode()) == cells

    @given(CELLS)
    def test_other_programs_read_it_too(self, cells: list[str | None]) -> None:
        found = list(csv.reader(io.StringIO(csv_line(cells).decode(), newline="")))
        # To them a NUL is a character like any other since Python 3.11.
        assert found == [["" if cell is None else cell for cell in cells]]

    @given(st.fixed_dictionaries({"t": st.none() | st.text(PRINTED), "j": JSON}))
    def test_texts_and_json_survive_the_way_through_cells(self, record: dict[str, Any]) -> None:
        cells, rest = csv_cells(json.dumps(record, ensure_ascii=False).encode("utf-8", "replace"), None, FIELDS)
        assert rest is None
        assert cells[0] == record["t"]
        assert record["j"] is None or json.loads(cells[2] or "") == json.loads(
            json.dumps(record["j"], ensure_ascii=False).encode("utf-8", "replace")
        )

    @pytest.mark.parametrize("number", ["1.10", "12345678901234567890123", "1e400", "-0.0", "1E+2"])
    def test_no_digit_of_a_number_is_lost(self, number: str) -> None:
        raw = b'{"n":%s,"j":{"deep":[%s]}}' % (number.encode(), number.encode())
        cells, rest = csv_cells(raw, None, FIELDS)
        assert (cells, rest) == ([None, number, '{"deep":[%s]}' % number], None)  # noqa: UP031 - braces

    @pytest.mark.parametrize(
        "raw",
        [b"", b"{", b"[1]", b'{"t":NaN}', b'{"t":"\\ud800"}', b'{"t":"\xff"}', b'{"j":' + b"[" * 100_000 + b"}"],
    )
    def test_what_is_no_record_stands_in_raw_alone(self, raw: bytes) -> None:
        assert csv_cells(raw, None, FIELDS) == ([None, None, None], readable(raw))
        assert json_values(raw) is None

    def test_cells_of_a_csv_row_are_told_apart_by_its_header(self) -> None:
        columns = ["j", "t", "_record", "_raw"]
        assert csv_cells(b'1,"a ""b""",7,old', columns, FIELDS) == (['a "b"', None, "1"], "old")
        assert csv_values(b"1,a,7,", columns) == {"j": "1", "t": "a"}
        assert csv_cells(b"1,a", columns, FIELDS) == ([None, None, None], "1,a")

    @given(st.binary())
    def test_any_bytes_can_be_shown(self, raw: bytes) -> None:
        stored = StoredReject(3, None, raw, [PLACE.as_json()], 1)
        for columns in (None, ["t", "n"]):
            shown = json.loads(reject_json(stored, columns))
            assert b"\n" not in reject_json(stored, columns)
            assert shown["record"] == 3
            if shown["raw_encoding"] == "utf-8":
                assert shown["raw"].encode() == raw
            line = reject_csv(stored, columns, FIELDS).decode()
            assert len(split_row(line[:-2])) == len(split_row(csv_header(FIELDS)[:-2].decode()))


class TestSpool:
    def test_the_rows_are_what_copy_takes(self) -> None:
        spool = RejectSpool(Spool("", 10_000_000), 10)
        spool.add(Reject(3, None, b"raw", (PLACE,)))
        spool.add(Reject(2**40, 7, b"", ()))
        job_id = uuid.uuid4()
        rows = []
        for blocks in spool.copy_data(job_id):
            data, at = b"".join(blocks), 2
            row: list[bytes | None] = []
            for _ in range(struct.unpack_from("!h", data)[0]):
                (size,) = struct.unpack_from("!i", data, at)
                at += 4
                row.append(None if size < 0 else data[at : at + size])
                at += max(size, 0)
            assert at == len(data)
            rows.append(row)
        errors = json.dumps([PLACE.as_json()], separators=(",", ":")).encode()
        assert rows == [
            [job_id.bytes, struct.pack("!q", 3), None, b"raw", errors, struct.pack("!i", 1)],
            [job_id.bytes, struct.pack("!q", 2**40), struct.pack("!q", 7), b"", b"[]", struct.pack("!i", 0)],
        ]

    def test_they_can_be_read_again(self) -> None:
        """A transaction may have to be tried again."""
        spool = RejectSpool(Spool("", 10_000_000), 1000)
        for record in range(1000):
            spool.add(Reject(record, record, b"x" * record, (PLACE,)))
        job_id = uuid.uuid4()
        first = list(spool.copy_data(job_id))
        assert len(first) == 1000
        assert list(spool.copy_data(job_id)) == first

    def test_they_go_to_disk_and_give_their_place_back(self) -> None:
        folder = Spool("", 10 * MEMORY_BYTES)
        spool = RejectSpool(folder, 10)
        for record in range(3):
            spool.add(Reject(record, None, b"x" * MEMORY_BYTES, (PLACE,)))
        assert folder.used > 3 * MEMORY_BYTES
        spool.close()
        assert folder.used == 0

    def test_one_more_than_allowed_is_refused_with_the_first_errors(self) -> None:
        spool = RejectSpool(Spool("", 10_000_000), 2)
        spool.add(Reject(0, None, b"", (PLACE,)))
        spool.add(Reject(1, None, b"", (PLACE,)))
        with pytest.raises(TooManyRejects, match="More than 2 records") as caught:
            spool.add(Reject(2, None, b"", (PLACE,)))
        assert len(caught.value.violations) == 2


class TestNul:
    """Spreadsheets and editors cut a cell at a NUL, or refuse the file."""

    @pytest.mark.parametrize(
        ("raw", "columns"),
        [(b'{"t":"a\\u0000b","n":"1"}', None), (b"a\0b,1", ["t", "n"]), (b'{"t":"x","j":{"a":"\\u0000"}}', None)],
    )
    def test_a_downloaded_row_has_none(self, raw: bytes, columns: list[str] | None) -> None:
        cells, rest = csv_cells(raw, columns, FIELDS)
        line = csv_line([*cells, rest])
        assert b"\0" not in line
        assert rest == raw.decode().replace("\0", "\\x00") or rest is None

    @given(st.binary(max_size=30))
    def test_whatever_was_sent(self, raw: bytes) -> None:
        for columns in (None, ["t", "n"]):
            cells, rest = csv_cells(raw, columns, FIELDS)
            assert b"\0" not in csv_line([*cells, rest])
