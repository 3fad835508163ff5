"""Values of one type that equal values of another: each as the expression that makes it."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.transforms.expression.check import compile_expression
from gristmill.transforms.expression.run import evaluate_frame
from gristmill.transforms.spec import Column, Columns, Failure, StepContext, Types

# (from, to): the value, and the condition under which it equals the one that it is made of.
_WAYS: dict[tuple[str, str], tuple[str, str | None]] = {
    ("integer", "float"): ("float({0})", "float({0}) == {0}"),
    ("integer", "decimal"): ("decimal({0})", None),
    ("float", "integer"): ("integer({0})", "integer({0}) == {0}"),
    # With the digits that it is shown with.
    ("float", "decimal"): ("decimal(text({0}))", None),
    ("decimal", "integer"): ("integer({0})", "integer({0}) == {0}"),
    # The nearest: few decimals equal a float.
    ("decimal", "float"): ("float({0})", None),
    ("boolean", "integer"): ("integer({0})", None),
    ("timestamp", "date"): ("date({0}, {1})", None),
    **{
        (type_, "text"): ("text({0})", None)
        for type_ in ("integer", "float", "decimal", "boolean", "timestamp", "date", "duration", "uuid")
    },
}


def targets_of(type_: str) -> list[str]:
    """Return the names of the types that values of a type may become."""
    return sorted(to for given, to in _WAYS if given == type_)


class Conversion:
    """Makes a column of one of another type."""

    def __init__(self, source: Column, target: Column, zone: str | None, columns: Columns, types: Types) -> None:
        """zone: that of the day that a moment is on. Raises KeyError where there is no way from one to the other."""
        value, exact = _WAYS[source.type, target.type]
        name = f"column({json.dumps(source.name)})"
        self._source, self._target = source, target
        self._text = value.format(source.name, json.dumps(zone or "UTC"))
        self._value = compile_expression(value.format(name, json.dumps(zone or "UTC")), columns, types, "/type")
        self._exact = None if exact is None else compile_expression(exact.format(name), columns, types, "/type")

    def __call__(self, frame: Any, context: StepContext) -> tuple[pa.ChunkedArray, list[Failure]]:
        """Return the values, null for the rows that have none, and the failures of these."""
        values, failures = evaluate_frame(self._value, frame, context, self._text, self._source.name)
        if self._exact is None:
            return values, failures
        exact, _ = evaluate_frame(self._exact, frame, context, self._text, self._source.name)
        unequal = pc.invert(exact).fill_null(False)
        for row in pc.indices_nonzero(unequal).to_pylist():
            reason = f"{frame[self._source.name].iloc[row]} equals no {self._target.type}"
            failures.append(Failure(row, "not_exact", reason, self._source.name))
        return pc.if_else(unequal, pa.scalar(None, values.type), values), failures
