"""The lines of records in a body of text."""

from typing import BinaryIO

from gristmill.records.readers import open_reader
from gristmill.records.readers.places import find_rows


def lines_of(media_type: str, file: BinaryIO, records: set[int]) -> dict[int, int]:
    """Return the line of each of ``records``, from 1; none for formats without lines.

    file: a body that was read before without a mistake.
    """
    return {record: line for record, line, _ in find_rows(open_reader(media_type), file, records)}
