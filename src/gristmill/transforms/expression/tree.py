"""Typed nodes of expressions, the rows that they run on, and what can go wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Mask = npt.NDArray[np.bool_]
NULL = "null"
# The Arrow type of the values of each type; decimals and json are their texts.
ARROW: dict[str, pa.DataType] = {
    "integer": pa.int64(),
    "float": pa.float64(),
    "decimal": pa.string(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "duration": pa.duration("us"),
    "uuid": pa.binary(16),
    "json": pa.string(),
    NULL: pa.null(),
}
# What an integer becomes beside a number of another type.
WIDER = {("integer", "float"): "float", ("integer", "decimal"): "decimal"}


class Refused(Exception):
    """An expression that cannot be meant. place: the character where, from 0, or None."""

    def __init__(self, code: str, reason: str, place: int | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.place = code, reason, place


class NoValue(Exception):
    """Some row has no value: a division by zero, a number beyond its type, a text that is none."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class TooMany(Exception):
    """The rows take too much memory at one time: fewer of them do not."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of some columns, each in one array.

    careful: parts of an expression are computed for those rows alone that need them, as some row has no value.
    """

    arrays: dict[str, pa.Array]
    count: int
    careful: bool = False

    def take(self, mask: Mask) -> "Rows":
        """Return the rows that the mask marks."""
        marked = pa.array(mask)
        return Rows({name: array.filter(marked) for name, array in self.arrays.items()}, int(mask.sum()), True)

    def slice(self, start: int, count: int) -> "Rows":
        return Rows({name: array.slice(start, count) for name, array in self.arrays.items()}, count, self.careful)

    def carefully(self) -> "Rows":
        return replace(self, careful=True)


Run = Callable[[Rows], pa.Array]


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression. type: of its values. run: gives them; raises NoValue where some row has none.

    columns: which it reads. source: its text. constant: whether it is the same for all rows; value: that of a constant.
    """

    type: str
    run: Run
    columns: frozenset[str] = field(default_factory=frozenset)
    source: str = ""
    constant: bool = False
    value: Any = None


def constant_array(value: Any, type_: str, rows: Rows) -> pa.Array:
    """Return a value, as Python has it, for each row."""
    return (
        pa.nulls(rows.count, ARROW[type_]) if value is None else pa.repeat(pa.scalar(value, ARROW[type_]), rows.count)
    )


def scatter(values: pa.Array, mask: Mask, otherwise: pa.Array) -> pa.Array:
    """Return ``values`` at the rows that the mask marks, in their order, and ``otherwise`` at the others."""
    if mask.all():
        return values
    # By places, as replace_with_mask does not know every type.
    places = np.where(mask, np.cumsum(mask) - 1, len(values) + np.arange(len(mask)))
    return pa.concat_arrays([values, otherwise]).take(pa.array(places))
