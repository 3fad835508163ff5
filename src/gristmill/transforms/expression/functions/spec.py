"""What a function of expressions is: its parameters, the type that it gives, and how columns go through it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gristmill.transforms.spec import Types

Apply = Callable[..., pa.Array]


@dataclass(frozen=True, slots=True)
class Parameter:
    """types: those that are taken. constant: it has to be written out, the same for all rows. default: what it is where
    it is left out; None: it cannot be. check: says what is wrong with a constant, or None."""

    name: str
    types: Sequence[str]
    constant: bool = False
    default: Any = None
    check: Callable[[Any], str | None] = lambda value: None


@dataclass(frozen=True, slots=True)
class Function:
    """One function.

    result: the type of its values, given those of its arguments. make: given their types, the constants by name and the
    contract's types, it returns what computes a column of the columns that are no constants. It raises NoValue where a
    row has no value; a null argument gives null. examples: (call, JSON of its value).
    """

    name: str
    parameters: Sequence[Parameter]
    result: Callable[[Sequence[str]], str]
    make: Callable[[Sequence[str], Mapping[str, Any], Types], Apply]
    description: str
    examples: Sequence[tuple[str, Any]]

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join(_shown(one) for one in self.parameters)})"

    def as_json(self) -> dict[str, Any]:
        """Return what a list of functions shows."""
        return {
            "name": self.name,
            "signature": self.signature,
            "description": self.description,
            "parameters": [
                {"name": one.name, "types": list(one.types), "constant": one.constant, "default": one.default}
                for one in self.parameters
            ],
            "examples": [{"expression": call, "value": value} for call, value in self.examples],
        }


def gives(type_: str) -> Callable[[Sequence[str]], str]:
    return lambda types: type_


def plain(apply: Apply) -> Callable[[Sequence[str], Mapping[str, Any], Types], Apply]:
    """Return the ``make`` of a function that is the same for all types and has no constants."""
    return lambda types, constants, known: apply


def _shown(parameter: Parameter) -> str:
    return parameter.name if parameter.default is None else f"{parameter.name}={parameter.default!r}"
