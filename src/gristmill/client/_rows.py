"""Records that match: one by one, page by page as they are asked for, or all of them as a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gristmill.client._frames import import_arrow
from gristmill.client._parameters import time_text, where_text
from gristmill.client._paths import dataset_path
from gristmill.client._tables import in_order, in_zone, read_table, to_pandas, to_polars
from gristmill.client._transport import Json, Transport
from gristmill.client.errors import InvalidArgument

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

# The server waits for its database for a minute before it gives an export up.
SILENCE = 120.0


class Rows(Iterator[Json]):
    """Records, which are iterated over, or fetched at once as a frame. Nothing is asked of the server before that."""

    def __init__(self, pages: Iterator[Json], table: Callable[[], pa.Table]) -> None:
        self._pages = pages
        self._table = table

    def __next__(self) -> Json:
        return next(self._pages)

    def close(self) -> None:
        """End the iteration."""
        close = getattr(self._pages, "close", None)
        if close is not None:
            close()

    def to_arrow(self) -> pa.Table:
        """Return all of them as a table of pyarrow; ``gristmill[frames]`` is needed.

        They come by an export, in its order: by key, or with ``order`` ordered by it. Decimals are Arrow's decimals,
        json is JSON text, vectors are lists of fixed size. Raises InvalidArgument with ``expand``, which nests.
        """
        return self._table()

    def to_pandas(self) -> pd.DataFrame:
        """Return all of them as a frame of pandas whose columns are Arrow's (``pandas.ArrowDtype``).

        So nothing is rounded, and integers beside nulls stay integers. Otherwise as ``to_arrow``.
        """
        return to_pandas(self._table())

    def to_polars(self) -> pl.DataFrame:
        """Return all of them as a frame of Polars, which has to be installed. Otherwise as ``to_arrow``."""
        return to_polars(self._table())


def export_stream(
    transport: Transport,
    dataset: str,
    format: str,
    *,
    where: Mapping[str, Any] | None = None,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    fields: Sequence[str] | None = None,
    include: Sequence[str] | None = None,
    compressed: bool = False,
) -> Iterator[bytes]:
    """Yield the bytes of an export as they arrive."""
    params = {
        "format": format,
        "where": where_text(where),
        "start": time_text(start),
        "end": time_text(end),
        "fields": None if fields is None else ",".join(fields),
        "include": list(include or ()) or None,
    }
    return transport.stream(dataset_path(dataset, "export"), params, SILENCE, compressed)


def read_records(
    transport: Transport,
    dataset: str,
    *,
    order: Sequence[str] | None,
    fields: Sequence[str] | None,
    include: Sequence[str] | None,
    zone: str | None,
    expand: Sequence[str] | None,
    **selection: Any,
) -> pa.Table:
    """Return the table of the records that ``ReadCalls.records`` would yield, which see for the parameters."""
    import_arrow()
    if expand:
        raise InvalidArgument("nested records are no table: leave out expand, or iterate over them")
    if zone not in (None, "contract"):
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InvalidArgument(f"{zone!r} is not a time zone such as Europe/Berlin, nor contract") from error
    terms = list(order or ())
    # What the rows are ordered by is fetched too, and left out again.
    more = [name for term in terms if fields is not None and (name := term.removeprefix("-")) not in fields]
    asked = None if fields is None else [*fields, *dict.fromkeys(more)]
    table = read_table(export_stream(transport, dataset, "arrow", fields=asked, include=include, **selection))
    table = in_order(table, terms) if terms else table
    table = table if fields is None or not more else table.select(list(fields))
    return in_zone(table, zone) if zone else table
