"""derive and filter by a condition, as steps of a contract: columns, types, and records that have no value."""

from typing import Any

import pytest
from tests.support.steps import STEPS

from gristmill.core.errors import Invalid
from gristmill.datasets.contract import Contract
from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.records.columns import to_table
from gristmill.transforms.run import Transformed, run
from gristmill.transforms.spec import StepContext

FIELDS = [
    {"name": "n", "type": "integer", "required": True},
    {"name": "value", "type": "float", "computed": True},
    {"name": "label", "type": "text", "computed": True},
]
BODY: dict[str, Any] = {
    "name": "readings",
    "input": ["n", {"name": "raw", "type": "text"}],
    "fields": FIELDS,
    "key": ["n"],
}
VALUE = {"op": "derive", "as": "value", "value": "float(replace(raw, ',', '.'))"}
LABEL = {"op": "derive", "as": "label", "value": "'high' if value > 10 else 'low'"}


def contract_of(*pipeline: dict[str, Any], **body: Any) -> Contract:
    return parse_contract({**BODY, "pipeline": list(pipeline), **body}, steps=STEPS)


def transformed(contract: Contract, *raw: str | None) -> Transformed:
    rows = [{"n": n, "raw": text} for n, text in enumerate(raw)]
    return run(bind_pipeline(contract, STEPS), to_table(contract.input_columns, rows), StepContext())


def refused(*pipeline: dict[str, Any], **body: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        contract_of(*pipeline, **body)
    return [(violation.pointer, violation.code) for violation in caught.value.violations]


class TestDerive:
    def test_columns_follow_from_columns(self) -> None:
        made = transformed(contract_of(VALUE, LABEL), "1,5", " 12 ", None)
        assert made.table.column("value").to_pylist() == [1.5, 12.0, None]
        assert made.table.column("label").to_pylist() == ["low", "high", "low"]

    def test_a_record_without_a_value_fails_alone_with_its_reason(self) -> None:
        made = transformed(contract_of(VALUE, LABEL), "1", "x", "3", "nan")
        assert made.table.column("n").to_pylist() == [0, 2]
        assert [(one.record, one.step, one.code, one.field) for one in made.failed] == [
            (1, (0, "derive"), "bad_value", "value"),
            (3, (0, "derive"), "bad_value", "value"),
        ]
        assert "'x' is no finite number" in made.failed[0].reason

    def test_an_integer_fits_a_float(self) -> None:
        contract = contract_of({"op": "derive", "as": "value", "value": "length(raw)"}, LABEL)
        assert transformed(contract, "abc").table.column("value").to_pylist() == [3]

    def test_a_column_may_be_replaced_by_what_reads_it(self) -> None:
        again = {"op": "derive", "as": "raw", "value": "trim(raw)"}
        made = transformed(contract_of(again, VALUE, LABEL), "  1 ")
        assert made.table.column("value").to_pylist() == [1.0]


class TestFilter:
    def test_a_condition_says_which_records_stay(self) -> None:
        contract = contract_of(VALUE, LABEL, {"op": "filter", "condition": "value / 2 >= 1 and label == 'low'"})
        made = transformed(contract, "1", "2", "20", None, "4")
        assert made.table.column("n").to_pylist() == [1, 4]
        assert (made.origins.tolist(), list(made.failed)) == ([1, 4], [])

    def test_a_record_without_a_value_fails_and_is_not_dropped(self) -> None:
        contract = contract_of(VALUE, LABEL, {"op": "filter", "condition": "1 / value > 0.4"})
        made = transformed(contract, "0", "2", "5", "0")
        assert made.table.column("n").to_pylist() == [1]
        assert [(one.record, one.code) for one in made.failed] == [(0, "division_by_zero"), (3, "division_by_zero")]


class TestRefused:
    @pytest.mark.parametrize(
        ("step", "place"),
        [
            ({"op": "derive", "as": "value", "value": "float(row)"}, ("/pipeline/0/value", "unknown_column")),
            ({"op": "derive", "as": "value", "value": "raw +"}, ("/pipeline/0/value", "syntax")),
            ({"op": "derive", "as": "value", "value": "None"}, ("/pipeline/0/value", "wrong_type")),
            ({"op": "derive", "as": "value"}, ("/pipeline/0/value", "missing")),
            ({"op": "derive", "as": "value", "value": 1}, ("/pipeline/0/value", "wrong_type")),
            ({"op": "derive", "as": "value", "value": "raw"}, ("/pipeline/1/value", "wrong_type")),
            ({"op": "derive", "as": "n", "value": "n + 1"}, ("/pipeline/0", "key_field")),
            ({"op": "derive", "as": "_seq", "value": "n"}, ("/pipeline/0", "reserved_name")),
            ({"op": "filter"}, ("/pipeline/0/where", "missing")),
            ({"op": "filter", "where": {}, "condition": "True"}, ("/pipeline/0/where", "not_applicable")),
            ({"op": "filter", "condition": "n"}, ("/pipeline/0/condition", "wrong_type")),
        ],
    )
    def test_a_step_that_does_not_fit(self, step: dict[str, Any], place: tuple[str, str]) -> None:
        assert place in refused(step, LABEL if step.get("as") == "value" and "value" in step else VALUE)

    def test_the_reason_shows_what_there_is(self) -> None:
        with pytest.raises(Invalid, match=r"did you mean raw.*n, raw"):
            contract_of({**VALUE, "value": "float(rw)"})
        with pytest.raises(Invalid, match=r"did you mean floor\?"):
            contract_of({**VALUE, "value": "floot(raw)"})
        with pytest.raises(Invalid, match=r"at character 8"):
            contract_of({**VALUE, "value": "length(\u00e4)"})
