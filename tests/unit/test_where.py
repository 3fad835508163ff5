"""The filter language: what is refused, where; and that values never become part of the statement."""

from typing import Any

import pytest
from sqlalchemy.dialects import postgresql

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.where import MAX_CONDITIONS, MAX_DEPTH, MAX_IN, compile_where

CONTRACT = parse_contract(
    {
        "name": "d",
        "fields": [
            {"name": "i", "type": "integer", "maximum": 10},
            {"name": "t", "type": "text", "max_length": 3},
            {"name": "b", "type": "boolean"},
            {"name": "at", "type": "timestamp"},
            {"name": "m", "type": "decimal", "precision": 4, "scale": 1},
            {
                "name": "j",
                "type": "json",
                "members": [
                    {"path": "n", "type": "number"},
                    {"path": "t", "type": "text"},
                    {"path": "b", "type": "boolean"},
                ],
            },
        ],
    }
)
TABLE = record_table(CONTRACT)


def sql(where: Any) -> str:
    return str(compile_where(where, CONTRACT, TABLE).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("where", "pointer", "code"),
    [
        ([], "/where", "wrong_type"),
        ("i = 1", "/where", "wrong_type"),
        ({"x": 1}, "/where/x", "unknown_field"),
        ({"a/b~c": 1}, "/where/a~1b~0c", "unknown_field"),
        ({"_id": 1}, "/where/_id", "unknown_field"),
        ({"i": "1"}, "/where/i", "wrong_type"),
        ({"i": [1]}, "/where/i", "wrong_type"),
        ({"i": None}, "/where/i", "null"),
        ({"i": {}}, "/where/i", "missing"),
        ({"i": {"eq": 1.5}}, "/where/i/eq", "wrong_type"),
        ({"i": {"eq": 2**63}}, "/where/i/eq", "out_of_range"),
        ({"i": {"like": 1}}, "/where/i/like", "unknown_operator"),
        ({"i": {"prefix": "1"}}, "/where/i/prefix", "unknown_operator"),
        ({"i": {"in": 1}}, "/where/i/in", "wrong_type"),
        ({"i": {"in": [1, None]}}, "/where/i/in/1", "null"),
        ({"i": {"in": [1, "2"]}}, "/where/i/in/1", "wrong_type"),
        ({"i": {"in": list(range(MAX_IN + 1))}}, "/where/i/in", "wrong_type"),
        ({"i": {"between": [1]}}, "/where/i/between", "wrong_type"),
        ({"i": {"between": [1, "2"]}}, "/where/i/between/1", "wrong_type"),
        ({"i": {"null": 1}}, "/where/i/null", "wrong_type"),
        ({"t": "a\0"}, "/where/t", "nul"),
        ({"t": {"prefix": 1}}, "/where/t/prefix", "wrong_type"),
        ({"t": {"prefix": "a\0"}}, "/where/t/prefix", "nul"),
        ({"t": "\ud800"}, "/where/t", "bad_unicode"),
        ({"b": {"lt": True}}, "/where/b/lt", "unknown_operator"),
        ({"at": {"ge": "2026-01-01"}}, "/where/at/ge", "not_a_timestamp"),
        ({"m": 1.5}, "/where/m", "decimal_from_float"),
        ({"j": {"eq": 1}}, "/where/j/eq", "unknown_operator"),
        ({"j": {"a": 1}}, "/where/j/a", "unknown_operator"),
        ({"j": 1}, "/where/j", "unknown_operator"),
        ({"j": {"contains": None}}, "/where/j/contains", "null"),
        ({"j.x": None}, "/where/j.x", "null"),
        ({"j.x": {"like": "a"}}, "/where/j.x/like", "unknown_operator"),
        ({"j.x": {"lt": True}}, "/where/j.x/lt", "wrong_type"),
        ({"j.x": {"ge": [1]}}, "/where/j.x/ge", "wrong_type"),
        ({"j.x": {"between": [1, "a"]}}, "/where/j.x/between", "wrong_type"),
        ({"j.x": {"in": [1, []]}}, "/where/j.x/in/1", "wrong_type"),
        ({"j.x": {"icontains": 1}}, "/where/j.x/icontains", "wrong_type"),
        ({"j.x": "a\0"}, "/where/j.x", "nul"),
        ({"j.x": "\ud800"}, "/where/j.x", "bad_unicode"),
        ({"j.x": {"eq": {"a": [2**4000]}}}, "/where/j.x/eq", "out_of_range"),
        ({"j.n": "1"}, "/where/j.n", "wrong_type"),
        ({"j.n": {"in": [1, "a"]}}, "/where/j.n/in/1", "wrong_type"),
        ({"j.n": {"contains": 1}}, "/where/j.n/contains", "unknown_operator"),
        ({"j.t": {"contains": ["a"]}}, "/where/j.t/contains", "wrong_type"),
        ({"j.b": {"ge": True}}, "/where/j.b/ge", "unknown_operator"),
        ({"j.x\\": 1}, "/where/j.x\\", "bad_path"),
        ({"j.\0": 1}, "/where/j.\0", "bad_path"),
        ({"j.\ud800": 1}, "/where/j.\ud800", "bad_path"),
        ({"j" + ".a" * 33: 1}, "/where/j" + ".a" * 33, "bad_path"),
        ({"t.x": 1}, "/where/t.x", "unknown_field"),
        ({"x.j": 1}, "/where/x.j", "unknown_field"),
        ({"t": {"contains": 1}}, "/where/t/contains", "wrong_type"),
        ({"i": {"starts_with": "1"}}, "/where/i/starts_with", "unknown_operator"),
        ({"and": {}}, "/where/and", "wrong_type"),
        ({"or": []}, "/where/or", "wrong_type"),
        ({"or": [{"i": 1}, 5]}, "/where/or/1", "wrong_type"),
        ({"not": [{"i": 1}]}, "/where/not", "wrong_type"),
    ],
)
def test_a_bad_filter_is_refused_where_it_is_wrong(where: Any, pointer: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        sql(where)
    assert [(place.pointer, place.code) for place in caught.value.violations] == [(pointer, code)]


def test_every_mistake_is_named_in_one_answer() -> None:
    with pytest.raises(Invalid) as caught:
        sql({"x": 1, "or": [{"i": "1"}, {"not": {"t": 5}}]})
    assert [place.pointer for place in caught.value.violations] == ["/where/x", "/where/or/0/i", "/where/or/1/not/t"]


def test_nesting_is_bounded() -> None:
    where: dict[str, Any] = {"i": 1}
    for _ in range(MAX_DEPTH - 1):
        where = {"not": where}
    sql(where)
    with pytest.raises(Invalid, match="deeper"):
        sql({"not": where})


def test_conditions_are_bounded() -> None:
    sql({"or": [{"i": 1}] * MAX_CONDITIONS})
    with pytest.raises(Invalid) as caught:
        sql({"or": [{"i": 1}] * (MAX_CONDITIONS + 50)})
    assert [place.code for place in caught.value.violations] == ["too_many"]


@pytest.mark.parametrize("where", [None, {}])
def test_an_empty_filter_matches_everything(where: Any) -> None:
    assert sql(where) == "true"


def test_values_are_bound_and_never_part_of_the_statement() -> None:
    evil = "x' OR 1=1 --"
    text = {"in": [evil], "prefix": evil, "ne": evil, "contains": evil, "icontains": evil}
    members = {f"j.{evil}": {**text, "eq": [evil], "lt": evil}, "j.t": text, "j": {"contains": {evil: evil}}}
    compiled = compile_where({"t": text, **members}, CONTRACT, TABLE)
    assert evil not in str(compiled.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def test_limits_of_the_field_do_not_bind_the_filter() -> None:
    sql({"i": {"lt": 100}, "t": {"ne": "longer than three"}, "m": {"lt": "1234567.123"}})


@pytest.mark.parametrize(
    ("members", "pointer", "code"),
    [
        ([{"path": "a\\", "type": "text"}], "/fields/0/members/0/path", "bad_path"),
        ([{"path": "a", "type": "text"}, {"path": "a", "type": "number"}], "/fields/0/members/1/path", "duplicate"),
        ([{"path": "a", "type": "integer"}], "/fields/0/members/0/type", "unknown_value"),
        ([{"path": "a"}], "/fields/0/members/0/type", "missing"),
        ([{"path": str(place), "type": "text"} for place in range(17)], "/fields/0/members", "too_many"),
        ("a", "/fields/0/members", "wrong_type"),
    ],
)
def test_bad_declarations_of_members_are_refused(members: Any, pointer: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_contract({"name": "d", "fields": [{"name": "j", "type": "json", "members": members}]})
    assert [(place.pointer, place.code) for place in caught.value.violations] == [(pointer, code)]


def test_members_are_declared_on_json_fields_alone() -> None:
    body = {"name": "d", "fields": [{"name": "t", "type": "text", "members": [{"path": "a", "type": "text"}]}]}
    with pytest.raises(Invalid) as caught:
        parse_contract(body)
    assert [(place.pointer, place.code) for place in caught.value.violations] == [
        ("/fields/0/members", "not_applicable")
    ]
