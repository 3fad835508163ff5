"""Where records stand in a body of text, found by reading it again: only a refusal asks for that."""

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from gristmill.records.readers.context import Reader, read_line_blocks, skip_bom
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.csv_rows import read_rows
from gristmill.records.readers.csv_syntax import syntax_of
from gristmill.records.readers.dialect import DEFAULT, CsvDialect
from gristmill.records.readers.ndjson import read_ndjson
from gristmill.records.readers.transcode import as_utf8


def has_lines(reader: Reader) -> bool:
    """Say whether the records of a format have lines."""
    return reader in (read_csv, read_ndjson)


def find_rows(
    reader: Reader, file: BinaryIO, records: set[int], dialect: CsvDialect = DEFAULT
) -> Iterator[tuple[int, int, bytes]]:
    """Yield (record, its line from 1, its text) for ``records``, in their order; none for formats without lines.

    file: a body that the reader has read before. dialect: of a CSV body.
    """
    if not records or not has_lines(reader):
        return
    if reader is read_csv:
        file = as_utf8(file, dialect.encoding)
    skip_bom(file)
    last = max(records)
    for record, (line, raw) in enumerate(_rows(reader, file, dialect)):
        if record in records:
            yield record, line, raw
        if record == last:
            return


def _rows(reader: Reader, file: BinaryIO, dialect: CsvDialect) -> Iterator[tuple[int, bytes]]:
    if reader is read_csv:
        yield from ((row.line, row.raw) for row in islice(read_rows(file, syntax_of(dialect)), 1, None))
        return
    for first, texts in read_line_blocks(file):
        yield from ((first + at, text.strip()) for at, text in enumerate(texts) if text.strip())
