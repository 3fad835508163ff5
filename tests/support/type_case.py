"""What the tests of a field type need to know of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from tests.support.rest import Json


@dataclass(frozen=True)
class TypeCase:
    """One type. Values are as Python has them.

    values: any of them. extremes: those that are known to break. sent: the JSON of a value as clients send it.
    shown: as it is read back, ``sent`` unless given. same: says whether (value, JSON that was read) are the same.
    few: awkward values for filters, none where nothing compares. ordered: whether they have an order.
    limits: what a field has to say. sql: the type of its column then. fields: fields with limits, by the name of their
    kind. columns: Arrow columns for each kind. good: a column of (value, null) for some kinds. arrow: accepted Arrow
    types. cells: CSV cells near limits. examples: (limits, JSON text, canonical value or code).
    """

    values: st.SearchStrategy[Any]
    extremes: Sequence[Any] = ()
    sent: Callable[[Any], Any] = lambda value: value
    shown: Callable[[Any], Any] | None = None
    same: Callable[[Any, Any], bool] | None = None
    few: Sequence[Any] = ()
    ordered: bool = True
    sql: str = ""
    limits: Json = field(default_factory=dict)
    fields: dict[str, Json] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    good: dict[str, pa.Array] = field(default_factory=dict)
    arrow: Sequence[pa.DataType] = ()
    cells: Sequence[str] = ()
    examples: Sequence[tuple[Json, str, Any]] = ()

    def reads_back(self, value: Any) -> Any:
        return (self.shown or self.sent)(value)

    def is_same(self, value: Any, got: Any) -> bool:
        """Say whether what was read is exactly what was sent, nothing rounded and no type changed."""
        if value is None or got is None:
            return value is None and got is None
        if self.same is not None:
            return self.same(value, got)
        return type(got) is type(self.reads_back(value)) and bool(got == self.reads_back(value))


def same_float(value: float, got: Any) -> bool:
    return isinstance(got, float | int) and got == value and math.copysign(1, got) == math.copysign(1, value)


def same_tree(value: Any, got: Any) -> bool:
    if isinstance(value, dict):
        return (
            isinstance(got, dict)
            and value.keys() == got.keys()
            and all(same_tree(value[name], got[name]) for name in value)
        )
    if isinstance(value, list):
        return isinstance(got, list) and len(value) == len(got) and all(map(same_tree, value, got))
    if isinstance(value, float):
        # jsonb keeps numbers as decimals: 1e300 may come back as its 301 digits, which is the same number.
        return isinstance(got, float | int) and not isinstance(got, bool) and float(got) == value
    return type(value) is type(got) and bool(value == got)
