"""Random expressions, and a plain reading of them: one row after the other, in Python's own numbers."""

import ast
import datetime as dt
import math
from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import strategies as st

ROW: dict[str, str] = {
    "i": "integer", "j": "integer", "x": "float", "y": "float", "d": "decimal", "e": "decimal", "s": "text",
    "t": "text", "b": "boolean", "c": "boolean", "day": "date", "at": "timestamp", "span": "duration",
}  # fmt: skip
FEW: dict[str, list[Any]] = {
    "integer": [0, 1, -1, 2, 3, -7, 10, 2**53 + 1, 2**62, 2**63 - 1, -(2**63)],
    "float": [0.0, -0.0, 0.5, -1.5, 3.0, 1e308, -1e-308, 2.0**53, 9007199254740993.0, 1e19, 0.1],
    "decimal": [
        Decimal(text) for text in (
        "12345678901234567890123456789012345678", "0.12345678901234567890123456789012345678",
        "0", "1.5", "1.50", "-0.01", "3", "99999999999999999999.5", "0.3333",
    )],
    "text": ["", "a", "Ab", "1,5", "NA", "null", "straße", "äÄ", " x ", "🌾🌾", "a,b,c"],
    "boolean": [True, False],
    "date": [dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2026, 1, 31), dt.date(1969, 12, 31)],
    "timestamp": [
        dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 31, 23, 30, tzinfo=dt.UTC), dt.datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=dt.UTC),
    ],
    "duration": [0, 1, -1, 90_000_000, 86_400_000_000, 2**63 - 1, -(2**63)],
}  # fmt: skip
_DAY_ZERO = dt.date(1970, 1, 1)
_ZERO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICRO = dt.timedelta(microseconds=1)


class NoValueHere(Exception):
    """The row has no value."""


class Span(int):
    """A duration in microseconds."""


rows = st.fixed_dictionaries({name: st.none() | st.sampled_from(FEW[type_]) for name, type_ in ROW.items()}).map(
    lambda row: {**row, "span": None if row["span"] is None else Span(row["span"])}
)


@cache
def expressions(type_: str, depth: int = 3) -> st.SearchStrategy[str]:
    """Expressions of a type over the columns of ``ROW``."""
    leaves = st.sampled_from([name for name, one in ROW.items() if one == type_]) | _constants(type_)
    if depth == 0:
        return leaves
    of = {name: st.deferred(lambda name=name: expressions(name, depth - 1)) for name in FEW}
    branch = st.tuples(of[type_], of["boolean"], of[type_]).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})")
    first = st.lists(of[type_], min_size=1, max_size=3).map(lambda p: f"coalesce({', '.join(p)})")
    return st.one_of(leaves, *_OF[type_](of), branch, first)


def _constants(type_: str) -> st.SearchStrategy[str]:
    written = {
        "integer": ["0", "1", "-3", "9223372036854775807", "-9223372036854775808"],
        "float": ["0.5", "-2.0", "1e300"],
        "decimal": ["decimal('2.50')", "decimal('-0.1')"],
        "text": ["'a'", "','", "''", "'ä'"],
        "boolean": ["True", "False"],
        "date": ["date('2026-01-31')"],
        "timestamp": ["timestamp('2026-01-31T12:00:00Z')"],
        "duration": ["duration('PT1H')"],
    }
    return st.sampled_from(written[type_])


def _binary(left: Any, operators: str, right: Any) -> st.SearchStrategy[str]:
    return st.tuples(left, st.sampled_from(operators.split()), right).map(lambda p: f"({p[0]} {p[1]} {p[2]})")


def _called(name: str, *arguments: Any) -> st.SearchStrategy[str]:
    return st.tuples(*arguments).map(lambda p: f"{name}({', '.join(p)})")


def _constant(*texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


_OF = {
    "integer": lambda of: [
        _binary(of["integer"], "+ - * // %", of["integer"]), of["integer"].map(lambda one: f"(-{one})"),
        _called("length", of["text"]), _called("integer", of["float"] | of["decimal"] | of["boolean"]),
        _called("abs", of["integer"]), _called("year", of["date"] | of["timestamp"]), _called("weekday", of["date"]),
        _called("hour", of["timestamp"]), _binary(of["date"], "-", of["date"]), _called("microseconds", of["duration"]),
    ],
    "float": lambda of: [
        _binary(of["float"], "+ - * / // %", of["float"] | of["integer"]), _binary(of["integer"], "/", of["integer"]),
        _called("float", of["integer"] | of["decimal"]), _called("abs", of["float"]), _called("floor", of["float"]),
        _called("round", of["float"], _constant("0", "2")), _called("sqrt", of["float"]),
        _called("seconds", of["duration"]),
    ],
    "decimal": lambda of: [
        _binary(of["decimal"], "+ - * // %", of["decimal"] | of["integer"]),
        _called("div", of["decimal"], of["integer"], _constant("0", "5")), _called("decimal", of["integer"]),
        _called("round", of["decimal"], _constant("0", "1")), of["decimal"].map(lambda one: f"(-{one})"),
    ],
    "text": lambda of: [
        _binary(of["text"], "+", of["text"]), _called("lower", of["text"]), _called("upper", of["text"]),
        _called("trim", of["text"]), _called("replace", of["text"], of["text"], of["text"]),
        _called("substring", of["text"], of["integer"], of["integer"]), _called("text", of["integer"] | of["boolean"]),
        _called("split_part", of["text"], of["text"], of["integer"]),
    ],
    "boolean": lambda of: [
        *(_binary(of[name], "< <= > >= == !=", of[name]) for name in ("integer", "float", "decimal", "text", "date")),
        _binary(of["integer"], "< == >=", of["float"] | of["decimal"]),
        _binary(of["boolean"], "and or == !=", of["boolean"]),
        of["boolean"].map(lambda one: f"(not {one})"), of["text"].map(lambda one: f"({one} is None)"),
        of["integer"].map(lambda one: f"({one} is not None)"), of["text"].map(lambda one: f"({one} in ('a', 'NA'))"),
        of["integer"].map(lambda one: f"({one} not in (1, 2.0, -7))"),
        of["integer"].map(lambda one: f"(0 <= {one} < 3)"),
        _called("contains", of["text"], of["text"]), _called("starts_with", of["text"], of["text"]),
    ],
    "date": lambda of: [_binary(of["date"], "+ -", of["integer"]), _called("date", of["timestamp"])],
    "timestamp": lambda of: [_binary(of["timestamp"], "+ -", of["duration"])],
    "duration": lambda of: [
        _binary(of["timestamp"], "-", of["timestamp"]), _binary(of["duration"], "+ -", of["duration"]),
        _binary(of["duration"], "*", of["integer"]),
    ],
}  # fmt: skip


def value_of(text: str, row: dict[str, Any]) -> Any:
    """Return the value of an expression for a row. Raises NoValueHere where it has none."""
    return _value(ast.parse(text, mode="eval").body, row)


def _value(tree: Any, row: dict[str, Any]) -> Any:
    match tree:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return row[name]
        case ast.UnaryOp(ast.Not(), inner):
            found = _value(inner, row)
            return None if found is None else not found
        case ast.UnaryOp(_, ast.Constant(int() | float() as value)):
            return -value
        case ast.UnaryOp(_, inner):
            found = _value(inner, row)
            return None if found is None else _checked(-found, found)
        case ast.BinOp(left, operator, right):
            return _arithmetic(type(operator).__name__, _value(left, row), _value(right, row))
        case ast.BoolOp(operator, parts):
            return _joined(isinstance(operator, ast.Or), parts, row)
        case ast.IfExp(condition, then, otherwise):
            return _value(then if _value(condition, row) is True else otherwise, row)
        case ast.Compare(left, operators, rights):
            return _compared([left, *rights], operators, row)
        case ast.Call(ast.Name("coalesce"), arguments):
            return next((found for one in arguments if (found := _value(one, row)) is not None), None)
        case ast.Call(ast.Name(name), arguments):
            values = [_value(one, row) for one in arguments]
            return None if None in values else _FUNCTIONS[name](*values)
    raise AssertionError(ast.dump(tree))


def _joined(decisive: bool, parts: list[Any], row: dict[str, Any]) -> Any:
    known: bool | None = not decisive
    for part in parts:
        found = _value(part, row)
        if found is decisive:
            return decisive
        known = None if found is None else known
    return known


def _compared(sides: list[Any], operators: list[Any], row: dict[str, Any]) -> Any:
    # All sides are computed, also behind a comparison that is false.
    answers = [
        _compare(left, type(operator).__name__, right, row)
        for left, operator, right in zip(sides, operators, sides[1:], strict=False)
    ]
    return False if False in answers else (None if None in answers else True)


def _compare(left_tree: Any, operator: str, right_tree: Any, row: dict[str, Any]) -> Any:
    left = _value(left_tree, row)
    if operator in ("Is", "IsNot"):
        return (left is None) is (operator == "Is")
    if operator in ("In", "NotIn"):
        if left is None:
            return None if right_tree.elts else operator == "NotIn"
        return (left in [_value(one, row) for one in right_tree.elts]) is (operator == "In")
    right = _value(right_tree, row)
    if left is None or right is None:
        return None
    # Python compares numbers of different kinds exactly, and texts by their code points.
    return {
        "Eq": left == right, "NotEq": left != right, "Lt": left < right, "LtE": left <= right,
        "Gt": left > right, "GtE": left >= right,
    }[operator] if operator not in ("Eq", "NotEq") else (left == right) is (operator == "Eq")  # fmt: skip


def _arithmetic(operator: str, left: Any, right: Any) -> Any:
    if left is None or right is None:
        return None
    if isinstance(left, str):
        return left + right
    if isinstance(left, dt.date | dt.datetime) or isinstance(right, dt.date | dt.datetime):
        return _moments(operator, left, right)
    if Decimal in (type(left), type(right)):
        left, right = Decimal(left), Decimal(right)
    elif float in (type(left), type(right)) or operator == "Div":
        left, right = float(left), float(right)
    if operator in ("Div", "FloorDiv", "Mod") and not right:
        raise NoValueHere
    return _checked(_compute(operator, left, right), Span(0) if isinstance(left, Span) else None)


def _compute(operator: str, left: Any, right: Any) -> Any:
    if isinstance(left, Decimal):
        if operator in ("FloorDiv", "Mod"):
            # By whole numbers: Python's own // of decimals cuts towards zero.
            scale = 10**60
            quotient = int(left * scale) // int(right * scale)
            return Decimal(quotient) if operator == "FloorDiv" else left - quotient * right
        return {"Add": left + right, "Sub": left - right, "Mult": left * right}[operator]
    if operator == "Div":
        return left / right
    if operator == "FloorDiv":
        return left // right
    if operator == "Mod":
        return left % right
    return {"Add": left + right, "Sub": left - right, "Mult": left * right}[operator]


def _checked(value: Any, like: Any) -> Any:
    if isinstance(value, Decimal):
        return _decimal(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NoValueHere
        return value
    if not -(2**63) <= value < 2**63:
        raise NoValueHere
    return Span(value) if isinstance(like, Span) else value


def _decimal(value: Decimal) -> Decimal:
    _, digits, exponent = value.normalize().as_tuple()
    assert isinstance(exponent, int)
    if value and (len(digits) > 38 or -exponent > 38 or len(digits) + exponent > 38):
        raise NoValueHere
    return value


def _moments(operator: str, left: Any, right: Any) -> Any:
    days = isinstance(left if not isinstance(left, int) else right, dt.date) and not isinstance(
        left if not isinstance(left, int) else right, dt.datetime
    )

    def number(value: Any) -> int:
        if isinstance(value, dt.datetime):
            return (value - _ZERO) // _MICRO
        return (value - _DAY_ZERO).days if isinstance(value, dt.date) else int(value)

    both = isinstance(left, dt.date) and isinstance(right, dt.date)
    found = number(left) + number(right) if operator == "Add" else number(left) - number(right)
    if both:
        return found if days else Span(_checked(found, None))
    try:
        return _DAY_ZERO + dt.timedelta(days=found) if days else _ZERO + dt.timedelta(microseconds=found)
    except OverflowError as error:
        raise NoValueHere from error


def _whole(value: Any) -> int:
    return int(_checked(int(value), None))


def _round(value: Any, places: int) -> Any:
    return value if isinstance(value, int) else round(value, places)


def _div(left: Any, right: Any, scale: int) -> Decimal:
    if not right:
        raise NoValueHere
    # Half to even, in whole numbers.
    top, bottom = int(Decimal(left) * 10**60) * 10**scale, int(right) * 10**60
    quotient, rest = divmod(abs(top), abs(bottom))
    quotient += 2 * rest > abs(bottom) or (2 * rest == abs(bottom) and quotient % 2)
    return _decimal(Decimal(quotient if (top < 0) == (bottom < 0) else -quotient).scaleb(-scale))


def _sqrt(value: float) -> float:
    if value < 0:
        raise NoValueHere
    return math.sqrt(value)


def _substring(text: str, start: int, length: int) -> str:
    return "".join(one for place, one in enumerate(text, 1) if place >= start and place - start < length)


def _split_part(text: str, between: str, number: int) -> str | None:
    parts = text.split(between) if between else [text]
    return dict(enumerate(parts, 1)).get(number)


_FUNCTIONS: dict[str, Any] = {
    "length": len, "integer": _whole, "abs": lambda value: _checked(abs(value), None), "year": lambda value: value.year,
    "weekday": lambda value: value.isoweekday(), "hour": lambda value: value.hour, "microseconds": int,
    "float": float, "floor": lambda value: float(math.floor(value)), "round": _round, "sqrt": _sqrt,
    "seconds": lambda value: float(int(value)) / 1e6, "div": _div, "decimal": lambda v: Decimal(v), "lower": str.lower,
    "upper": str.upper, "trim": str.strip, "replace": lambda text, old, new: text.replace(old, new) if old else text,
    "substring": _substring, "split_part": _split_part, "contains": lambda text, part: part in text,
    "starts_with": str.startswith, "text": lambda value: str(value).lower() if isinstance(value, bool) else str(value),
    "date": lambda value: dt.date.fromisoformat(value) if isinstance(value, str) else value.date(),
    "timestamp": lambda value: dt.datetime.fromisoformat(value), "duration": lambda value: Span(3_600_000_000),
}  # fmt: skip
_FUNCTIONS["decimal"] = Decimal
