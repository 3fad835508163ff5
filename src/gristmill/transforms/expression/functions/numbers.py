"""Functions of numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.transforms.expression.arithmetic import finite, negate
from gristmill.transforms.expression.decimals import MAX_DIGITS, WIDE, written
from gristmill.transforms.expression.functions.spec import Apply, Function, Parameter, gives, plain
from gristmill.transforms.expression.tree import NoValue
from gristmill.transforms.expression.values import each
from gristmill.transforms.spec import Types

_NUMBERS = ("integer", "float", "decimal")
_NUMBER = Parameter("number", _NUMBERS)


def _scale(value: Any) -> str | None:
    return None if 0 <= value <= MAX_DIGITS else f"it is from 0 to {MAX_DIGITS}"


_PLACES = Parameter("places", ("integer",), constant=True, default=0, check=_scale)


def _same(types: Sequence[str]) -> str:
    return types[0]


def _abs(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
    if types[0] == "decimal":
        return lambda array: each(lambda text: text.removeprefix("-"), [array], "decimal")
    change = negate(types[0])
    assert change is not None

    def apply(array: pa.Array) -> pa.Array:
        negative = pc.less(array, pa.scalar(0, array.type))
        # The others are not negated: the smallest integer alone has no counterpart.
        return pc.if_else(negative, change(pc.if_else(negative, array, pa.scalar(0, array.type))), pc.abs(array))

    return apply


def _round(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
    places = constants["places"]
    if types[0] == "integer":
        return lambda array: array
    if types[0] == "float":
        return lambda array: each(lambda number: float(round(number, places)), [array], "float")
    unit = Decimal(1).scaleb(-places)

    def one(text: str) -> str:
        number = Decimal(text)
        exponent = number.as_tuple().exponent
        assert isinstance(exponent, int)
        return text if -exponent <= places else written(number.quantize(unit, ROUND_HALF_EVEN, WIDE))

    return lambda array: each(one, [array], "decimal")


def _whole(direction: str, of_float: Callable[[float], int]) -> Callable[..., Apply]:
    def make(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
        if types[0] == "integer":
            return lambda array: array
        if types[0] == "float":
            return lambda array: each(lambda number: float(of_float(number)), [array], "float")
        unit = Decimal(1)
        return lambda array: each(
            lambda text: written(Decimal(text).quantize(unit, direction, WIDE)), [array], "decimal"
        )

    return make


def _div(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
    unit = Decimal(1).scaleb(-constants["scale"])

    def one(left: Any, right: Any) -> str:
        divisor = Decimal(right)
        if not divisor:
            raise NoValue("division_by_zero", "the divisor is 0")
        # 400 digits are exact enough that rounding twice makes no difference: a quotient of 76 digits by 76 either
        # ends, or does not stand halfway for so long.
        return written(WIDE.divide(Decimal(left), divisor).quantize(unit, ROUND_HALF_EVEN, WIDE))

    return lambda a, b: each(one, [a, b], "decimal")


def _of_floats(function: Callable[[float], float], valid: Callable[[float], bool], rule: str) -> Apply:
    def one(number: float) -> float:
        if not valid(number):
            raise NoValue("out_of_range", f"{number!r} {rule}")
        try:
            return function(number)
        except OverflowError as error:
            raise NoValue("out_of_range", "the result is beyond the range of floats") from error

    return lambda array: finite(each(one, [array.cast(pa.float64(), safe=False)], "float"))


_REAL = Parameter("number", ("float", "integer"))
FUNCTIONS = [
    Function("abs", [_NUMBER], _same, _abs, "The number without its sign.", [("abs(-3)", 3), ("abs(-0.5)", 0.5)]),
    Function(
        "round", [_NUMBER, _PLACES], _same, _round,
        "The nearest number with so many places behind the point; of two the one whose last digit is even.",
        [("round(2.5)", 2.0), ("round(decimal('2.675'), 2)", "2.68")],
    ),
    Function(
        "floor", [_NUMBER], _same, _whole(ROUND_FLOOR, math.floor), "The largest whole number that is not larger.",
        [("floor(-1.5)", -2.0)],
    ),
    Function(
        "ceiling", [_NUMBER], _same, _whole(ROUND_CEILING, math.ceil), "The smallest whole number that is not smaller.",
        [("ceiling(-1.5)", -1.0)],
    ),
    Function(
        "div",
        [
            Parameter("dividend", ("decimal", "integer")), Parameter("divisor", ("decimal", "integer")),
            Parameter("scale", ("integer",), constant=True, check=_scale),
        ],
        gives("decimal"), _div,
        "The quotient as a decimal with scale places behind the point, the last one rounded to even.",
        [("div(1, 3, 4)", "0.3333"), ("div(decimal('10.00'), 4, 2)", "2.50")],
    ),
    Function(
        "sqrt", [_REAL], gives("float"), plain(_of_floats(math.sqrt, lambda x: x >= 0, "is negative: it has no root")),
        "The square root.", [("sqrt(2.25)", 1.5)],
    ),
    Function(
        "exp", [_REAL], gives("float"), plain(_of_floats(math.exp, lambda x: True, "")), "e to that power.",
        [("exp(0)", 1.0)],
    ),
    Function(
        "ln", [_REAL], gives("float"),
        plain(_of_floats(math.log, lambda x: x > 0, "is not positive: it has no logarithm")),
        "The natural logarithm.", [("ln(1)", 0.0)],
    ),
]  # fmt: skip
