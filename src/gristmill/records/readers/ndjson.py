"""NDJSON: one JSON object per line; empty lines are passed over."""

from collections.abc import Iterator

from gristmill.records.readers.context import ReadContext, RecordBlock, read_line_blocks, skip_bom
from gristmill.records.readers.texts import validate_texts


def read_ndjson(source: ReadContext) -> Iterator[RecordBlock]:
    """Yield the records of an NDJSON body."""
    skip_bom(source.file)
    record = 0
    for first, lines in read_line_blocks(source.file):
        numbers = [number for number, line in enumerate(lines, first) if line and not line.isspace()]
        texts = lines if len(numbers) == len(lines) else [lines[number - first] for number in numbers]
        yield from validate_texts(source, texts, "", record, numbers)
        record += len(texts)
