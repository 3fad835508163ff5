"""``unknown_fields`` of contracts: what it adds, how it is changed, and that a contract read back is taken again."""

from typing import Any

import pytest

from gristmill.core.errors import Invalid
from gristmill.datasets.contract import EXTRA_FIELD, Contract, load_contract
from gristmill.datasets.contract_parser import alter_contract, parse_contract
from gristmill.datasets.ddl import record_table

FIELDS = [{"name": "n", "type": "integer", "required": True}, {"name": "note", "type": "text"}]
BODY: dict[str, Any] = {"name": "things", "fields": FIELDS, "key": ["n"]}
EXTRA = {"name": "_extra", "type": "json"}
MODES = ("reject", "ignore", "collect")


def contract(unknown: str | None, **members: Any) -> Contract:
    return parse_contract({**BODY, **({} if unknown is None else {"unknown_fields": unknown}), **members})


def refusal(body: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(Invalid) as error:
        parse_contract(body)
    return error.value.violations[0].pointer, error.value.violations[0].code


class TestParse:
    def test_the_default_says_nothing_in_what_is_stored(self) -> None:
        assert contract(None) == contract("reject")
        assert "unknown_fields" not in contract("reject").as_json()

    @pytest.mark.parametrize("unknown", ["ignore", "collect"])
    def test_others_are_stored_and_read_back(self, unknown: str) -> None:
        stored = contract(unknown).as_json()
        assert stored["unknown_fields"] == unknown
        assert load_contract(stored) == contract(unknown)

    def test_collect_adds_a_json_field_as_the_last(self) -> None:
        made = contract("collect")
        assert [field.name for field in made.fields] == ["n", "note", "_extra"]
        assert made.fields[-1] == EXTRA_FIELD
        assert record_table(made).c["_extra"].nullable
        assert not contract("ignore").has_field("_extra")

    @pytest.mark.parametrize("unknown", MODES)
    def test_a_contract_that_was_read_back_is_taken_again(self, unknown: str) -> None:
        assert parse_contract(contract(unknown).as_json()) == contract(unknown)
        left = alter_contract(contract("collect"), {"unknown_fields": "reject"})
        assert parse_contract(left.as_json()) == left

    def test_it_may_have_members_with_indexes_and_texts_for_people(self) -> None:
        extra = {**EXTRA, "title": "Other", "members": [{"path": "colour", "type": "text"}]}
        assert contract("collect", fields=[*FIELDS, extra]).field("_extra").title == "Other"

    @pytest.mark.parametrize(
        ("extra", "member"),
        [
            ({"name": "_extra", "type": "text"}, "name"),
            ({**EXTRA, "required": True}, "required"),
            ({**EXTRA, "computed": True}, "computed"),
            ({**EXTRA, "default": {"a": 1}}, "default"),
            ({**EXTRA, "enum": [{}]}, "enum"),
        ],
    )
    def test_a_field_of_its_name_that_is_another_is_refused(self, extra: dict[str, Any], member: str) -> None:
        body = {**BODY, "unknown_fields": "collect", "fields": [*FIELDS, extra]}
        assert refusal(body) == (f"/fields/2/{member}", "reserved_name")

    def test_other_values_are_refused_with_the_valid_ones(self) -> None:
        with pytest.raises(Invalid, match=r'"keep" is not one of: reject, ignore or collect'):
            contract("keep")

    def test_input_need_not_list_it_and_steps_do_not_see_it(self) -> None:
        for names in (["n", "note"], ["n", "note", "_extra"]):
            made = contract("collect", input=names)
            assert [field.name for field in made.input_fields] == ["n", "note"]
            assert [field.name for field in made.input_columns] == ["n", "note", "_extra"]
        body = {**BODY, "input": ["n", "note", {"name": "_extra", "type": "json"}]}
        assert refusal(body) == ("/input/2/name", "reserved_name")


class TestAlter:
    @pytest.mark.parametrize("before", MODES)
    @pytest.mark.parametrize("after", MODES)
    def test_each_may_become_each_other(self, before: str, after: str) -> None:
        old = contract(before)
        if before == after:
            with pytest.raises(Invalid, match="changes nothing"):
                alter_contract(old, {"unknown_fields": after})
            return
        new = alter_contract(old, {"unknown_fields": after})
        assert new.unknown_fields == after
        # Records that have members there keep them.
        assert new.has_field("_extra") is ("collect" in (before, after))

    def test_fields_that_are_added_with_it_come_first(self) -> None:
        change = {"unknown_fields": "collect", "add_fields": [{"name": "size", "type": "text"}]}
        new = alter_contract(contract(None, input=["n", "note"]), change)
        assert [field.name for field in new.fields] == ["n", "note", "size", "_extra"]
        assert new.input == ("n", "note", "size")

    def test_it_is_added_once(self) -> None:
        new = contract("collect")
        for unknown in ("ignore", "collect"):
            new = alter_contract(new, {"unknown_fields": unknown})
        assert new == contract("collect")

    def test_its_members_may_get_indexes(self) -> None:
        change = {"alter_fields": [{"name": "_extra", "members": [{"path": "colour", "type": "text"}]}]}
        assert len(alter_contract(contract("collect"), change).field("_extra").members) == 1

    @pytest.mark.parametrize(
        ("change", "pointer", "code"),
        [
            ({"unknown_fields": "keep"}, "/unknown_fields", "unknown_value"),
            ({"unknown_fields": None}, "/unknown_fields", "unknown_value"),
            ({"unknown_fields": ["collect"]}, "/unknown_fields", "unknown_value"),
            ({"add_fields": [EXTRA]}, "/add_fields/0/name", "reserved_name"),
            ({"add_fields": [EXTRA], "unknown_fields": "collect"}, "/add_fields/0/name", "reserved_name"),
        ],
    )
    def test_what_is_no_change_is_named(self, change: Any, pointer: str, code: str) -> None:
        with pytest.raises(Invalid) as error:
            alter_contract(contract(None), change)
        assert (pointer, code) in {(one.pointer, one.code) for one in error.value.violations}

    def test_no_default_can_be_given_to_it(self) -> None:
        with pytest.raises(Invalid, match="not with default"):
            alter_contract(contract("collect"), {"alter_fields": [{"name": "_extra", "default": {}}]})
