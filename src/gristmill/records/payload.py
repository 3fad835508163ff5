"""Payloads: how a chunk's validated records travel from the request to the worker, as Arrow IPC streams.

A payload is two streams behind an 8-byte length. The first holds the columns that compress (numbers, dates, text), the
second those that do not (vectors, images): compressing the latter costs time and saves nothing.
"""

import struct

import pyarrow as pa

# Below this size a codec's frame costs more than it saves.
COMPRESS_FROM_BYTES = 4096
_HEAD = struct.Struct("!Q")
# The marker of a stream's end, and what a message may be filled up with.
_FRAMING = 64


def encode(table: pa.Table) -> memoryview:
    """Return ``table`` as bytes; ``decode`` gives an equal table back, column order included."""
    dense = [name for name in table.column_names if _is_incompressible(table.schema.field(name).type)]
    light = [name for name in table.column_names if name not in dense]
    # The first stream is compressed by buffer; its metadata remembers the order of all columns.
    first = table.select(light).replace_schema_metadata({"columns": "\n".join(table.column_names)})
    codec = "zstd" if first.nbytes >= COMPRESS_FROM_BYTES else None
    head = pa.BufferOutputStream()
    _write(head, first, codec)
    packed = head.getvalue()
    second = table.select(dense)
    # Of the size that is needed: a sink that grows as it is written to would copy all of it several times.
    buffer = pa.allocate_buffer(_HEAD.size + packed.size + (_stream_size(second) if dense else 0))
    sink = pa.FixedSizeBufferWriter(buffer)
    sink.write(_HEAD.pack(packed.size))
    sink.write(packed)
    if dense:
        _write(sink, second, None)
    return memoryview(buffer)[: sink.tell()]


def decode(payload: bytes | memoryview) -> pa.Table:
    """Return the table that ``encode`` was given."""
    buffer = pa.py_buffer(payload)
    (length,) = _HEAD.unpack(buffer[: _HEAD.size])
    first = pa.ipc.open_stream(buffer.slice(_HEAD.size, length)).read_all()
    names = first.schema.metadata[b"columns"].decode().split("\n")
    if buffer.size > _HEAD.size + length:
        second = pa.ipc.open_stream(buffer.slice(_HEAD.size + length)).read_all()
        for name in second.column_names:
            first = first.append_column(second.schema.field(name), second.column(name))
    return first.select(names).replace_schema_metadata(None)


def _stream_size(table: pa.Table) -> int:
    """Return how many bytes ``_write`` writes at most, without a codec."""
    batches = sum(pa.ipc.get_record_batch_size(batch) for batch in table.to_batches())
    return int(table.schema.serialize().size + batches + _FRAMING)


def _write(sink: pa.NativeFile, table: pa.Table, codec: str | None) -> None:
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)


def _is_incompressible(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_binary(kind))
