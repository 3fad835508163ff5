"""Validation of records: every kind of bad value has its code, its place, and a reason that shows the value."""

import json
from typing import Any

import pytest
from pydantic_core import ValidationError

from gristmill.core.errors import Invalid, Malformed, Violation
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.validation.rows import Problems, RecordValidator

FIELDS = [
    {"name": "k", "type": "text", "required": True, "max_length": 5},
    {"name": "t", "type": "text"},
    {"name": "i", "type": "integer"},
    {"name": "f", "type": "float", "minimum": -1, "maximum": 1},
    {"name": "d", "type": "decimal", "precision": 4, "scale": 2},
    {"name": "b", "type": "boolean"},
    {"name": "ts", "type": "timestamp"},
    {"name": "da", "type": "date"},
    {"name": "u", "type": "uuid"},
    {"name": "j", "type": "json"},
    {"name": "v", "type": "vector", "dimensions": 2},
    {"name": "im", "type": "image"},
]
VALIDATOR = RecordValidator(
    parse_contract({"name": "all", "fields": FIELDS, "key": ["k"], "embedding": {"dimensions": 3, "metric": "cosine"}})
)
GOOD = {"k": "a", "_embedding": [1, 0, 0]}


def refused(raw: str | bytes) -> Violation:
    with pytest.raises(ValidationError) as caught:
        VALIDATOR.validate_json(raw.encode() if isinstance(raw, str) else raw)
    violations, total = VALIDATOR.violations(caught.value, "/7", 7, 8)
    assert total == len(violations) == 1, violations
    assert (violations[0].record, violations[0].line) == (7, 8)
    return violations[0]


class TestBadValues:
    @pytest.mark.parametrize(
        ("field", "value", "code", "shown"),
        [
            ("k", "null", "null", "null"),
            ("k", '"abcdef"', "too_long", "abcdef"),
            ("k", "1", "wrong_type", "1"),
            ("t", '"a\\u0000b"', "nul", "a\\u0000b"),
            ("t", json.dumps("x" * 65_537), "too_long", "65536"),
            ("i", "9223372036854775808", "out_of_range", "9223372036854775808"),
            ("i", "1.0", "wrong_type", "1.0"),
            ("i", "true", "wrong_type", "true"),
            ("i", '"1"', "wrong_type", '"1"'),
            ("f", "NaN", "not_finite", ""),
            ("f", "1.5", "out_of_range", "1.5"),
            ("d", "1.5", "decimal_from_float", "1.5"),
            ("d", '"100"', "too_many_digits", "100"),
            ("b", "1", "wrong_type", "true or false"),
            ("ts", '"2026-01-01T00:00:00"', "not_a_timestamp", "offset"),
            ("ts", '"10000-01-01T00:00:00Z"', "not_a_timestamp", "10000"),
            ("ts", '"0001-01-01T00:00:00+01:00"', "out_of_range", "0001"),
            ("ts", "0", "wrong_type", "0"),
            ("da", '"2026-02-30"', "not_a_date", "2026-02-30"),
            ("u", '"abc"', "not_a_uuid", "abc"),
            ("j", '{"a":"\\u0000"}', "nul", ""),
            ("j", "[" * 40 + "]" * 40, "too_deep", ""),
            ("v", "[1]", "wrong_length", "2"),
            ("v", "[1,1e39]", "out_of_range", "1e+39"),
            ("im", '"aGVsbG8="', "not_an_image", "aGVsbG8="),
            ("_embedding", "[0,0,0]", "zero_vector", ""),
            ("_embedding", "[1,2]", "wrong_length", "3"),
            ("_embedding", '["1",2,3]', "wrong_type", ""),
        ],
    )
    def test_the_place_has_a_code_and_shows_the_value(self, field: str, value: str, code: str, shown: str) -> None:
        members = {name: json.dumps(item) for name, item in GOOD.items()} | {field: value}
        violation = refused("{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}")
        assert (violation.field, violation.code) == (field, code), violation
        assert violation.pointer.startswith(f"/7/{field}")
        assert shown in violation.reason

    def test_missing_and_unknown_members(self) -> None:
        assert refused('{"_embedding":null}').code == "missing"
        assert refused('{"k":"a"}').field == "_embedding"
        violation = refused('{"k":"a","_embedding":null,"a/b~c":1}')
        assert (violation.code, violation.pointer) == ("unknown_field", "/7/a~1b~0c")

    def test_long_values_and_names_are_shortened(self) -> None:
        violation = refused(json.dumps({**GOOD, "i": "x" * 10_000}))
        assert len(violation.reason) < 300
        violation = refused(json.dumps({**GOOD, "x" * 10_000: 1}))
        assert len(violation.reason) < 400
        assert len(violation.pointer) < 100

    @pytest.mark.parametrize("raw", ["", "{", "[]", "null", b'{"k":"\xff"}', '{"k":"\\ud800"}', "{}x", "[" * 100_000])
    def test_what_is_no_object_at_all(self, raw: str | bytes) -> None:
        assert refused(raw).code in ("malformed", "wrong_type", "too_deep")


class TestChanges:
    def changes(self, raw: str) -> Any:
        return VALIDATOR.validate_changes(raw.encode())

    def test_only_the_named_members_are_returned(self) -> None:
        assert self.changes('{"i":5,"t":null}') == {"i": 5, "t": None}
        assert self.changes('{"_embedding":[0,1,0]}') == {"_embedding": [0, 1, 0]}
        assert self.changes('{"k":"b"}') == {"k": "b"}

    @pytest.mark.parametrize(
        ("raw", "kind", "code"),
        [
            ("{}", Invalid, "empty"),
            ('{"k":null}', Invalid, "null"),
            ('{"x":1}', Invalid, "unknown_field"),
            ('{"i":"5"}', Invalid, "wrong_type"),
            ('{"i":', Malformed, "malformed"),
            ('{"j":' + "[" * 500 + "]" * 500 + "}", Invalid, "too_deep"),
        ],
    )
    def test_bad_changes(self, raw: str, kind: type[Exception], code: str) -> None:
        with pytest.raises(Invalid) as caught:
            self.changes(raw)
        assert type(caught.value) is kind
        assert caught.value.violations[0].code == code


class TestProblems:
    def test_the_first_hundred_are_listed_and_all_are_counted(self) -> None:
        problems = Problems()
        problems.raise_if_any()
        for record in range(250):
            problems.add(Violation(f"/{record}/i", "wrong_type", "is wrong", record))
        with pytest.raises(Invalid, match="250 errors, the first in record 0") as caught:
            problems.raise_if_any()
        body = caught.value.problem()
        assert (len(body["errors"]), body["errors_total"]) == (100, 250)
