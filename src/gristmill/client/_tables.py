"""Answers in Arrow as frames: tables of pyarrow, and pandas and Polars made of them without another copy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gristmill.client._frames import import_arrow
from gristmill.client.errors import ConnectionFailed, InvalidArgument

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

# Digits of Arrow's decimals of 128 and of 256 bits.
_NARROW, _WIDE = 38, 76
# Types whose values have no order.
_UNORDERED = ("json", "vector", "bits", "image")


class Frame:
    """An answer as columns of the types that the fields have. Libraries that take Arrow data take it as it is.

    ``polars.DataFrame(frame)``, ``pyarrow.table(frame)``, DuckDB's ``FROM frame``, and ``Client.submit``.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def to_arrow(self) -> pa.Table:
        """Return it as a table of pyarrow."""
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """Return it as a frame of pandas whose columns are Arrow's (``pandas.ArrowDtype``): nothing is rounded.

        Raises InvalidArgument where pandas is not installed.
        """
        return to_pandas(self._table)

    def to_polars(self) -> pl.DataFrame:
        """Return it as a frame of Polars. Raises InvalidArgument where that is not installed."""
        return to_polars(self._table)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        return f"<Frame of {len(self)} rows: {', '.join(self._table.column_names)}>"

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def read_table(pieces: Iterable[bytes]) -> pa.Table:
    """Return the answer that the pieces of an Arrow IPC stream make; decimals, which come as texts, are numbers.

    Raises ConnectionFailed where it is no such stream.
    """
    pa = import_arrow()
    received = pa.BufferOutputStream()
    for piece in pieces:
        received.write(piece)
    try:
        with pa.ipc.open_stream(received.getvalue()) as stream:
            table = stream.read_all()
    except (pa.ArrowException, OSError) as error:
        raise ConnectionFailed(f"the answer is no Arrow stream: {error}") from error
    for place, field in enumerate(table.schema):
        if _said(field, "type") == "decimal" and pa.types.is_string(field.type):
            numbers = _decimals(pa, table.column(place), field)
            table = table.set_column(place, pa.field(field.name, numbers.type, metadata=field.metadata), numbers)
    return table


def in_zone(table: pa.Table, zone: str) -> pa.Table:
    """Return the table with its timestamps in a zone, "contract" for that of each field."""
    pa = import_arrow()
    for place, field in enumerate(table.schema):
        wanted = _said(field, "zone") if zone == "contract" else zone
        if wanted and pa.types.is_timestamp(field.type):
            kind = pa.timestamp(field.type.unit, wanted)
            column = table.column(place).cast(kind)
            table = table.set_column(place, pa.field(field.name, kind, metadata=field.metadata), column)
    return table


def in_order(table: pa.Table, order: Sequence[str]) -> pa.Table:
    """Return the rows ordered as the server orders pages: ``-name`` descending, null as the largest value.

    Rows that are equal stay in the order that they have. Raises InvalidArgument for a field that has no order.
    """
    pa = import_arrow()
    import pyarrow.compute as pc  # noqa: PLC0415 - of the extra

    # Sorting is stable, so the last term is sorted by first.
    for term in reversed(order):
        name, descending = term.removeprefix("-"), term.startswith("-")
        if name not in table.column_names:
            raise InvalidArgument(f"{name!r}, in order, is not a field: there are {', '.join(table.column_names)}")
        field = table.schema.field(name)
        if _said(field, "type") in _UNORDERED or pa.types.is_nested(field.type):
            raise InvalidArgument(f"the field {name!r} has no order: leave it out of order")
        direction, nulls = ("descending", "at_start") if descending else ("ascending", "at_end")
        table = table.take(pc.sort_indices(table.select([name]), sort_keys=[(name, direction, nulls)]))
    return table


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return a table as a frame of pandas, Arrow-backed. Raises InvalidArgument where pandas is not installed."""
    try:
        import pandas as pd  # noqa: PLC0415 - of the extra
    except ImportError as error:
        raise InvalidArgument("to_pandas() needs pandas: pip install 'gristmill[frames]'") from error
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    return frame


def to_polars(table: pa.Table) -> pl.DataFrame:
    """Return a table as a frame of Polars.

    Raises InvalidArgument where Polars is not installed, and for decimals that it does not hold.
    """
    try:
        import polars as pl  # noqa: PLC0415 - no extra of ours
    except ImportError as error:
        raise InvalidArgument("to_polars() needs Polars: pip install polars") from error
    import pyarrow as pa  # noqa: PLC0415 - of the extra

    for field in table.schema:
        if pa.types.is_decimal256(field.type):
            raise InvalidArgument(
                f"the column {field.name!r} has decimals of more than {_NARROW} digits, which Polars lacks: take"
                " to_arrow(), or leave it out of fields"
            )
    return pl.DataFrame(table)


def _said(field: pa.Field, name: str) -> str:
    """Return what the server says of a field beside its Arrow type, "" where it says nothing."""
    found = (field.metadata or {}).get(name.encode(), b"")
    return str(found.decode())


def _decimals(pa: Any, texts: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """Return decimals as numbers of Arrow, or as the texts that they are where none of its types holds all of them."""
    precision, scale = _said(field, "precision"), _said(field, "scale")
    if precision:
        return texts.cast(pa.decimal128(int(precision), int(scale or 0)))
    whole, places = _digits(texts)
    if whole + places <= _NARROW:
        return texts.cast(pa.decimal128(_NARROW, places))
    return texts.cast(pa.decimal256(_WIDE, places)) if whole + places <= _WIDE else texts


def _digits(texts: pa.ChunkedArray) -> tuple[int, int]:
    """Return how many digits stand before the point at most, and behind it."""
    import pyarrow.compute as pc  # noqa: PLC0415 - of the extra

    plain = pc.utf8_ltrim(texts, "-")
    length, point = pc.utf8_length(plain), pc.find_substring(plain, ".")
    before = pc.if_else(pc.less(point, 0), length, point)
    after = pc.if_else(pc.less(point, 0), 0, pc.subtract(pc.subtract(length, point), 1))
    return pc.max(before).as_py() or 0, pc.max(after).as_py() or 0
