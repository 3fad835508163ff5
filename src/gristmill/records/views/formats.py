"""The formats of a view's answer, made of a table that is in memory."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pydantic_core import to_json

from gristmill.core.http.bodies import ARROW, CSV, JSON
from gristmill.kit.drain import Drain
from gristmill.records.views.service import Viewed

NDJSON = "application/x-ndjson"
# The formats by their media types, the one that is preferred first.
ACCEPTED = {JSON: "json", NDJSON: "ndjson", CSV: "csv", ARROW: "arrow"}
MEDIA_TYPES = {name: media_type for media_type, name in ACCEPTED.items()} | {
    "csv": "text/csv; charset=utf-8; header=present"
}
_ROWS = 5000


def write(viewed: Viewed, view: str, format: str) -> Iterator[bytes]:
    """Yield the answer, some rows at a time."""
    if format == "arrow":
        yield from _arrow(viewed)
    elif format == "csv":
        yield from _csv(viewed)
    elif format == "ndjson":
        for rows in _rows(viewed):
            yield b"".join(to_json(row) + b"\n" for row in rows)
    else:
        columns = [{"name": column.name, "type": column.type} for column in viewed.columns]
        head = to_json({"view": view, "batch": viewed.batch, "columns": columns})
        yield head[:-1] + b',"rows":['
        first = True
        for rows in _rows(viewed):
            yield (b"" if first else b",") + to_json(rows)[1:-1]
            first = False
        yield b"]}"


def _rows(viewed: Viewed) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows as JSON objects, some at a time."""
    names = [column.name for column in viewed.columns]
    for block in _shown(viewed):
        yield [dict(zip(names, row, strict=True)) for row in zip(*block, strict=True)]


def _shown(viewed: Viewed) -> Iterator[list[list[Any]]]:
    """Yield the values of the columns as JSON has them, some rows at a time."""
    for first in range(0, viewed.table.num_rows, _ROWS):
        block = viewed.table.slice(first, _ROWS)
        yield [viewed.types.shown(column, _whole(block.column(column.name))) for column in viewed.columns]


def _csv(viewed: Viewed) -> Iterator[bytes]:
    """RFC 4180 with a header row; null is an empty cell, an empty text is in quotes."""
    yield (",".join(_cell(column.name) for column in viewed.columns) + "\n").encode()
    for block in _shown(viewed):
        cells = [[_cell(value) for value in values] for values in block]
        yield "".join(",".join(row) + "\n" for row in zip(*cells, strict=True)).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else to_json(value).decode()
    if isinstance(value, str) and not text:
        return '""'
    return '"' + text.replace('"', '""') + '"' if any(one in text for one in ',"\r\n') else text


def _arrow(viewed: Viewed) -> Iterator[bytes]:
    """An Arrow stream; UUIDs are texts, as in exports."""
    arrays, fields = list[Any](), list[pa.Field]()
    for column in viewed.columns:
        array = viewed.table.column(column.name)
        if pa.types.is_fixed_size_binary(array.type):
            array = pa.chunked_array([pa.array(viewed.types.shown(column, _whole(array)), pa.string())])
        arrays.append(array)
        fields.append(pa.field(column.name, array.type, metadata={"type": column.type}))
    table, file = pa.table(arrays, schema=pa.schema(fields)), Drain()
    with pa.ipc.new_stream(file, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=65_536):
            writer.write_batch(batch)
            yield file.drain()
    yield file.drain()


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
