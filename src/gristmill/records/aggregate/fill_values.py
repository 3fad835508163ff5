"""Reads ``fill``: what buckets without a value get."""

from collections.abc import Sequence
from typing import Any, get_args

from pydantic_core import ValidationError

from gristmill.core.errors import Violation
from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.records.aggregate.measures import COUNTS, Measured
from gristmill.records.aggregate.plan import FillKind
from gristmill.records.aggregate.schemas import AggregateRequest

_KINDS = get_args(FillKind)
_NUMBERS = {"integer": "bigint", "float": "double precision", "decimal": "numeric", "duration": "bigint"}


def read_fill(
    request: AggregateRequest, measures: Sequence[Measured], has_buckets: bool, found: list[Violation]
) -> tuple[FillKind, dict[str, str]]:
    """Return how to fill, and for a value its SQL by the names of the measures."""
    fill = request.fill
    if isinstance(fill, dict) and set(fill) == {"value"}:
        kind: Any = "value"
    elif fill in _KINDS and fill != "value":
        kind = fill
    else:
        reason = f'fill={shorten(fill)} is not one of: none, null, previous, linear, or {{"value": a number}}'
        found.append(Violation("/fill", "unknown_value", reason, field="fill"))
        return "none", {}
    if kind != "none" and not has_buckets and request.fields is None and request.every is None:
        found.append(Violation("/fill", "not_applicable", "fill is for empty buckets: give every", field="fill"))
    values: dict[str, str] = {}
    for one in measures:
        # Of no records there are none: a count is never without a value.
        if one.agg in COUNTS:
            continue
        if kind == "linear" and one.result.type not in ("float", "decimal"):
            reason = f"linear is for floats and decimals, and {one.result.name} is of type {one.result.type}"
            found.append(Violation("/fill", "wrong_type", f"{reason}: take previous, null or a mean", field="fill"))
        elif kind == "value":
            literal = _literal(fill["value"], one.result)
            if isinstance(literal, str):
                values[one.result.name] = literal
            else:
                found.append(literal)
    return kind, values


def _literal(value: Any, result: FieldSpec) -> str | Violation:
    """Return a number as SQL of the type of a measure."""
    kind, pointer = TYPES[result.type], "/fill/value"
    if result.type not in _NUMBERS:
        reason = f"{result.name} is of type {result.type}: only numbers and durations are filled with a value"
        return Violation(pointer, "wrong_type", reason, field="fill")
    plain = FieldSpec(name=result.name, type=result.type)
    try:
        parsed = kind.parse(plain, value)
    except ValidationError as error:
        code, reason = kind.explain(plain, error.errors()[0])
        return Violation(pointer, code, f"fill of {result.name}: {reason}", field="fill")
    text = repr(parsed) if result.type == "float" else format(parsed, "f" if result.type == "decimal" else "d")
    return f"'{text}'::{_NUMBERS[result.type]}"
