"""Strategies of Arrow columns of structs, lists and maps, with the JSON that each value stands for."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import reject
from hypothesis import strategies as st

_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3)
_MOMENTS = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))


_CATEGORY = pa.dictionary(pa.int16(), pa.string())


@dataclass(frozen=True, repr=False)
class Kind:
    """An Arrow type, any Python value of it, and the JSON of such a value."""

    arrow: pa.DataType
    values: st.SearchStrategy[Any]
    shown: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True)
class NestedColumn:
    array: pa.Array
    shown: list[Any]


def _zoned(moment: dt.datetime) -> str:
    return moment.isoformat() + "Z"


LEAVES = [
    Kind(pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    Kind(pa.uint64(), st.integers(0, 2**64 - 1)),
    Kind(pa.int8(), st.integers(-128, 127)),
    Kind(pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
    Kind(pa.float32(), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    Kind(pa.float16(), st.floats(width=16, allow_nan=False, allow_infinity=False).map(np.float16), float),
    Kind(pa.bool_(), st.booleans()),
    *(Kind(kind, _NAMES) for kind in (pa.string(), pa.large_string(), pa.string_view(), _CATEGORY)),
    Kind(pa.null(), st.none()),
    Kind(pa.date32(), st.dates(), dt.date.isoformat),
    Kind(pa.decimal128(38, 9), st.integers(-(10**37), 10**37).map(lambda n: Decimal(n).scaleb(-9)), "{:.9f}".format),
    Kind(pa.timestamp("us"), _MOMENTS, dt.datetime.isoformat),
    Kind(pa.timestamp("us", "UTC"), _MOMENTS, _zoned),
    Kind(pa.timestamp("s", "Asia/Tokyo"), _MOMENTS.map(lambda m: m.replace(microsecond=0)), _zoned),
]


def _shown(kind: Kind) -> Callable[[Any], Any]:
    return lambda value: None if value is None else kind.shown(value)


def _list(inner: Kind) -> st.SearchStrategy[Kind]:
    values, show = st.none() | inner.values, _shown(inner)

    def shown(found: Any) -> Any:
        return [show(value) for value in found]

    return st.sampled_from(
        [
            Kind(pa.list_(inner.arrow), st.lists(values, max_size=3), shown),
            Kind(pa.large_list(inner.arrow), st.lists(values, max_size=3), shown),
            Kind(pa.list_(inner.arrow, 2), st.lists(values, min_size=2, max_size=2), shown),
        ]
    )


def _map(inner: Kind) -> Kind:
    found = st.dictionaries(_NAMES, st.none() | inner.values, max_size=3).map(lambda pairs: list(pairs.items()))
    return Kind(
        pa.map_(pa.string(), inner.arrow), found, lambda pairs: {name: _shown(inner)(value) for name, value in pairs}
    )


def _struct(members: dict[str, Kind]) -> Kind:
    return Kind(
        pa.struct([(name, kind.arrow) for name, kind in members.items()]),
        st.fixed_dictionaries({name: st.none() | kind.values for name, kind in members.items()}),
        lambda found: {name: _shown(kind)(found[name]) for name, kind in members.items()},
    )


def _nested(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    structs = st.dictionaries(_NAMES, inner, min_size=1, max_size=3).map(_struct)
    return inner.flatmap(_list) | inner.map(_map) | structs


KINDS = _nested(st.recursive(st.sampled_from(LEAVES), _nested, max_leaves=4))


@st.composite
def columns(draw: st.DrawFn) -> NestedColumn:
    """Return a column of any nested type."""
    kind = draw(KINDS)
    values = draw(st.lists(st.none() | kind.values, max_size=6))
    array = pa.array(values, kind.arrow)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        # A text of an empty dictionary below a null, as pyarrow builds it: no reader would take that.
        reject()
    return NestedColumn(array, [_shown(kind)(value) for value in values])


NESTED = columns()
