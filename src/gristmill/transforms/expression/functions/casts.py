"""Functions that make a value of one type of one of another; what is none has no value."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from gristmill.transforms.expression.arithmetic import to_float
from gristmill.transforms.expression.functions.spec import Apply, Function, Parameter, gives
from gristmill.transforms.expression.literals import read_cell
from gristmill.transforms.expression.tree import NoValue
from gristmill.transforms.expression.values import each
from gristmill.transforms.spec import Column, Types


def _integer(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
    def one(value: Any) -> int:
        if types[0] == "text":
            return _whole(value.strip())
        found = int(Decimal(value)) if types[0] == "decimal" else int(value)
        if not -(2**63) <= found < 2**63:
            raise NoValue("out_of_range", f"{value} is beyond 64 bits")
        return found

    return _unless(types[0], "integer", lambda array: each(one, [array], "integer"))


def _float(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
    if types[0] == "integer":
        return to_float
    return _unless(types[0], "float", lambda array: each(lambda text: _read_float(text.strip()), [array], "float"))


def _decimal(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
    if types[0] == "integer":
        return lambda array: array.cast(pa.string())
    return _unless(
        types[0], "decimal", lambda array: each(lambda text: read_cell(text, "decimal", known), [array], "decimal")
    )


def _from_text(type_: str) -> Callable[..., Apply]:
    def make(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
        return _unless(types[0], type_, lambda array: each(lambda text: read_cell(text, type_, known), [array], type_))

    return make


def _boolean(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
    def one(text: str) -> bool:
        found = {"true": True, "false": False}.get(text.strip())
        if found is None:
            raise NoValue("bad_value", f"{text[:60]!r} is neither true nor false")
        return found

    return _unless(types[0], "boolean", lambda array: each(one, [array], "boolean"))


def _text(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
    type_ = types[0]
    if type_ == "integer":
        return lambda array: array.cast(pa.string())

    def apply(array: pa.Array) -> pa.Array:
        shown = known.shown(Column("value", type_, array.type), array)
        return pa.array([None if value is None else _written(value) for value in shown], pa.string())

    return (lambda array: array) if type_ in ("text", "decimal") else apply


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _unless(given: str, wanted: str, apply: Apply) -> Apply:
    return (lambda array: array) if given == wanted else apply


def _whole(text: str) -> int:
    digits = text.removeprefix("-").removeprefix("+") if text[:2] != "-+" else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 400 or not -(2**63) <= int(text) < 2**63:
        raise NoValue("bad_value", f"{text[:60]!r} is no integer of 64 bits")
    return int(text)


def _read_float(text: str) -> float:
    try:
        # Neither the underscores of Python nor digits of other scripts.
        found = float(text) if text.isascii() and "_" not in text else float("nan")
    except ValueError:
        found = float("nan")
    if not abs(found) < float("inf"):
        raise NoValue("bad_value", f"{text[:60]!r} is no finite number")
    return found


_SHOWN = ("text", "integer", "float", "decimal", "boolean", "timestamp", "date", "duration", "uuid")
FUNCTIONS = [
    Function(
        "integer", [Parameter("value", ("integer", "float", "decimal", "boolean", "text"))], gives("integer"), _integer,
        "The integer: of other numbers without what is behind the point, of a text the one that is written.",
        [("integer(-2.7)", -2), ("integer(' 12 ')", 12), ("integer(True)", 1)],
    ),
    Function(
        "float", [Parameter("value", ("float", "integer", "decimal", "text"))], gives("float"), _float,
        "The nearest float.", [("float('1.5')", 1.5), ("float(decimal('0.1'))", 0.1)],
    ),
    Function(
        "decimal", [Parameter("value", ("decimal", "integer", "text"))], gives("decimal"), _decimal,
        "The decimal, digit by digit. A float is none: decimal(text(x)) takes the digits that it is shown with.",
        [("decimal('12.50')", "12.50"), ("decimal(3)", "3")],
    ),
    Function(
        "text",
        [Parameter("value", _SHOWN)],
        gives("text"), _text, "The value as records show it.",
        [("text(12)", "12"), ("text(True)", "true"), ("text(1e23)", "1e+23")],
    ),
    Function(
        "boolean", [Parameter("value", ("boolean", "text"))], gives("boolean"), _boolean,
        "The truth that the text true or false names.", [("boolean('true')", True)],
    ),
    Function(
        "timestamp", [Parameter("value", ("timestamp", "text"))], gives("timestamp"), _from_text("timestamp"),
        "The moment that is written with an offset.",
        [("timestamp('2026-01-31T12:00:00+01:00')", "2026-01-31T11:00:00Z")],
    ),
    Function(
        "duration", [Parameter("value", ("duration", "text"))], gives("duration"), _from_text("duration"),
        "The length of time that is written as ISO 8601 has it.", [("duration('PT90S')", "PT1M30S")],
    ),
    Function(
        "uuid", [Parameter("value", ("uuid", "text"))], gives("uuid"), _from_text("uuid"), "The UUID that is written.",
        [("uuid('0192F0C2-7D3A-7000-8000-0123456789AB')", "0192f0c2-7d3a-7000-8000-0123456789ab")],
    ),
]  # fmt: skip
