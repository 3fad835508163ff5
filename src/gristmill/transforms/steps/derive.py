"""``derive``: a column becomes the value of an expression.

{"op": "derive", "as": "celsius", "value": "round((fahrenheit - 32) / 1.8, 1)"}
"""

from typing import Any

from pydantic import Field

from gristmill.core.errors import Violation
from gristmill.transforms.expression.check import compile_expression
from gristmill.transforms.expression.parse import names_in
from gristmill.transforms.expression.run import evaluate_frame
from gristmill.transforms.expression.tree import NULL
from gristmill.transforms.run import set_column
from gristmill.transforms.schema_rules import check_target
from gristmill.transforms.spec import (
    Column,
    Columns,
    Example,
    Output,
    Parameters,
    StepContext,
    StepKind,
    StepRefused,
    Transform,
    Types,
)


class Derive(Parameters):
    """Parameters of ``derive``."""

    as_: str = Field(alias="as", description="The column that gets the values; one that is there is replaced.")
    value: str = Field(description="The [expression](semantics.md) over the columns that are there at this step.")


def _schema(step: Derive, columns: Columns, types: Types) -> Columns:
    check_target(step.as_, "/as")
    node = compile_expression(step.value, columns, types, "/value")
    if node.type == NULL:
        reason = f"{step.value[:60]} is always null: the type of {step.as_} is not known"
        raise StepRefused(Violation("/value", "wrong_type", reason, field="value"))
    return {**columns, step.as_: Column(step.as_, node.type, types.column(step.as_, node.type).arrow)}


def _make(step: Derive, columns: Columns, types: Types) -> Transform:
    node = compile_expression(step.value, columns, types, "/value")

    def transform(frame: Any, context: StepContext) -> Output:
        values, failures = evaluate_frame(node, frame, context, step.value, step.as_)
        return Output(set_column(frame, step.as_, values), None, failures)

    return transform


DERIVE = StepKind(
    "derive",
    Derive,
    _schema,
    _make,
    reads=lambda step: names_in(step.value),
    writes=lambda step: frozenset({step.as_}),
    description=(
        "Computes a column. The type of the expression is that of the column. A record for which it has no value, as "
        "when it divides by zero, does not fit; the reason names the expression."
    ),
    examples=[
        Example(
            {"op": "derive", "as": "celsius", "value": "round((fahrenheit - 32) / 1.8, 1)"},
            {"fahrenheit": "integer"},
            [{"fahrenheit": 70}, {"fahrenheit": None}],
            [{"fahrenheit": 70, "celsius": 21.1}, {"fahrenheit": None, "celsius": None}],
        )
    ],
)
