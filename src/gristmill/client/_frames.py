"""Frames of pandas, Polars, pyarrow and DuckDB, sent as Arrow IPC streams.

What is missing or too precise is not decided here: values are judged by the server, which names record and field, and
with ``on_error="quarantine"`` keeps the good ones. Refused here is what would be lost or changed on the way to Arrow.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Protocol

from gristmill.client.errors import InvalidArgument

if TYPE_CHECKING:
    import pyarrow as pa

# Of a record batch, which the server reads at once; it takes at most 128 MiB.
BATCH_ROWS = 65_536
_BATCH_BYTES = 16 * 1024 * 1024


class ArrowStream(Protocol):
    """A frame: of pandas, Polars, pyarrow or DuckDB, or of another library that gives Arrow data."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


def is_frame(records: Any) -> bool:
    """Say whether it is a frame, or one column of one, or one that is still to be computed, which ``open`` refuses."""
    return hasattr(records, "__arrow_c_stream__") or hasattr(records, "__arrow_c_array__") or _is_lazy(records)


def write_frame(frame: Any, file: IO[bytes]) -> None:
    """Write a frame as an Arrow IPC stream, batch by batch: what is held beside the frame is one batch.

    Raises InvalidArgument for what is no frame, for columns that cannot be fields, and for values that Arrow cannot
    hold as they are.
    """
    pa = import_arrow()
    schema, batches = _open(frame)
    sent = pa.schema([pa.field(field.name, _written_type(pa, field.type)) for field in schema])
    with pa.ipc.new_stream(file, sent) as stream:
        for batch in batches:
            for first in range(0, batch.num_rows, BATCH_ROWS):
                # Columns of views share their texts: a part that was not cast would be written with all of them.
                part = _cast(pa, batch.slice(first, BATCH_ROWS), sent)
                for piece in _small(pa, part):
                    stream.write_batch(piece)


def first_rows(frame: Any, limit: int) -> list[dict[str, Any]]:
    """Return the first rows as mappings with the values that JSON takes them from. Raises as ``write_frame``."""
    pa = import_arrow()
    schema, batches = _open(frame)
    rows: list[dict[str, Any]] = []
    texts = [field.name for field in schema if getattr(field.type, "extension_name", None) == "arrow.json"]
    for batch in batches:
        part = batch.slice(0, limit - len(rows))
        try:
            rows += part.to_pylist(maps_as_pydicts="strict")
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise InvalidArgument(f"the frame cannot be written as JSON from row {len(rows)} on: {error}") from error
        if len(rows) >= limit:
            break
    return [{**row, **{name: json.loads(row[name]) for name in texts if row[name] is not None}} for row in rows]


def import_arrow() -> Any:
    """Return pyarrow. Raises InvalidArgument that says how it is installed."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - of the extra
        import pyarrow.ipc  # noqa: PLC0415
    except ImportError as error:
        raise InvalidArgument("frames need pyarrow: pip install 'gristmill[frames]'") from error
    return pa


def pandas_module() -> Any:
    """Return pandas if anything has imported it: without it nothing can be a frame of its own."""
    return sys.modules.get("pandas")


def _open(frame: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the schema of a frame, which is checked, and its rows."""
    pa, pandas = import_arrow(), pandas_module()
    if pandas is not None and isinstance(frame, (pandas.Series, pandas.DataFrame)):
        from gristmill.client._pandas_columns import open_pandas  # noqa: PLC0415 - it needs the extra

        return open_pandas(frame)
    if _is_lazy(frame):
        raise InvalidArgument("a LazyFrame is not computed yet: give its collect()")
    try:
        if hasattr(frame, "__arrow_c_stream__"):
            reader = pa.RecordBatchReader.from_stream(frame)
        else:
            reader = pa.Table.from_batches([pa.record_batch(frame)]).to_reader()
    except (pa.ArrowException, TypeError, ValueError) as error:
        kind = type(frame).__name__
        if "non-struct" in str(error):
            raise InvalidArgument(f"a {kind} is one column: make a frame of it, with its name") from error
        raise InvalidArgument(f"the {kind} cannot be read as Arrow data: {error}") from error
    check_names(reader.schema.names)
    return reader.schema, _read(pa, reader)


def _read(pa: Any, reader: Any) -> Iterator[pa.RecordBatch]:
    row = 0
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (pa.ArrowException, OSError) as error:
            raise InvalidArgument(f"the frame cannot be read from row {row} on: {error}") from error
        row += batch.num_rows
        yield batch


def check_names(names: list[Any]) -> None:
    """Raise InvalidArgument where there is no column, a name is no text, or two are the same."""
    if not names:
        raise InvalidArgument("the frame has no columns, and so no records")
    seen: set[str] = set()
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise InvalidArgument(
                f"the column {name!r}, at place {place}, has a name that is no text: name it as its field"
            )
        if name in seen:
            raise InvalidArgument(f"there are two columns called {name!r}: rename one of them, or drop it")
        seen.add(name)


def _is_lazy(frame: Any) -> bool:
    return type(frame).__name__ == "LazyFrame" and hasattr(frame, "collect")


def _written_type(pa: Any, kind: pa.DataType) -> pa.DataType:
    """Return the type that a column is written as: the same values, without views into shared buffers."""
    types = pa.types
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _written_type(pa, kind.value_type), kind.ordered)
    if types.is_map(kind):
        return pa.map_(_written_type(pa, kind.key_type), _written_type(pa, kind.item_type))
    if types.is_struct(kind):
        return pa.struct([kind.field(at).with_type(_written_type(pa, kind.field(at).type)) for at in range(len(kind))])
    if types.is_fixed_size_list(kind):
        return pa.list_(_written_type(pa, kind.value_type), kind.list_size)
    if types.is_list(kind):
        return pa.list_(_written_type(pa, kind.value_type))
    if types.is_large_list(kind):
        return pa.large_list(_written_type(pa, kind.value_type))
    return kind


def _cast(pa: Any, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for column, field in zip(batch.columns, schema, strict=True):
        if column.type == field.type:
            columns.append(column)
        elif pa.types.is_dictionary(field.type):
            values = column.dictionary.cast(field.type.value_type)
            columns.append(pa.DictionaryArray.from_arrays(column.indices, values, ordered=field.type.ordered))
        else:
            columns.append(column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _small(pa: Any, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches that the server takes, unless one row alone is larger."""
    # A dictionary is written once, however the rows that refer to it are cut.
    size = sum((column.indices if pa.types.is_dictionary(column.type) else column).nbytes for column in batch.columns)
    if size <= _BATCH_BYTES or batch.num_rows < 2:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _small(pa, batch.slice(0, half))
    yield from _small(pa, batch.slice(half))
