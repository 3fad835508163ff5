"""Orders and keyset predicates as SQL: which ones are a single range of an index."""

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.ddl import record_table
from gristmill.records.read.keyset import Term, after, parse_order

CONTRACT = parse_contract(
    {
        "name": "things",
        "fields": [
            {"name": "shelf", "type": "text", "required": True},
            {"name": "place", "type": "integer", "required": True},
            {"name": "note", "type": "text"},
            {"name": "extra", "type": "json"},
        ],
        "key": ["shelf", "place"],
    }
)
TABLE = record_table(CONTRACT)


def sql(condition: sa.ColumnElement[bool]) -> str:
    compiled = condition.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    return str(compiled).replace("data.things.", "")


class TestOrder:
    def test_the_key_completes_every_order_in_the_direction_of_its_last_field(self) -> None:
        assert parse_order(None, CONTRACT) == (Term("shelf"), Term("place"))
        assert parse_order("-note", CONTRACT) == (Term("note", True, True), Term("shelf", True), Term("place", True))
        assert parse_order("-place,shelf", CONTRACT) == (Term("place", True), Term("shelf"))

    def test_without_a_key_the_place_of_submission_completes_it(self) -> None:
        unkeyed = CONTRACT.model_copy(update={"key": ()})
        assert parse_order("note", unkeyed) == (Term("note", False, True), Term("_seq"), Term("_ord"))

    def test_every_mistake_is_named(self) -> None:
        with pytest.raises(Invalid) as caught:
            parse_order("colour,extra,note,-note,_id", CONTRACT)
        assert [violation.field for violation in caught.value.violations] == ["colour", "extra", "note", "_id"]


class TestAfter:
    def test_one_direction_without_nulls_is_a_row_comparison(self) -> None:
        assert sql(after(parse_order(None, CONTRACT), ["a", 1], TABLE)) == "(shelf, place) > ('a', 1)"
        descending = parse_order("-shelf", CONTRACT)
        assert sql(after(descending, ["a", 1], TABLE)) == "(shelf, place) < ('a', 1)"

    def test_mixed_directions_are_spelt_out(self) -> None:
        condition = sql(after(parse_order("-place,shelf", CONTRACT), [1, "a"], TABLE))
        assert condition == "place < 1 OR place = 1 AND shelf > 'a'"

    def test_nulls_come_last_when_ascending(self) -> None:
        terms = (Term("note", False, True), Term("place"))
        assert sql(after(terms, ["x", 1], TABLE)) == "note > 'x' OR note IS NULL OR note = 'x' AND place > 1"
        assert sql(after(terms, [None, 1], TABLE)) == "note IS NULL AND place > 1"

    def test_nulls_come_first_when_descending(self) -> None:
        terms = (Term("note", True, True), Term("place", True))
        assert sql(after(terms, [None, 1], TABLE)) == "note IS NOT NULL OR note IS NULL AND place < 1"
        assert sql(after(terms, ["x", 1], TABLE)) == "note < 'x' OR note = 'x' AND place < 1"
