"""Expressions: every one equals a plain reading of it, row by row, whatever its columns hold."""

import decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.expressions import FEW, ROW, NoValueHere, expressions, rows, value_of

from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.step_types import bound_types
from gristmill.datasets.types import TYPES
from gristmill.transforms.expression.check import compile_expression
from gristmill.transforms.expression.functions import FUNCTIONS
from gristmill.transforms.expression.run import evaluate
from gristmill.transforms.expression.tree import ARROW
from gristmill.transforms.spec import Column

CONTRACT = parse_contract(
    {"name": "rows", "fields": [{"name": n, "type": t} for n, t in [*ROW.items(), ("meta", "json")]]}
)
KNOWN = bound_types(CONTRACT)
COLUMNS = {field.name: Column(field.name, field.type, ARROW[field.type]) for field in CONTRACT.fields}


def table_of(found: list[dict[str, Any]]) -> pa.Table:
    fields = {field.name: field for field in CONTRACT.fields}
    return pa.table(
        {name: TYPES[type_].to_column(fields[name], [row.get(name) for row in found]) for name, type_ in ROW.items()}
        | {"meta": pa.array([row.get("meta") for row in found], pa.string())}
    )


def results(text: str, found: list[dict[str, Any]]) -> tuple[str, list[Any]]:
    """Return the type of an expression, and the JSON of its value in each row, or the code of what is wrong there."""
    node = compile_expression(text, COLUMNS, KNOWN, "/value")
    table = table_of(found)
    values, errors = evaluate(node, dict(zip(table.column_names, table.columns, strict=True)), len(found))
    shown = (
        KNOWN.shown(Column("value", node.type, ARROW[node.type]), values)
        if node.type != "null"
        else [None] * len(found)
    )
    wrong = {error.row: error.code for error in errors}
    return node.type, [wrong.get(row, value) for row, value in enumerate(shown)]


def expected(text: str, type_: str, row: dict[str, Any]) -> Any:
    try:
        with decimal.localcontext(prec=400):
            value = value_of(text, row)
    except NoValueHere:
        return "no value"
    return TYPES[type_].to_json(value)


class TestReference:
    @pytest.mark.promise(10)
    @settings(max_examples=400)
    @given(data=st.data(), found=st.lists(rows, min_size=1, max_size=12))
    def test_any_expression_equals_its_plain_reading(self, data: st.DataObject, found: list[dict[str, Any]]) -> None:
        type_ = data.draw(st.sampled_from(sorted(FEW)))
        text = data.draw(expressions(type_))
        made, values = results(text, found)
        assert made == type_, text
        for row, value in zip(found, values, strict=True):
            wanted = expected(text, type_, row)
            if wanted == "no value":
                assert value in ("out_of_range", "division_by_zero"), (text, row, value)
            else:
                assert same(value, wanted, type_), (text, row, value, wanted)


def same(value: Any, wanted: Any, type_: str) -> bool:
    if type_ == "decimal" and value is not None and wanted is not None:
        return decimal.Decimal(value) == decimal.Decimal(wanted)
    return type(value) is type(wanted) and bool(value == wanted)


class TestExamples:
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_of_each_function(self, name: str) -> None:
        for text, value in FUNCTIONS[name].examples:
            _, (found,) = results(text, [{}])
            assert (type(found), found) == (type(value), value), text


def test_values_are_carried_as_their_types_carry_them() -> None:
    blank = {"bits", "image", "vector"}
    assert {*ARROW} - {"null"} == {*TYPES} - blank
    for name in TYPES.keys() - blank:
        assert KNOWN.column("x", name).arrow == ARROW[name]
