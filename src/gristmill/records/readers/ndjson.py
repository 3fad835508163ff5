"""NDJSON: one JSON object per line; empty lines are passed over."""

from collections.abc import Iterator

from pydantic_core import ValidationError

from gristmill.core.errors import Place
from gristmill.records.readers.source import Source, read_lines, skip_bom
from gristmill.records.validate import Row, json_depth


def read_ndjson(source: Source) -> Iterator[tuple[Row, int]]:
    """Yield the records of an NDJSON body."""
    skip_bom(source.file)
    record = 0
    for line, raw in read_lines(source.file):
        if raw.isspace():
            continue
        row = validate_text(source, raw, f"/{record}", record, line)
        if row is not None:
            yield row, len(raw)
        record += 1


def validate_text(source: Source, raw: bytes, pointer: str, record: int, line: int | None) -> Row | None:
    """Return the record in the JSON text ``raw``, or None after reporting what is wrong with it."""
    validator = source.validator
    # Only fields of type json can nest deeper than any limit allows; everything else fails by its type.
    if validator.has_json and raw.count(b"{") + raw.count(b"[") > source.max_depth:
        depth = json_depth(raw)
        if depth > source.max_depth:
            reason = f"The record is nested {depth} levels deep: at most {source.max_depth} are allowed"
            source.problems.add(Place(pointer, "too_deep", reason, record, line))
            return None
    try:
        return validator.validate_json(raw)
    except ValidationError as error:
        places, total = validator.places(error, pointer, record, line)
        source.problems.add(*places, total=total)
        return None
