"""Columns of Python objects: the one Arrow type that all values of a column have, or two that do not go together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from gristmill.client._frames import BATCH_ROWS
from gristmill.client._json import dumps
from gristmill.client.errors import InvalidArgument

Convert = Callable[[Any, int], pa.Array]
# By the types of Python, the first that fits: a bool is an int there, and a datetime a date.
_FAMILIES: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("boolean", (bool, np.bool_)),
    ("integer", (int, np.integer)),
    ("float", (float, np.floating)),
    ("decimal", (Decimal,)),
    ("text", (str,)),
    ("bytes", (bytes, bytearray, memoryview)),
    ("time", (dt.datetime,)),
    ("date", (dt.date,)),
    ("duration", (dt.timedelta,)),
    ("uuid", (UUID,)),
    ("object", (dict,)),
    ("list", (list, tuple, np.ndarray)),
)
# What may stand in one column, beside columns of one family.
_TOGETHER = {
    frozenset({"integer", "float"}): "float",
    frozenset({"integer", "decimal"}): "decimal",
    frozenset({"object", "list"}): "object",
}
_JSON = pa.json_(pa.large_string())
ERRORS = (pa.ArrowException, OverflowError, TypeError, ValueError)
# How long a value is shown.
_SHOWN = 60


def plan_objects(name: str, values: Any) -> tuple[pa.DataType, Convert]:
    """Return the Arrow type of a column, and what makes an array of some of its rows.

    Decimals and UUIDs are texts, with all their digits; objects and lists that are not of numbers alone are JSON.
    Raises InvalidArgument with two values of different types and their rows, and for a type that no field has.
    """
    try:
        found = _families(name, values)
    except InvalidOperation as error:
        raise InvalidArgument(f"the column {name!r} has a signalling NaN of decimal: put None in its place") from error
    family = next(iter(found), "") if len(found) < 2 else _TOGETHER.get(frozenset(found), "")
    if len(found) > 1 and not family:
        (_, one), (_, other) = list(found.items())[:2]
        raise InvalidArgument(
            f"the column {name!r} mixes types: row {one[0]} has {_show(one[1])}, row {other[0]} has"
            f" {_show(other[1])}; bring it to one, with astype for example"
        )
    if family == "list":
        kind = _list_type(values)
        family, kind = ("object", _JSON) if kind is None else (family, kind)
    elif family == "time":
        kind = _time_type(name, values)
    elif family == "duration":
        kind = pa.duration("ns" if any(getattr(one, "nanoseconds", 0) for _, one in _present(values)) else "us")
    else:
        kind = _KINDS[family]
    plain = _PLAIN.get(family)
    return kind, lambda part, first: convert_objects(name, part, first, kind, plain)


_KINDS = {
    "": pa.null(),
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "decimal": pa.large_string(),
    "text": pa.large_string(),
    "bytes": pa.large_binary(),
    "date": pa.date32(),
    "uuid": pa.large_string(),
    "object": _JSON,
}
_PLAIN: dict[str, Callable[[Any], Any]] = {
    "decimal": str,
    "bytes": bytes,
    "uuid": str,
    "object": lambda value: dumps(value).decode(),
}


def _families(name: str, values: Any) -> dict[str, tuple[int, Any]]:
    """Return the families of the values that are there, in the order of their first rows, with row and value."""
    found: dict[str, tuple[int, Any]] = {}
    known: dict[type, str] = {type(None): ""}
    for first, part in _parts(values):
        for kind in set(map(type, part)) - known.keys():
            known[kind] = family = next((label for label, kinds in _FAMILIES if issubclass(kind, kinds)), "")
            row, value = next((row, one) for row, one in enumerate(part, first) if type(one) is kind)
            if not family:
                raise InvalidArgument(
                    f"the column {name!r} has {_show(value)} in row {row}, which no field can hold: convert it"
                )
            if family not in found or row < found[family][0]:
                found[family] = (row, value)
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def _time_type(name: str, values: Any) -> pa.DataType:
    """Return the type of moments. Raises InvalidArgument where only some of them have a time zone."""
    seen: dict[bool, tuple[int, Any]] = {}
    nanoseconds = False
    for row, value in _present(values):
        seen.setdefault(value.utcoffset() is not None, (row, value))
        nanoseconds = nanoseconds or bool(getattr(value, "nanosecond", 0))
    if len(seen) > 1:
        aware, naive = seen[True], seen[False]
        raise InvalidArgument(
            f"the column {name!r} mixes times with and without a zone: row {aware[0]} has {_show(aware[1])}, row"
            f" {naive[0]} has {_show(naive[1])}; give all of them one, with pandas.to_datetime(…, utc=True) for example"
        )
    return pa.timestamp("ns" if nanoseconds else "us", "UTC" if True in seen else None)


def _list_type(values: Any) -> pa.DataType | None:
    """Return the type of lists of numbers, or None where lists hold anything else."""
    items = set()
    for _, part in _parts(values):
        try:
            # What Arrow infers without converting is the type of the first values alone.
            kind = pa.array(part).type
        except ERRORS:
            return None
        if pa.types.is_null(kind):
            continue
        if not pa.types.is_list(kind):
            return None
        if not pa.types.is_null(kind.value_type):
            items.add(kind.value_type)
    if not all(pa.types.is_integer(item) or pa.types.is_floating(item) for item in items):
        return None
    if len(items) == 1:
        return pa.list_(items.pop())
    return pa.list_(pa.float64() if any(map(pa.types.is_floating, items)) else pa.int64())


def convert_objects(
    name: str, part: Any, first: int, kind: pa.DataType, plain: Callable[[Any], Any] | None
) -> pa.Array:
    """Return some values as an array. plain: what makes of each the value that Arrow takes; None for itself.

    Raises InvalidArgument with the first row that has no such value.
    """

    def make(some: list[Any]) -> pa.Array:
        texts = some if plain is None else [None if one is None else plain(one) for one in some]
        return pa.array(texts, kind)

    values = _objects(part)
    try:
        return make(values)
    except ERRORS as error:
        for row, value in enumerate(values, first):
            try:
                make([value])
            except ERRORS as reason:
                said = str(reason).removeprefix("it ")
                if isinstance(value, int) and kind == pa.int64():
                    said = "it is beyond 64 bits; a decimal field takes it as a Decimal"
                target = "JSON" if kind == _JSON else kind
                raise InvalidArgument(
                    f"the column {name!r} has {_show(value)} in row {row}, which cannot be sent as {target}: {said}"
                ) from error
        raise InvalidArgument(f"the column {name!r} cannot be read from row {first} on: {error}") from error


def _parts(values: Any) -> Iterator[tuple[int, list[Any]]]:
    """Yield (first row, values) of a column, a part at a time."""
    for first in range(0, len(values), BATCH_ROWS):
        yield first, _objects(values.iloc[first : first + BATCH_ROWS])


def _objects(part: Any) -> list[Any]:
    """Return values as Python objects: None for what pandas takes for missing (None, NaN, NaT, NA)."""
    found = part.astype(object).to_numpy(copy=True)
    found[part.isna().to_numpy()] = None
    return found.tolist()  # type: ignore[no-any-return]


def _present(values: Any) -> Iterator[tuple[int, Any]]:
    """Yield (row, value) of the values that are there."""
    for first, part in _parts(values):
        yield from ((row, one) for row, one in enumerate(part, first) if one is not None)


def _show(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= _SHOWN else text[:_SHOWN] + '…'} ({type(value).__name__})"
