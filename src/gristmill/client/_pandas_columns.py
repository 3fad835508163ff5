"""Columns of pandas as Arrow: what NaN means there, and what a column of Python objects is.

A column has one type for all its rows, which is found before the first is sent. So a frame is looked at twice, a part
at a time, and never copied as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.client._frames import BATCH_ROWS, check_names, pandas_module
from gristmill.client._pandas_objects import ERRORS, convert_objects, plan_objects
from gristmill.client.errors import InvalidArgument


@dataclass(frozen=True)
class _Column:
    """A column. convert: makes Arrow of some of its rows, the first of which has the number given with them."""

    name: str
    type: pa.DataType
    values: Any
    convert: Callable[[Any, int], pa.Array]


def open_pandas(frame: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return schema and rows of a frame. Levels of its index that have names are columns; row numbers are left out.

    Raises InvalidArgument for what cannot be sent as it is, and says what to do.
    """
    if not hasattr(frame, "columns"):
        raise InvalidArgument("a Series is one column: make a frame of it with to_frame()")
    if frame.columns.nlevels > 1:
        raise InvalidArgument(
            f"the columns have {frame.columns.nlevels} levels (the first is {next(iter(frame.columns), None)!r}):"
            " give each column one name, with columns.map('_'.join) for example"
        )
    frame = _with_index(frame)
    check_names(list(frame.columns))
    columns = [_plan(name, frame[name]) for name in frame.columns]
    schema = pa.schema([pa.field(column.name, column.type) for column in columns])
    return schema, _batches(columns, schema, len(frame))


def _batches(columns: list[_Column], schema: pa.Schema, rows: int) -> Iterator[pa.RecordBatch]:
    for first in range(0, rows, BATCH_ROWS):
        arrays = [column.convert(column.values.iloc[first : first + BATCH_ROWS], first) for column in columns]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _with_index(frame: Any) -> Any:
    """Return the frame with the named levels of its index as columns. Raises InvalidArgument for one that is lost."""
    names = list(frame.index.names)
    if names == [None]:
        # Whole numbers without a name are what filters, sorts and concatenations leave of the numbers of the rows.
        if frame.index.dtype.kind in "iu" or not len(frame.index):
            return frame
        raise InvalidArgument(
            f"the index has no name and would be lost (it begins with {frame.index[0]!r}): name it as its field, with"
            " rename_axis('…'), or drop it with reset_index(drop=True)"
        )
    if None in names:
        raise InvalidArgument(
            f"the index has {len(names)} levels, named {names}: name each as its field, with rename_axis([…]), or drop"
            " them with reset_index(drop=True)"
        )
    for place, name in enumerate(names):
        if name in frame.columns or name in names[:place]:
            other = "a column" if name in frame.columns else "another level"
            raise InvalidArgument(f"a level of the index and {other} are both called {name!r}: rename or drop one")
    return frame.reset_index()


def _plan(name: str, values: Any) -> _Column:
    pandas, dtype = pandas_module(), values.dtype
    plain = dtype.categories.dtype if isinstance(dtype, pandas.CategoricalDtype) else dtype
    # Only dtypes of numpy say so; those of pandas' own never hold any object.
    if getattr(plain, "hasobject", False):
        kind, convert = plan_objects(name, values)
        return _Column(name, kind, values, convert)
    try:
        kind = _arrow(values.iloc[:0]).type
    except ERRORS as error:
        raise InvalidArgument(f"{_no_type(name, dtype)} ({error})") from error
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name.startswith("pandas."):
        raise InvalidArgument(_no_type(name, dtype))
    return _Column(name, kind, values, lambda part, first: _typed(name, part, kind, first))


def _no_type(name: str, dtype: Any) -> str:
    return (
        f"the column {name!r} has the type {dtype}, which no field can hold: convert it, with astype(str) for example"
    )


def _arrow(part: Any) -> pa.Array:
    found = pa.array(part, from_pandas=True)
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks() if found.num_chunks != 1 else found.chunk(0)
    if isinstance(found, pa.ChunkedArray):
        found = pa.concat_arrays(found.chunks) if found.num_chunks else pa.array([], found.type)
    if pa.types.is_floating(found.type):
        # NaN is missing in pandas; columns that are Arrow's own may hold both.
        missing = pc.is_nan(found)
        found = pc.if_else(missing, pa.scalar(None, found.type), found) if pc.any(missing).as_py() else found
    return found


def _typed(name: str, part: Any, kind: pa.DataType, first: int) -> pa.Array:
    try:
        found = _arrow(part)
        return found if found.type == kind else found.cast(kind)
    except ERRORS:
        # By single values it is said which of them it is.
        return convert_objects(name, part, first, kind, None)
