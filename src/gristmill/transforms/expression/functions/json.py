"""Functions of json fields: a member by its path, as filters name it, seen as one type."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic_core import from_json

from gristmill.transforms.expression.decimals import canonical
from gristmill.transforms.expression.functions.spec import Apply, Function, Parameter, gives
from gristmill.transforms.expression.tree import Refused
from gristmill.transforms.expression.values import each
from gristmill.transforms.spec import StepRefused, Types


def _member(type_: str, seen: Callable[[Any], Any]) -> Callable[..., Apply]:
    def make(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
        try:
            find = known.member(constants["path"])
        except StepRefused as error:
            raise Refused("bad_value", error.violations[0].reason) from error
        return lambda array: each(lambda text: seen(find(from_json(text))), [array], type_)

    return make


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63 else None


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _decimal(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return canonical(Decimal(value) if isinstance(value, int) else Decimal(repr(value)))


_JSON = Parameter("value", ("json",))
_PATH = Parameter("path", ("text",), constant=True)
FUNCTIONS = [
    Function(
        f"json_{type_}", [_JSON, _PATH], gives(type_), _member(type_, seen),
        f"The member at the path if it is {what}, else null. Paths are those of filters: 'address.city'.",
        [],
    )
    for type_, what, seen in (
        ("text", "a string", lambda value: value if isinstance(value, str) else None),
        ("integer", "a number that is written without a fraction, of 64 bits", _integer),
        ("float", "a number", _float),
        ("decimal", "a number, with the digits that it is shown with", _decimal),
        ("boolean", "true or false", lambda value: value if isinstance(value, bool) else None),
    )
]  # fmt: skip
