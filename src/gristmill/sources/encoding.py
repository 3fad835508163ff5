"""The records of reads as the bodies of requests: the way that validates requests validates them too."""

from collections.abc import Sequence

import pyarrow as pa
from pydantic_core import PydanticSerializationError, to_json

from gristmill.core.errors import Violation
from gristmill.records.readers.context import MAX_RECORD_BYTES
from gristmill.records.reject import Reject
from gristmill.sources.port import MalformedItem, Record

NDJSON = "application/x-ndjson"
# Of an item that is not a record at most so many bytes are kept.
MAX_RAW_BYTES = 64 * 1024
MALFORMED = "malformed_item"


def encode_records(records: Sequence[Record]) -> tuple[list[bytes], list[MalformedItem]]:
    """Return the records as JSON texts, and those that have none: what is no JSON, or larger than a record may be."""
    try:
        lines = [to_json(record) for record in records]
        if not lines or max(map(len, lines)) <= MAX_RECORD_BYTES:
            return lines, []
    except (PydanticSerializationError, ValueError):
        pass
    lines, refused = [], []
    for number, record in enumerate(records):
        try:
            line = to_json(record)
        except (PydanticSerializationError, ValueError) as error:
            item = MalformedItem(
                f"record {number} of a read", repr(record)[:MAX_RAW_BYTES].encode(errors="replace"), str(error)
            )
            refused.append(item)
            continue
        if len(line) <= MAX_RECORD_BYTES:
            lines.append(line)
        else:
            reason = f"the record has {len(line)} bytes: at most {MAX_RECORD_BYTES} are allowed"
            refused.append(MalformedItem(f"record {number} of a read", line, reason))
    return lines, refused


def encode_table(table: pa.Table) -> bytes:
    """Return a table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def rejects_of(items: Sequence[MalformedItem], first: int) -> list[Reject]:
    """Return items that are no records as rejects, numbered from ``first`` on: after the records of their batch."""
    return [
        Reject(
            number,
            None,
            item.raw[:MAX_RAW_BYTES],
            (Violation(f"/{number}", MALFORMED, f"{item.place}: {item.reason}", number),),
        )
        for number, item in enumerate(items, first)
    ]
