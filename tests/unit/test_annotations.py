"""Title, description, unit, enum and default of contracts: what is valid, and what a change may do."""

from typing import Any

import pytest

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import alter_contract, load_contract, parse_contract
from gristmill.datasets.ddl import record_table
from gristmill.records.validation.rows import RecordValidator

COLOURS = {
    "name": "paint",
    "title": "Paint",
    "description": "What is in the store",
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "colour", "type": "text", "required": True, "enum": ["red", "blue"], "default": "red"},
        {"name": "litres", "type": "decimal", "unit": "l", "title": "Volume", "enum": ["1.0", "2.5"]},
        {"name": "more", "type": "json", "default": {"coats": [1, None]}},
    ],
    "key": ["id"],
}
OLD = parse_contract(COLOURS)


def one_field(**limits: Any) -> dict[str, Any]:
    return {"name": "d", "fields": [{"name": "x", "type": "text", **limits}]}


def change(name: str, **members: Any) -> dict[str, Any]:
    return {"alter_fields": [{"name": name, **members}]}


def places(error: Invalid) -> list[tuple[str, str]]:
    return [(violation.pointer, violation.code) for violation in error.violations]


class TestContract:
    def test_it_comes_back_as_it_was_written(self) -> None:
        stored = OLD.as_json()
        assert {name: stored[name] for name in ("title", "description")} == {
            "title": "Paint",
            "description": "What is in the store",
        }
        assert stored["fields"][1] | {"filterable": False} == {**COLOURS["fields"][1], "filterable": False}  # type: ignore[index]
        assert stored["fields"][3]["default"] == {"coats": [1, None]}
        assert load_contract(stored) == OLD
        assert hash(load_contract(stored)) == hash(OLD)

    def test_without_them_a_stored_contract_says_nothing_that_the_release_before_does_not_know(self) -> None:
        stored = parse_contract(one_field()).as_json()
        assert not {"title", "description"} & stored.keys()
        assert not {"title", "description", "unit", "enum", "default"} & stored["fields"][0].keys()

    def test_the_columns_of_the_table_say_it_too(self) -> None:
        assert record_table(OLD).c.litres.comment == "Volume\nUnit: l"
        assert record_table(OLD).c.id.comment is None

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (one_field(title="a\0"), [("/fields/0/title", "nul")]),
            (one_field(unit="m" * 51), [("/fields/0/unit", "too_long")]),
            (one_field(description=1), [("/fields/0/description", "wrong_type")]),
            ({**one_field(), "description": "d" * 10_001}, [("/description", "too_long")]),
            (one_field(enum=[]), [("/fields/0/enum", "empty")]),
            (one_field(enum="a"), [("/fields/0/enum", "wrong_type")]),
            (one_field(enum=[str(n) for n in range(1001)]), [("/fields/0/enum", "too_many")]),
            (one_field(enum=["a", 1, None]), [("/fields/0/enum/1", "wrong_type"), ("/fields/0/enum/2", "null")]),
            (one_field(enum=["a", "b", "a"]), [("/fields/0/enum/2", "duplicate")]),
            (one_field(enum=["abc"], max_length=2), [("/fields/0/enum/0", "too_long")]),
            (one_field(type="decimal", enum=["1", "1.0"]), [("/fields/0/enum/1", "duplicate")]),
            (one_field(type="json", enum=[1]), [("/fields/0/enum", "not_applicable")]),
            (one_field(default=1), [("/fields/0/default", "wrong_type")]),
            (one_field(default="c", enum=["a"]), [("/fields/0/default", "not_in_enum")]),
            (one_field(type="integer", default=3, maximum=2), [("/fields/0/default", "out_of_range")]),
            (one_field(type="image", default="iVBORw0KGgo="), [("/fields/0/default", "not_applicable")]),
            (one_field(type="vector", dimensions=1, default=[1]), [("/fields/0/default", "not_applicable")]),
            (one_field(type="json", default=["x" * 1024]), [("/fields/0/default", "too_long")]),
        ],
    )
    def test_what_does_not_fit_is_refused_where_it_stands(self, body: Any, expected: list[tuple[str, str]]) -> None:
        with pytest.raises(Invalid) as caught:
            parse_contract(body)
        assert places(caught.value) == expected


class TestRecords:
    def test_a_default_is_for_what_is_absent_and_not_for_null(self) -> None:
        validator = RecordValidator(OLD)
        assert validator.validate_json(b'{"id": 1}') == {
            "id": 1,
            "colour": "red",
            "litres": None,
            "more": {"coats": [1, None]},
        }
        assert validator.validate_json(b'{"id": 1, "more": null}')["more"] is None
        with pytest.raises(ValueError, match="colour"):
            validator.validate_json(b'{"id": 1, "colour": null}')

    def test_changes_of_a_record_have_no_defaults_and_keep_to_the_enum(self) -> None:
        validator = RecordValidator(OLD)
        assert validator.validate_changes(b'{"litres": "1"}').keys() == {"litres"}
        with pytest.raises(Invalid) as caught:
            validator.validate_changes(b'{"colour": "green"}')
        assert places(caught.value) == [("/colour", "not_in_enum")]
        assert caught.value.violations[0].reason.endswith('"green" is none of the values that are allowed: '
                                                          'expected one of: "red", "blue"')  # fmt: skip

    def test_defaults_that_python_takes_for_equal_are_kept_apart(self) -> None:
        one, yes = (parse_contract(one_field(type="json", default=value)) for value in (1, True))
        assert one != yes
        assert RecordValidator(yes).validate_json(b"{}")["x"] is True


class TestAlter:
    @pytest.mark.parametrize(
        ("body", "field", "expected"),
        [
            (change("colour", enum=["blue", "green", "red"]), "colour", {"enum": ("blue", "green", "red")}),
            (change("colour", enum=None), "colour", {"enum": None, "default": "red"}),
            (change("colour", default="blue"), "colour", {"default": "blue"}),
            (change("colour", default=None), "colour", {"default": None, "required": True}),
            (change("litres", title=None, unit="litre"), "litres", {"title": None, "unit": "litre"}),
            (change("litres", enum=["2.50", "1", "9"]), "litres", {"enum": ("2.50", "1", "9")}),
            (change("id", description="counted"), "id", {"description": "counted"}),
        ],
    )
    def test_what_leaves_records_valid_is_taken(self, body: Any, field: str, expected: dict[str, Any]) -> None:
        found = alter_contract(OLD, body).field(field)
        assert {name: getattr(found, name) for name in expected} == expected

    def test_the_texts_of_the_dataset_are_set_and_removed(self) -> None:
        new = alter_contract(OLD, {"title": None, "description": "Another"})
        assert (new.title, new.description, new.fields) == (None, "Another", OLD.fields)

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({"title": 1}, "/title", "wrong_type"),
            ({"description": "\0"}, "/description", "nul"),
            (change("colour", enum=["red"]), "/alter_fields/0/enum", "not_a_widening"),
            (change("id", enum=[1]), "/alter_fields/0/enum", "not_a_widening"),
            (change("colour", default="green"), "/alter_fields/0/default", "not_in_enum"),
            (change("colour", title="\0"), "/alter_fields/0/title", "nul"),
            (
                {"add_fields": [{"name": "n", "type": "integer", "required": True, "default": 1}]},
                "/add_fields/0/required",
                "not_a_widening",
            ),
        ],
    )
    def test_anything_else_is_refused(self, body: Any, pointer: str, code: str) -> None:
        with pytest.raises(Invalid) as caught:
            alter_contract(OLD, body)
        assert places(caught.value) == [(pointer, code)]

    def test_what_is_left_of_an_enum_is_named(self) -> None:
        with pytest.raises(Invalid, match='enum lacks "blue", which records may have'):
            alter_contract(OLD, change("colour", enum=["red"]))
