"""What a refusal shows is what was sent: the token as it stood in the body, its field, its line."""

import io
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gristmill.core.errors import Invalid, Malformed, Violation
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.readers.context import ReadContext, Reader
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.json import read_json
from gristmill.records.readers.ndjson import read_ndjson
from gristmill.records.validation.rows import Problems, RecordValidator

pytestmark = pytest.mark.promise(4)

VALIDATOR = RecordValidator(
    parse_contract(
        {
            "name": "t",
            "fields": [
                {"name": "id", "type": "text", "required": True},
                {"name": "s", "type": "text"},
                {"name": "n", "type": "integer"},
                {"name": "f", "type": "float", "minimum": -5, "maximum": 5},
                {"name": "d", "type": "decimal"},
                {"name": "j", "type": "json"},
                {"name": "v", "type": "vector", "dimensions": 2},
                {"name": "at", "type": "timestamp", "zone": "Europe/Berlin"},
            ],
            "key": ["id"],
        }
    )
)


def refusals(reader: Reader, body: bytes) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(reader, body)
    return caught.value


def read(reader: Reader, body: bytes) -> None:
    problems = Problems()
    for _ in reader(ReadContext(io.BytesIO(body), VALIDATOR, problems)):
        pass
    problems.raise_if_any()


def second(raw: str) -> tuple[Invalid, Violation]:
    """Return what is said of a record in the second line, the same in NDJSON and in an array but for the line."""
    in_lines = refusals(read_ndjson, f'{{"id":"a"}}\n{raw}\n'.encode("utf-8", "surrogatepass"))
    in_array = refusals(read_json, f'[{{"id":"a"}},\n{raw}]'.encode("utf-8", "surrogatepass"))
    (one,), (other,) = in_lines.violations, in_array.violations
    assert (one.pointer, one.code, one.field, one.line) == (other.pointer, other.code, other.field, 2)
    return in_lines, one


class TestTokens:
    @pytest.mark.parametrize(
        ("field", "token", "code"),
        [
            ("n", "7E+3", "wrong_type"),
            ("n", "1E2", "wrong_type"),
            ("n", "1.0", "wrong_type"),
            ("n", "-0.0", "wrong_type"),
            ("n", "NaN", "wrong_type"),
            ("n", "12345678901234567890", "out_of_range"),
            ("f", "1E2", "out_of_range"),
            ("f", "1e400", "not_finite"),
            ("f", "-1e400", "not_finite"),
            ("f", "-Infinity", "not_finite"),
            ("d", "NaN", "not_finite"),
            ("d", "1.10", "decimal_from_float"),
            ("d", "1e2", "decimal_from_float"),
            ("s", "1e2", "wrong_type"),
            ("at", "1E9", "wrong_type"),
            ("id", "7E+3", "wrong_type"),
        ],
    )
    def test_a_number_is_shown_as_it_was_sent(self, field: str, token: str, code: str) -> None:
        raw = f'{{"id":"b","{field}":{token}}}' if field != "id" else f'{{"id":{token}}}'
        _, violation = second(raw)
        assert (violation.pointer, violation.code, violation.field) == (f"/1/{field}", code, field)
        assert violation.reason.startswith(f"{token} ")

    def test_a_number_within_a_vector_is_shown_as_it_was_sent(self) -> None:
        _, violation = second('{"id":"b","v":[1,1E+39]}')
        assert (violation.pointer, violation.code) == ("/1/v/1", "out_of_range")
        assert "1E+39" in violation.reason

    @given(
        field=st.sampled_from(["s", "n", "f", "d", "at", "id"]),
        token=st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    )
    def test_any_number_that_is_refused(self, field: str, token: str) -> None:
        record = f'{{"id":"b","{field}":{token}}}' if field != "id" else f'{{"id":{token}}}'
        problems = Problems()
        for _ in read_ndjson(ReadContext(io.BytesIO(record.encode()), VALIDATOR, problems)):
            pass
        assume(problems.total)
        (violation,) = problems.violations
        assert (violation.field, violation.line) == (field, 1)
        assert violation.reason.startswith(f"{token} ")

    @pytest.mark.parametrize("digits", [4301, 5000, 60_000])
    def test_a_number_of_very_many_digits_has_its_field(self, digits: int) -> None:
        for field in ("n", "d", "j", "s"):
            error, violation = second(f'{{"id":"b","{field}":{"1" * digits}}}')
            assert type(error) is Invalid
            assert (violation.code, violation.field) == ("out_of_range", field)
            assert f"has {digits} digits" in violation.reason
        _, inside = second(f'{{"id":"b","j":{{"a":[{"1" * digits}]}}}}')
        assert inside.pointer == "/1/j/a/0"

    @pytest.mark.parametrize("half", ["\\ud800", "\\udc00", "a\\udbffb", "\ud800"])
    def test_half_of_a_surrogate_pair_has_its_field(self, half: str) -> None:
        error, violation = second(f'{{"id":"b","s":"{half}"}}')
        assert type(error) is Invalid
        assert (violation.pointer, violation.code, violation.field) == ("/1/s", "bad_unicode", "s")
        assert "half of a surrogate pair" in violation.reason
        violation.reason.encode()
        _, named = second(f'{{"id":"b","j":{{"{half}":1}}}}')
        assert (named.pointer, named.field) == ("/1/j", "j")

    def test_several_places_are_all_named(self) -> None:
        error = refusals(read_ndjson, b'{"id":"b","s":"\\ud800","n":' + b"1" * 5000 + b"}")
        assert sorted((v.field or "", v.code) for v in error.violations) == [
            ("n", "out_of_range"),
            ("s", "bad_unicode"),
        ]

    @pytest.mark.parametrize("cell", ["1E2", "5.5", "-7.", "+1e1", "1e400"])
    def test_a_csv_cell_is_shown_as_it_was_sent(self, cell: str) -> None:
        (violation,) = refusals(read_csv, f"id,f\na,1\nb,{cell}\n".encode()).violations
        assert (violation.line, violation.field) == (3, "f")
        assert violation.reason.startswith(f"{cell} ")

    def test_numbers_within_a_csv_cell_are_shown_as_they_were_sent(self) -> None:
        (violation,) = refusals(read_csv, b'id,v\nb,"[1E0,1E+39]"\n').violations
        assert (violation.pointer, violation.line) == ("/0/v/1", 2)
        assert "1E+39" in violation.reason

    def test_changes_show_what_was_sent(self) -> None:
        with pytest.raises(Invalid) as caught:
            VALIDATOR.validate_changes(b'{"n":7E+3}')
        assert caught.value.violations[0].reason.startswith("7E+3 ")


class TestBroken:
    @pytest.mark.parametrize(
        ("raw", "near"),
        [('{"id":"b","n":01}', "01}"), ('{"id":"b","n":+1}', "+1}"), ("x", '"x"'), ('{"id":"b"', '"b')],
    )
    def test_the_line_is_that_of_the_body_and_the_text_there_is_shown(self, raw: str, near: str) -> None:
        error = refusals(read_ndjson, f'{{"id":"a"}}\n{raw}\n{{"id":"c"}}\n'.encode())
        (violation,) = error.violations
        assert type(error) is Malformed
        assert (violation.record, violation.line, violation.code) == (1, 2, "malformed")
        assert "line 1" not in violation.reason
        assert "at column" in violation.reason
        assert near in json.loads(violation.reason[violation.reason.index('near "') + 5 :]) or near in violation.reason

    def test_within_an_array_the_line_is_that_of_the_record(self) -> None:
        (violation,) = refusals(read_json, b'[{"id":"a"},\n{\n"id":"b",\n"n":01}]').violations
        assert (violation.record, violation.line) == (1, None)
        assert "of the record, column" in violation.reason

    def test_a_json_cell_that_is_none_says_where_within_the_cell(self) -> None:
        (violation,) = refusals(read_csv, b'id,j\na,1\nb,"{""a"":}"\n').violations
        assert (violation.line, violation.field, violation.code) == (3, "j", "not_json")
        assert "line 1" not in violation.reason


MARK = "\ufeff"


class TestByteOrderMarks:
    @pytest.mark.parametrize(
        ("reader", "body", "line"),
        [
            (read_ndjson, f'{MARK}{{"id":"a"}}\n{MARK}{{"id":"b"}}\n', 2),
            (read_ndjson, f'{MARK}{MARK}{{"id":"a"}}\n', 1),
            (read_csv, f"{MARK}id,s\na,b\n{MARK}id,s\nc,d\n", 3),
            (read_csv, f"{MARK}{MARK}id,s\na,b\n", 1),
            (read_json, f'{MARK}{MARK}[{{"id":"a"}}]', None),
            (read_json, f'[{{"id":"a"}},{MARK}{{"id":"b"}}]', None),
        ],
    )
    def test_a_second_one_is_named(self, reader: Reader, body: str, line: int | None) -> None:
        error = refusals(reader, body.encode())
        assert type(error) is Malformed
        assert error.violations[0].line == line
        assert "byte order mark" in error.violations[0].reason

    def test_within_a_text_it_is_a_character(self) -> None:
        for reader, body in (
            (read_ndjson, f'{{"id":"{MARK}a"}}'),
            (read_csv, f'id,s\na,"b\n{MARK}c"\n{MARK[:0]}d,{MARK}\n'),
        ):
            problems = Problems()
            assert sum(
                block.table.num_rows for block in reader(ReadContext(io.BytesIO(body.encode()), VALIDATOR, problems))
            )
            assert not problems.total


class TestCsv:
    @pytest.mark.parametrize(
        ("delimiter", "shown"),
        [(";", "two semicolons: delimiter=;?"), ("\t", "two tabs: delimiter=tab?"), ("|", "delimiter=|?")],
    )
    def test_another_delimiter_is_named(self, delimiter: str, shown: str) -> None:
        body = f"id{delimiter}s{delimiter}f\na{delimiter}b{delimiter}1,5\n".encode()
        (violation,) = refusals(read_csv, body).violations
        assert (violation.code, violation.line) == ("wrong_delimiter", 1)
        assert shown in violation.reason

    @pytest.mark.parametrize(
        ("cell", "field", "value"),
        [
            (".5", "f", 0.5),
            ("5.", "f", 5.0),
            ("+1", "f", 1.0),
            ("-.5e1", "f", -5.0),
            (".5", "d", "0.5"),
            ("5.", "d", "5"),
            ("+1", "d", "1"),
            ("1e2", "d", "100"),
            ("+1", "n", 1),
            ("-0", "n", 0),
        ],
    )
    def test_numbers_as_spreadsheets_write_them(self, cell: str, field: str, value: Any) -> None:
        problems = Problems()
        blocks = list(read_csv(ReadContext(io.BytesIO(f"id,{field}\na,{cell}\n".encode()), VALIDATOR, problems)))
        assert not problems.violations
        assert blocks[0].table.column(field).to_pylist() == [value]

    @pytest.mark.parametrize("cell", ["007", "00.5", "1 000", "1,5", "0x1", ".", "+", "1_0", "\u0661", "--1", "5.e"])
    @pytest.mark.parametrize("field", ["n", "f", "d"])
    def test_what_may_be_a_code_or_no_number_is_refused_in_every_field_of_numbers(self, field: str, cell: str) -> None:
        (violation,) = refusals(read_csv, f'id,{field}\na,"{cell}"\n'.encode()).violations
        assert violation.field == field
        assert cell in violation.reason
