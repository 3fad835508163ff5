"""Rejects: records that are not valid are given away as they were sent, and the others keep their places."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import Malformed
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.ingest.chunking import Batch, read_batches
from gristmill.records.readers.context import ReadContext, Reader
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.json import read_json
from gristmill.records.readers.ndjson import read_ndjson
from gristmill.records.reject import Reject
from gristmill.records.validation.rows import Problems, RecordValidator

CONTRACT = parse_contract(
    {
        "name": "things",
        "fields": [
            {"name": "id", "type": "integer", "required": True},
            {"name": "name", "type": "text", "max_length": 10},
            {"name": "extra", "type": "json"},
        ],
        "key": ["id"],
    }
)


def read(reader: Reader, body: bytes, max_records: int = 1000) -> tuple[list[Batch], list[Reject]]:
    rejects: list[Reject] = []
    source = ReadContext(io.BytesIO(body), RecordValidator(CONTRACT), Problems(), rejects.append)
    return list(read_batches(reader, source, 8 * 1024 * 1024, max_records)), rejects


def places(batches: list[Batch]) -> list[tuple[int, int]]:
    """Return (index in the request, id) of every accepted record."""
    found: list[tuple[int, int]] = []
    for batch in batches:
        ids = batch.table.column("id").to_pylist()
        ords = range(batch.first_record, batch.first_record + len(ids)) if batch.ords is None else batch.ords.tolist()
        found.extend(zip(ords, ids, strict=True))
    return found


class TestRejects:
    def test_ndjson_lines_are_kept_as_they_were_sent(self) -> None:
        body = b'{"id":0}\r\n\n {"id":"x", "name":"\xc3\xa4"}\r\n{"id":2}\n{"id":\n{"id":4}\n{"id":5,"name":"\xff"}'
        batches, rejects = read(read_ndjson, body)
        assert places(batches) == [(0, 0), (2, 2), (4, 4)]
        assert [(r.record, r.line, r.raw) for r in rejects] == [
            (1, 3, b'{"id":"x", "name":"\xc3\xa4"}'),
            (3, 5, b'{"id":'),
            (5, 7, b'{"id":5,"name":"\xff"}'),
        ]
        assert [r.violations[0].code for r in rejects] == ["wrong_type", "malformed", "malformed"]
        assert (rejects[0].violations[0].field, rejects[0].violations[0].line) == ("id", 3)

    def test_json_elements_are_kept_as_they_were_sent(self) -> None:
        body = b'[{"id":0}, {"id": null} ,{"id":2},{"id":3,"extra":[{},]}, 7,{"id":5}]'
        batches, rejects = read(read_json, body)
        assert places(batches) == [(0, 0), (2, 2), (5, 5)]
        assert rejects[0].raw == b'{"id": null}'

    def test_a_broken_element_that_ends_is_rejected_and_the_rest_goes_on(self) -> None:
        batches, rejects = read(read_json, b'[{"id":01},{"id":1},{"id":NaN},7,{"id":4}]')
        assert places(batches) == [(1, 1), (4, 4)]
        assert [(r.record, r.raw) for r in rejects] == [(0, b'{"id":01}'), (2, b'{"id":NaN}'), (3, b"7")]

    def test_csv_rows_are_kept_as_they_were_sent(self) -> None:
        body = b'id,name\r\n0,"a\nb"\r\n1,"c\nlong enough to refuse"\r\nx,y\r\n3\r\n4,a"b"\r\n5,\xff\r\n6,z\r\n'
        batches, rejects = read(read_csv, body)
        assert places(batches) == [(0, 0), (6, 6)]
        assert [(r.record, r.line, r.raw, r.violations[0].code) for r in rejects] == [
            (1, 4, b'1,"c\nlong enough to refuse"', "too_long"),
            (2, 6, b"x,y", "wrong_type"),
            (3, 7, b"3", "uneven_row"),
            (4, 8, b'4,a"b"', "malformed"),
            (5, 9, b"5,\xff", "malformed"),
        ]

    def test_only_a_batch_with_gaps_carries_places(self) -> None:
        lines = [b'{"id":"bad"}' if n == 5 else b'{"id":%d}' % n for n in range(9)]
        batches, _ = read(read_ndjson, b"\n".join(lines), max_records=4)
        assert [(b.first_record, None if b.ords is None else b.ords.tolist()) for b in batches] == [
            (0, None),
            (4, [4, 6, 7, 8]),
        ]
        assert batches[1].payload().column("_ord").to_pylist() == [4, 6, 7, 8]
        assert batches[0].payload().column_names == ["id", "name", "extra"]

    @pytest.mark.parametrize("reader", [read_ndjson, read_json, read_csv])
    def test_if_all_are_rejected_there_is_one_batch_without_rows(self, reader: Reader) -> None:
        body = {read_ndjson: b'{"id":"x"}\n{"id":null}', read_json: b'[{"id":"x"},{"id":null}]', read_csv: b"id\nx\ny"}
        batches, rejects = read(reader, body[reader])
        assert [(b.first_record, b.table.num_rows, b.ords) for b in batches] == [(0, 0, None)]
        assert batches[0].table.column_names == ["id", "name", "extra"]
        assert [r.record for r in rejects] == [0, 1]

    def test_what_cannot_be_read_past_its_place_refuses_everything(self) -> None:
        for reader, body in (
            (read_json, b'[{"id":"x"},{"id":2}'),
            (read_json, b'[{"id":"x},{"id":2}]'),
        ):
            with pytest.raises(Malformed):
                read(reader, body)

    def test_a_record_too_large_for_a_payload_is_rejected_with_its_content(self) -> None:
        body = json.dumps({"id": 0, "extra": ["x" * 1_000_000] * 9}) + '\n{"id":1}'
        batches, rejects = read(read_ndjson, body.encode())
        assert places(batches) == [(1, 1)]
        assert (rejects[0].record, rejects[0].violations[0].code) == (0, "record_too_large")
        assert json.loads(rejects[0].raw)["extra"] == ["x" * 1_000_000] * 9

    @given(
        lines=st.lists(
            st.sampled_from([b'{"id":1}', b'{"id":"x"}', b"", b" ", b'{"id":2,"name":"a b"}\r', b'{"id":']), max_size=20
        ),
        ended=st.booleans(),
        block=st.integers(1, 30),
    )
    def test_lines_keep_their_numbers_however_the_body_is_cut(
        self, lines: list[bytes], ended: bool, block: int
    ) -> None:
        body = b"\n".join([b'{"id":0}', *lines]) + (b"\n" if ended else b"")
        whole = read(read_ndjson, body)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gristmill.records.readers.context.LINES_BYTES", block)
            cut = read(read_ndjson, body)
        assert places(cut[0]) == places(whole[0])
        assert cut[1] == whole[1]
        broken = [number for number, line in enumerate(lines, 2) if b'"x"' in line or line == b'{"id":']
        assert [reject.line for reject in whole[1]] == broken
