"""Files with tabs between their cells (TSV), as the CSV that the server reads: line by line, so that lines keep their
numbers."""

import re
from collections.abc import Iterator
from typing import IO

from gristmill.client.errors import InvalidArgument

_QUOTED = re.compile(rb'"(?:[^"]|"")*"(?=\t|$)')
# The longest row that the server takes.
_MAX_ROW = 12 * 1024 * 1024


def read_as_csv(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rows of a TSV file as rows of CSV.

    A cell that begins with a quote may hold tabs, line ends and doubled quotes, as spreadsheets write it; in any other
    one a quote is a character. Raises InvalidArgument where a quote is opened and never closed.
    """
    number, size, pending = 0, 0, list[bytes]()
    for line in file:
        # A mark of UTF-8 before the first cell would hide that it is quoted.
        line = line if number else line.removeprefix(b"\xef\xbb\xbf")
        number, size = number + 1, size + len(line)
        pending.append(line)
        # A quote that is open is closed by another one: a line without any is not worth a look at the whole row.
        if len(pending) > 1 and b'"' not in line and size <= _MAX_ROW:
            continue
        joined = b"".join(pending)
        row = joined.rstrip(b"\r\n")
        cells = _cells(row)
        if cells is None and size <= _MAX_ROW:
            continue
        if cells is None:
            break
        yield b",".join(cells) + joined[len(row) :]
        size, pending = 0, []
    if pending:
        raise InvalidArgument(f"a quote is opened before line {number + 1} of the file and never closed")


def _cells(row: bytes) -> list[bytes] | None:
    """Return the cells, quoted where CSV needs it; None where the last one goes on in the next line."""
    cells, place = [], 0
    while True:
        quoted = _QUOTED.match(row, place)
        end = row.find(b"\t", place)
        cell = quoted[0] if quoted else row[place:] if end < 0 else row[place:end]
        if not quoted and cell.startswith(b'"') and not _closes(row, place):
            return None
        place += len(cell) + 1
        if not quoted and (b'"' in cell or b"," in cell):
            cell = b'"' + cell.replace(b'"', b'""') + b'"'
        cells.append(cell)
        if place > len(row):
            return cells


def _closes(row: bytes, place: int) -> bool:
    """Say whether the quote at ``place`` is closed in this row, though not at the end of its cell."""
    return row.count(b'"', place) % 2 == 0
