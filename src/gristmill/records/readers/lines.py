"""The lines of records in a body of text."""

from typing import BinaryIO

from gristmill.records.readers import open_reader
from gristmill.records.readers.dialect import DEFAULT, CsvDialect
from gristmill.records.readers.places import find_rows


def lines_of(media_type: str, file: BinaryIO, records: set[int], dialect: CsvDialect = DEFAULT) -> dict[int, int]:
    """Return the line of each of ``records``, from 1; none for formats without lines.

    file: a body that was read before without a mistake. dialect: of a CSV body.
    """
    return {record: line for record, line, _ in find_rows(open_reader(media_type), file, records, dialect)}
