"""The lines of records in a body of text, found by reading it again: only a refusal asks for them."""

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from gristmill.core.http.bodies import CSV
from gristmill.records.readers import open_reader
from gristmill.records.readers.context import read_line_blocks, skip_bom
from gristmill.records.readers.csv_rows import read_rows
from gristmill.records.readers.ndjson import read_ndjson


def lines_of(media_type: str, file: BinaryIO, records: set[int]) -> dict[int, int]:
    """Return the line of each of ``records``, from 1; none for formats without lines.

    file: a body that was read before without a mistake.
    """
    skip_bom(file)
    if media_type == CSV:
        lines: Iterator[int] = islice((row.line for row in read_rows(file)), 1, None)
    elif open_reader(media_type) is read_ndjson:
        lines = (first + at for first, texts in read_line_blocks(file) for at, text in enumerate(texts) if text.strip())
    else:
        return {}
    return {record: line for record, line in enumerate(lines) if record in records}
