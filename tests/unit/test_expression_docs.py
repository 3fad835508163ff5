"""docs/semantics.md has every function, as GET /functions lists it, and every operator."""

import json
from pathlib import Path

import pytest

from gristmill.transforms.expression.functions import list_functions
from gristmill.transforms.expression.parse import BINARY, COMPARISONS

PAGE = (Path(__file__).parents[2] / "docs" / "semantics.md").read_text()


@pytest.mark.parametrize("function", list_functions(), ids=lambda one: one["name"])
def test_a_function_has_its_row(function: dict) -> None:  # type: ignore[type-arg]
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{function['signature']}` |")]
    assert function["description"] in row
    for example in function["examples"]:
        assert f"`{example['expression']}` → `{json.dumps(example['value'], ensure_ascii=False)}`" in row
    for parameter in function["parameters"]:
        assert f"`{parameter['name']}`: {', '.join(parameter['types'])}" in row


@pytest.mark.parametrize("operator", [*BINARY.values(), *COMPARISONS.values()])
def test_an_operator_is_there(operator: str) -> None:
    table = PAGE.split("## Operators")[1].split("## Functions")[0]
    assert f"`{operator}`" in table or f"`{operator} None`" in table
