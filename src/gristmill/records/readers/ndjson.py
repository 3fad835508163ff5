"""NDJSON: one JSON object per line; empty lines are passed over."""

from collections.abc import Iterator

from pydantic_core import ValidationError

from gristmill.core.errors import Place
from gristmill.records.readers.rows import Rows
from gristmill.records.readers.source import Source, Step, read_lines, refuse, skip_bom
from gristmill.records.validate import Row, json_depth


def read_ndjson(source: Source) -> Iterator[Step]:
    """Yield the records of an NDJSON body."""
    skip_bom(source.file)
    rows = Rows(source)
    record = 0
    for line, raw in read_lines(source.file):
        if raw.isspace():
            continue
        row = validate_text(source, raw, f"/{record}", record, line)
        if row is not None:
            rows.add(record, row, len(raw))
            if rows.full:
                yield from rows.take()
        record += 1
    yield from rows.take()


def validate_text(source: Source, raw: bytes, pointer: str, record: int, line: int | None) -> Row | None:
    """Return the record in the JSON text ``raw``, or None after refusing it for what is wrong with it."""
    validator = source.validator
    # Only fields of type json can nest deeper than any limit allows; everything else fails by its type.
    if validator.has_json and raw.count(b"{") + raw.count(b"[") > source.max_depth:
        depth = json_depth(raw)
        if depth > source.max_depth:
            reason = f"The record is nested {depth} levels deep: at most {source.max_depth} are allowed"
            refuse(source, record, line, raw.strip(), [Place(pointer, "too_deep", reason, record, line)])
            return None
    try:
        return validator.validate_json(raw)
    except ValidationError as error:
        places, total = validator.places(error, pointer, record, line)
        refuse(source, record, line, raw.strip(), places, total)
        return None
