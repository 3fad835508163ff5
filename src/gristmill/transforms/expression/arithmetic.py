"""The operators + - * / // %, and the sign: of numbers, decimals, moments and texts."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.transforms.expression.decimals import WIDE, written
from gristmill.transforms.expression.tree import ARROW, WIDER, Node, NoValue, Run
from gristmill.transforms.expression.values import check_moments, each, join_texts

Operation = Callable[[pa.Array, pa.Array], pa.Array]
# The types of texts and moments: (operator, left, right) and the result.
_OTHERS = {
    ("+", "text", "text"): "text",
    ("-", "timestamp", "timestamp"): "duration",
    ("-", "date", "date"): "integer",
    ("+", "duration", "duration"): "duration",
    ("-", "duration", "duration"): "duration",
    ("*", "duration", "integer"): "duration",
    ("*", "integer", "duration"): "duration",
    ("+", "timestamp", "duration"): "timestamp",
    ("+", "duration", "timestamp"): "timestamp",
    ("-", "timestamp", "duration"): "timestamp",
    ("+", "date", "integer"): "date",
    ("+", "integer", "date"): "date",
    ("-", "date", "integer"): "date",
}


def result_type(operator: str, left: str, right: str) -> str | None:
    """Return the type of ``left operator right``, None where it has no meaning."""
    return _number(operator, left, right) or _OTHERS.get((operator, left, right))


def _number(operator: str, left: str, right: str) -> str | None:
    type_ = left if left == right else WIDER.get((left, right)) or WIDER.get((right, left))
    if type_ == "decimal":
        # A quotient has no end: div(a, b, scale) says how many places it has.
        return None if operator == "/" else type_
    if type_ in ("integer", "float"):
        return "float" if operator == "/" else type_
    return None


def operation(operator: str, left: str, right: str) -> Operation:
    """Return what computes ``left operator right``, for types that ``result_type`` knows."""
    type_ = result_type(operator, left, right)
    if type_ == "decimal":
        return lambda a, b: _decimals(operator, a, b)
    if type_ == "text":
        return lambda a, b: join_texts([a, b])
    if left in ("integer", "float") and right in ("integer", "float"):
        if type_ == "integer":
            return _INTEGERS[operator]
        if left == right == "float":
            return _FLOATS[operator]
        return lambda a, b: _FLOATS[operator](to_float(a), to_float(b))
    return lambda a, b: _moments(operator, type_ or "", a, b)


def negate(type_: str) -> Callable[[pa.Array], pa.Array] | None:
    """Return what gives numbers of a type the other sign, None for other types."""
    if type_ == "decimal":
        return lambda array: each(lambda text: written(Decimal(text).copy_negate()), [array], "decimal")
    if type_ == "duration":
        return lambda array: _checked(pc.negate_checked, array.cast(pa.int64())).cast(array.type)
    return {"integer": lambda array: _checked(pc.negate_checked, array), "float": pc.negate}.get(type_)


def to_float(array: pa.Array) -> pa.Array:
    """Return integers as the floats nearest to them; floats stay."""
    return array.cast(pa.float64(), safe=False)


def finite(array: pa.Array) -> pa.Array:
    """Return floats. Raises NoValue where one is not finite: no dataset holds such a number."""
    # The sum is finite only if all of them are, and soon made; those of nulls may be anything.
    with np.errstate(all="ignore"):
        quick = np.isfinite(np.frombuffer(array.buffers()[1], np.float64, len(array), 8 * array.offset).sum())
    if not quick and pc.all(pc.is_finite(array), min_count=0).as_py() is False:
        raise NoValue("out_of_range", "the result is beyond the range of floats")
    return array


def _checked(function: Callable[..., pa.Array], *arrays: pa.Array) -> pa.Array:
    try:
        return function(*arrays)
    except pa.ArrowInvalid as error:
        raise NoValue("out_of_range", "the result is beyond 64 bits") from error


def _refuse_zero(dividend: pa.Array, divisor: pa.Array) -> None:
    # Null divided by 0 is null.
    zero = pc.and_(pc.equal(divisor, pa.scalar(0, divisor.type)), dividend.is_valid())
    if pc.any(zero, min_count=0).as_py():
        raise NoValue("division_by_zero", "the divisor is 0")


def _floor_divide(a: pa.Array, b: pa.Array) -> pa.Array:
    _refuse_zero(a, b)
    if pa.types.is_integer(a.type):
        smallest = pc.and_(pc.equal(a, -(2**63)), pc.equal(b, -1))
        if pc.any(smallest, min_count=0).as_py():
            raise NoValue("out_of_range", "the result is beyond 64 bits")
    return _by_numpy(np.floor_divide, a, b)


def _modulo(a: pa.Array, b: pa.Array) -> pa.Array:
    _refuse_zero(a, b)
    return _by_numpy(np.remainder, a, b)


def _by_numpy(function: Callable[..., Any], a: pa.Array, b: pa.Array) -> pa.Array:
    """Return what numpy makes of two columns of numbers, which has Python's meaning of // and %."""
    valid = pc.and_(a.is_valid(), b.is_valid())
    one = pa.scalar(1, a.type)
    left, right = (pc.if_else(valid, array, one).to_numpy(zero_copy_only=False) for array in (a, b))
    with np.errstate(all="ignore"):
        found = function(left, right)
    return pa.array(found, a.type, mask=~valid.to_numpy(zero_copy_only=False))


def _float_divide(a: pa.Array, b: pa.Array) -> pa.Array:
    if isinstance(b, pa.Scalar):
        return finite(pc.divide(a, b))
    _refuse_zero(a, b)
    return finite(pc.if_else(a.is_valid(), pc.divide(a, pc.if_else(pc.equal(b, 0.0), 1.0, b)), None))


_INTEGERS: dict[str, Operation] = {
    "+": lambda a, b: _checked(pc.add_checked, a, b),
    "-": lambda a, b: _checked(pc.subtract_checked, a, b),
    "*": lambda a, b: _checked(pc.multiply_checked, a, b),
    "//": _floor_divide,
    "%": _modulo,
}
_FLOATS: dict[str, Operation] = {
    "+": lambda a, b: finite(pc.add(a, b)),
    "-": lambda a, b: finite(pc.subtract(a, b)),
    "*": lambda a, b: finite(pc.multiply(a, b)),
    "/": _float_divide,
    "//": lambda a, b: finite(_floor_divide(a, b)),
    "%": _modulo,
}


def _decimals(operator: str, a: pa.Array, b: pa.Array) -> pa.Array:
    compute = _OF_DECIMALS[operator]
    return each(lambda left, right: written(compute(Decimal(left), Decimal(right))), [a, b], "decimal")


def floor_division(left: Decimal, right: Decimal) -> Decimal:
    """Return the quotient rounded down, as Python's // does for integers. Raises NoValue for a divisor of 0."""
    if not right:
        raise NoValue("division_by_zero", "the divisor is 0")
    quotient = WIDE.divide_int(left, right)
    exact = WIDE.multiply(quotient, right) == left
    return quotient if exact or (left < 0) == (right < 0) else WIDE.subtract(quotient, Decimal(1))


_OF_DECIMALS: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": WIDE.add,
    "-": WIDE.subtract,
    "*": WIDE.multiply,
    "//": floor_division,
    "%": lambda left, right: WIDE.subtract(left, WIDE.multiply(floor_division(left, right), right)),
}


def _moments(operator: str, type_: str, a: pa.Array, b: pa.Array) -> pa.Array:
    """Return sums and differences of moments, which are integers: microseconds, or days."""
    days = pa.types.is_date(a.type) or pa.types.is_date(b.type)

    def whole(array: pa.Array) -> pa.Array:
        if pa.types.is_date(array.type):
            return array.cast(pa.int32()).cast(pa.int64())
        return array.cast(pa.int64())

    found = _INTEGERS[operator](whole(a), whole(b))
    if type_ in ("date", "timestamp"):
        check_moments(found, days)
    return found.cast(pa.int32()).cast(pa.date32()) if type_ == "date" else found.cast(ARROW[type_])


_TAKE_NUMBERS = [*(_INTEGERS[one] for one in "+-*"), *(_FLOATS[one] for one in "+-*/")]


def run_binary(operate: Operation, left: Node, right: Node) -> Run:
    """Return what computes an operation. A number on the right that is the same for all rows stays one number."""
    if operate not in _TAKE_NUMBERS or left.constant or not right.constant or not right.value:
        return lambda rows: operate(left.run(rows), right.run(rows))
    number = pa.scalar(right.value, ARROW[right.type])
    return lambda rows: operate(left.run(rows), number)
