"""Readers: JSON, NDJSON and CSV give the same records, and every mistake has its place."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.values import nested

from gristmill.core.errors import GristmillError, Invalid, Malformed, Violation
from gristmill.datasets.contract_parser import Contract, parse_contract
from gristmill.records.readers import json as json_reader
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.context import ReadContext, Reader
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.json import read_json
from gristmill.records.readers.ndjson import read_ndjson
from gristmill.records.readers.parquet import read_parquet
from gristmill.records.validation.depth import json_depth
from gristmill.records.validation.rows import Problems, RecordValidator

CONTRACT = parse_contract(
    {
        "name": "things",
        "fields": [
            {"name": "id", "type": "integer", "required": True},
            {"name": "name", "type": "text", "max_length": 10},
            {"name": "price", "type": "decimal"},
            {"name": "extra", "type": "json"},
            {"name": "seen", "type": "boolean"},
        ],
        "key": ["id"],
    }
)
PLAIN = parse_contract({"name": "plain", "fields": [{"name": "a", "type": "text"}, {"name": "n", "type": "float"}]})


def read(reader: Reader, body: bytes, contract: Contract = CONTRACT) -> tuple[list[dict[str, Any]], Problems]:
    problems = Problems()
    source = ReadContext(io.BytesIO(body), RecordValidator(contract), problems)
    rows = [row for step in reader(source) for row in shown(contract, step.table)]
    return rows, problems


def shown(contract: Contract, table: pa.Table) -> list[dict[str, Any]]:
    """Return payload columns as rows, values of type json parsed."""
    parsed = [field.name for field in contract.fields if field.type == "json"]
    rows: list[dict[str, Any]] = table.to_pylist()
    return [row | {name: None if row[name] is None else json.loads(row[name]) for name in parsed} for row in rows]


def refusal(reader: Reader, body: bytes, contract: Contract = CONTRACT) -> tuple[type[GristmillError], Violation]:
    """Return the error that the body leads to and its first place."""
    with pytest.raises(Invalid) as caught:
        read(reader, body, contract)[1].raise_if_any()
    return type(caught.value), caught.value.violations[0]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


class TestSplitter:
    @given(values=st.lists(json_values, max_size=6), indent=st.none() | st.just(1), block=st.integers(1, 40))
    def test_any_array_is_cut_into_its_elements_whatever_the_block_size(
        self, values: list[Any], indent: int | None, block: int
    ) -> None:
        body = json.dumps(values, ensure_ascii=False, indent=indent).encode(errors="surrogatepass")
        with pytest.MonkeyPatch.context() as patch:
            splitter = json_reader._Splitter(io.BytesIO(body))
            assert splitter.open() == ""
            patch.setattr(json_reader, "BLOCK_BYTES", block)
            start, splitter._file = splitter._rest, io.BytesIO(splitter._rest[3:])
            splitter._rest = start[:3]
            found = [json.loads(raw.decode(errors="surrogatepass")) for raw in splitter.elements()]
            patch.undo()
            splitter.close(record_member=False)
        assert found == values

    @given(value=json_values)
    def test_depth_is_that_of_the_brackets_outside_strings(self, value: Any) -> None:
        assert json_depth(json.dumps(value).encode()) == depth_of(value)

    @given(texts=st.lists(st.text('\\"[]{}, a', max_size=12), max_size=5))
    def test_brackets_and_backslashes_in_strings_do_not_count(self, texts: list[str]) -> None:
        assert json_depth(json.dumps(texts).encode()) == 1


class TestJson:
    def test_an_array_and_an_object_of_records_give_the_same_rows(self) -> None:
        array, _ = read(read_json, b'[{"id":1,"name":"a"},{"id":2}]')
        member, _ = read(read_json, b' \n{ "records" : [{"id":1,"name":"a"}, {"id":2}\n] }\n')
        assert array == member
        assert array[1] == {"id": 2, "name": None, "price": None, "extra": None, "seen": None}

    def test_a_byte_order_mark_is_passed_over(self) -> None:
        assert len(read(read_json, b'\xef\xbb\xbf[{"id":1}]')[0]) == 1

    def test_each_error_names_record_field_and_value(self) -> None:
        _, problems = read(read_json, b'[{"id":1},{"id":"x","nam":3},{"name":"0123456789+","id":9223372036854775808}]')
        assert [(violation.pointer, violation.code, violation.record) for violation in problems.violations] == [
            ("/1/id", "wrong_type", 1),
            ("/1/nam", "unknown_field", 1),
            ("/2/id", "out_of_range", 2),
            ("/2/name", "too_long", 2),
        ]
        assert '"x"' in problems.violations[0].reason
        assert "id, name, price, extra, seen" in problems.violations[1].reason

    def test_pointers_lead_into_the_records_member(self) -> None:
        assert refusal(read_json, b'{"records":[{"id":null}]}')[1].pointer == "/records/0/id"

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"  ", b"[", b"[{}", b'[{"id":1},]', b'[,{"id":1}]', b'[{"id":1}]]', b'[{"id":1}] x', b'[{"id":1]',
            b'[{"id":1}}]', b'[{"id":"a]', b'[{"id":NaN1}]', b'[{"id":01}]', b'[{"id":1,}]', b"nonsense", b'"text"',
            b'{"records":[{"id":1}]', b'{"records":[{"id":1}]}}', b'[{"id":1} {"id":2}]', b'[{"id":1,"name":"\xff"}]',
            b'\xff\xfe[\x00]\x00', b"[{'id':1}]", b"[" * 100_000,
        ],
    )  # fmt: skip
    def test_broken_json_is_malformed(self, body: bytes) -> None:
        assert refusal(read_json, body)[0] is Malformed
        assert refusal(read_json, body, PLAIN)[0] is Malformed

    @pytest.mark.parametrize("body", [b'{"id":1}', b'{"records":[{"id":1}],"more":1}', b"[1]", b"[[]]", b"[null]"])
    def test_json_of_another_shape_is_invalid(self, body: bytes) -> None:
        assert refusal(read_json, body)[0] is Invalid

    def test_nested_brackets_without_end_are_refused_by_the_limit(self) -> None:
        deep = b'[{"id":1,"extra":' + b"[" * 100_000 + b"]" * 100_000 + b"}]"
        assert refusal(read_json, deep)[1].code == "too_deep"

    @pytest.mark.parametrize("levels", [1, 31, 32, 33, 34, 40])
    def test_a_value_nests_as_deeply_in_every_format(self, levels: int) -> None:
        value = nested(levels)
        text = json.dumps(value)
        cell = '"' + text.replace('"', '""') + '"'
        columns = io.BytesIO()
        pq.write_table(pa.table({"id": [1], "extra": [text]}), columns)
        stream = io.BytesIO()
        with pa.ipc.new_stream(stream, pa.schema([("id", pa.int64()), ("extra", pa.string())])) as writer:
            writer.write_table(pa.table({"id": [1], "extra": [text]}))
        record = f'{{"id":1,"extra":{text}}}'
        for reader, body in (
            (read_json, f"[{record}]".encode()),
            (read_json, f'{{"records":[{record}]}}'.encode()),
            (read_ndjson, record.encode()),
            (read_csv, f"id,extra\n1,{cell}\n".encode()),
            (read_parquet, columns.getvalue()),
            (read_arrow, stream.getvalue()),
        ):
            if levels <= 32:
                rows, problems = read(reader, body)
                assert (rows[0]["extra"], problems.total) == (value, 0)
            else:
                assert refusal(reader, body)[1].code == "too_deep"

    @pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
    def test_numbers_that_are_not_finite_are_refused(self, value: bytes) -> None:
        assert refusal(read_json, b'[{"n":' + value + b"}]", PLAIN)[1].code == "not_finite"

    def test_a_large_body_is_read_in_blocks_and_counts_all_errors(self) -> None:
        body = json.dumps([{"id": n, "name": "too long by far"} for n in range(30_000)]).encode()
        rows, problems = read(read_json, body)
        assert (rows, problems.total, len(problems.violations)) == ([], 30_000, 100)
        rows, problems = read(read_json, body.replace(b" by far", b""))
        assert (len(rows), problems.total) == (30_000, 0)

    def test_a_record_with_thousands_of_errors_is_one_place(self) -> None:
        body = json.dumps([{f"x{n}": 1 for n in range(5000)}]).encode()
        _, problems = read(read_json, body)
        assert (problems.total, problems.violations[0].code) == (5001, "too_many_errors")


class TestNdjson:
    def test_empty_lines_and_line_ends_do_not_matter(self) -> None:
        rows, problems = read(read_ndjson, b'\xef\xbb\xbf{"id":1}\r\n\n  \n{"id":2}')
        assert ([row["id"] for row in rows], problems.total) == ([1, 2], 0)

    def test_a_broken_line_is_named_and_the_others_are_still_checked(self) -> None:
        _, problems = read(read_ndjson, b'{"id":1}\n{"id":\n\n{"id":2}\n{"id":true}\n')
        assert [(p.line, p.record, p.code) for p in problems.violations] == [(2, 1, "malformed"), (5, 3, "wrong_type")]
        with pytest.raises(Malformed, match="2 errors, the first in line 2"):
            problems.raise_if_any()

    def test_a_broken_byte_is_malformed_with_its_line(self) -> None:
        kind, violation = refusal(read_ndjson, b'{"id":1}\n{"id":2,"name":"\xe4"}\n')
        assert (kind, violation.line) == (Malformed, 2)

    def test_nul_in_text_is_refused(self) -> None:
        assert refusal(read_ndjson, b'{"id":1,"name":"a\\u0000b"}')[1].code == "nul"

    def test_a_line_without_end_is_refused_in_bounded_memory(self) -> None:
        kind, violation = refusal(read_ndjson, b"x" * (13 * 1024 * 1024))
        assert (kind, violation.code) == (Malformed, "too_long")


class TestCsv:
    def test_cells_are_read_by_the_type_of_their_field(self) -> None:
        rows, problems = read(
            read_csv,
            b'id,name,price,extra,seen\r\n1,"a ""b"",\n",12.50,"{""x"":[1]}",true\r\n\r\n2,,,,\n3,"",,null,false',
        )
        assert problems.violations == []
        assert [row["name"] for row in rows] == ['a "b",\n', None, ""]
        assert str(rows[0]["price"]) == "12.50"
        assert [row["extra"] for row in rows] == [{"x": [1]}, None, None]
        assert [row["seen"] for row in rows] == [True, None, False]

    def test_columns_may_be_left_out_if_no_required_field_is(self) -> None:
        assert read(read_csv, b"seen,id\ntrue,7\n")[0][0]["id"] == 7
        kind, violation = refusal(read_csv, b"seen\ntrue\n")
        assert (kind, violation.code, violation.field) == (Invalid, "missing", "id")

    @pytest.mark.parametrize(
        ("body", "code", "line"),
        [
            (b"", "empty", None),
            (b"id,id\n1,1\n", "duplicate", 1),
            (b"id,what\n1,1\n", "unknown_field", 1),
            (b"id,\n1,1\n", "unknown_field", 1),
            (b"id,name\n1\n", "uneven_row", 2),
            (b"id,name\n1,a,b\n", "uneven_row", 2),
            (b'id,name\n1,"x\ny"\n2,a"b"\n', "malformed", 4),
            (b'id,name\n1,"x"y\n', "malformed", 2),
            (b'id,name\n1,"never closed\n2,b\n', "malformed", 2),
            (b"id,name\n1,\xe4\n", "malformed", 2),
            (b"id\n1.0\n", "wrong_type", 2),
            (b"id\n9223372036854775808\n", "out_of_range", 2),
            (b"id,extra\n1,{\n", "not_json", 2),
            (b"id,seen\n1,yes\n", "wrong_type", 2),
            (b"id,name\n1,a\0b\n", "nul", 2),
        ],
    )
    def test_every_mistake_has_its_code_and_line(self, body: bytes, code: str, line: int | None) -> None:
        violation = refusal(read_csv, body)[1]
        assert (violation.code, violation.line) == (code, line)

    @given(
        rows=st.lists(
            st.tuples(
                st.integers(-(2**63), 2**63 - 1),
                st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10),
            ),
            min_size=1,
        )
    )
    def test_what_rfc_4180_writes_is_read_back_equal(self, rows: list[tuple[int, str | None]]) -> None:
        lines = ["id,name"]
        for number, name in rows:
            quoted = "" if name is None else '"' + name.replace('"', '""') + '"'
            lines.append(f"{number},{quoted}")
        read_rows, problems = read(read_csv, "\r\n".join(lines).encode())
        assert problems.violations == []
        assert [(row["id"], row["name"]) for row in read_rows] == rows
