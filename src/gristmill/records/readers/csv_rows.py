"""CSV row by row, so that every mistake has its line. An unquoted empty cell is null, ``""`` is the empty string.

A row that cannot be split ends with its first line, and the next one is read as if it were not there: a quote that is
never closed costs its own record, and not all those that follow.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gristmill.records.readers.context import BLOCK_BYTES, MAX_RECORD_BYTES
from gristmill.records.readers.csv_syntax import PLAIN, CsvSyntax
from gristmill.records.readers.transcode import explain_byte
from gristmill.records.validation.rows import MALFORMED
from gristmill.records.validation.tokens import BOM

_UNCLOSED = "A quote is opened in this row and never closed as one is, at the end of its cell"
# What is kept of a line that is too long for a record.
_KEPT_BYTES = 1000

# A cell is its text, or None when it was empty and not quoted.
Cells = list[str | None]


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row of the body. cells: None where it cannot be split, for the reason ``broken`` with the code ``code``."""

    line: int
    raw: bytes
    cells: Cells | None
    broken: str = ""
    code: str = MALFORMED


def read_rows(file: BinaryIO, syntax: CsvSyntax = PLAIN) -> Iterator[CsvRow]:
    """Yield the rows from the file's position on, the header first. file: in UTF-8."""
    before, pending, width = 0, b"", None
    while True:
        data = file.read(BLOCK_BYTES)
        block = pending + data
        # The first row says how many cells the others have.
        rows = split_rows(block, before, not data, width, 1 if width is None else None, syntax)
        taken = 0
        try:
            while True:
                row = next(rows)
                yield row
                width = len(row.cells or ()) if width is None else width
        except StopIteration as ended:
            taken = ended.value
        before += count_lines(block[:taken])
        pending = block[taken:]
        if is_too_long(pending):
            yield long_line(pending, before + 1)
            before, pending = before + 1, skip_line(file)
        elif not data and not pending:
            return


def split_rows(
    block: bytes,
    before: int,
    last: bool,
    width: int | None,
    most: int | None = None,
    syntax: CsvSyntax = PLAIN,
) -> Generator[CsvRow, None, int]:
    """Yield the rows in ``block``; return how many bytes they take. A row whose end may follow the block is left.

    before: how many lines of the body come before the block. last: nothing follows it. width: how many cells the header
    has, None where it is not known. most: how many rows are wanted.
    """
    start, line, found = 0, before + 1, 0
    while start < len(block) and found != most:
        end = _line_end(block, start, last)
        if end and block.count(syntax.quote_byte, start, end) % 2 and syntax.open.fullmatch(block, start, end):
            end = _closing_line(block, start, end, last, width, syntax)
        if not end:
            break
        raw = block[start:end]
        row = _row(raw, line, syntax) if len(raw) <= MAX_RECORD_BYTES else long_line(raw, line)
        start, line = end, line + count_lines(raw)
        if row.raw:
            found += 1
            yield row
    return start


def split_row(text: str, syntax: CsvSyntax = PLAIN) -> Cells:
    """Return the cells of one row. Raises ValueError where a quote stands inside a cell."""
    null = syntax.dialect.null
    if syntax.quote not in text:
        cells: Cells = [cell or None for cell in text.split(syntax.delimiter)]
        return cells if null is None else [None if cell == null else cell for cell in cells]
    cells = []
    position = 0
    while True:
        match = syntax.cell.match(text, position)
        if match is None:
            rule = "quote the whole cell, and double the quotes in it"
            raise ValueError(f"Cell {len(cells) + 1} has a quote in the wrong place: {rule}")
        quoted, plain, end = match.groups()
        if quoted is not None:
            cells.append(quoted.replace(syntax.quote * 2, syntax.quote))
        else:
            cells.append(None if plain == null else plain or None)
        position = match.end()
        if not end:
            return cells


def count_lines(raw: bytes) -> int:
    """Return in how many lines ``raw`` stands; the last one of a body may have no end."""
    return raw.count(b"\n") + (raw[-1:] not in (b"", b"\n"))


def is_too_long(pending: bytes) -> bool:
    """Say whether a line that has not ended is longer than any record, so that ``split_rows`` would wait for ever."""
    return len(pending) > MAX_RECORD_BYTES and b"\n" not in pending


def long_line(raw: bytes, line: int) -> CsvRow:
    """Return the row that stands for a line too long for a record."""
    reason = f"The line is longer than {MAX_RECORD_BYTES} bytes; only its first {_KEPT_BYTES} are kept"
    return CsvRow(line, raw[:_KEPT_BYTES], None, reason, "too_long")


def skip_line(file: BinaryIO) -> bytes:
    """Read to the end of a line; return what was read of the next one."""
    while data := file.read(BLOCK_BYTES):
        if end := data.find(b"\n") + 1:
            return data[end:]
    return b""


def _line_end(block: bytes, start: int, last: bool) -> int:
    """Return where the line at ``start`` ends; 0 if not in this block."""
    return block.find(b"\n", start) + 1 or (len(block) if last else 0)


def _closing_line(block: bytes, start: int, first_end: int, last: bool, width: int | None, syntax: CsvSyntax) -> int:
    """Return where the row ends whose first line, from ``start`` to ``first_end``, leaves a quote open.

    That is where its first line does if the quote is not closed as one is. 0: this block does not say.
    """
    place = first_end
    while place < len(block):
        end = _line_end(block, place, last)
        if (end or len(block)) - start > MAX_RECORD_BYTES:
            return first_end
        if not end:
            return 0
        # Lines with an even number of quotes leave open what was.
        if block.count(syntax.quote_byte, place, end) % 2:
            return end if _is_row(block[start:end], width, syntax) else first_end
        place = end
    return first_end if last or len(block) - start > MAX_RECORD_BYTES else 0


def _is_row(raw: bytes, width: int | None, syntax: CsvSyntax) -> bool:
    """Say whether several lines are one row, and not one with a stray quote and others that it would swallow."""
    cells = _split(raw, syntax)
    if cells is None:
        return False
    if width is None or len(cells) == width:
        return True
    # Its cells are too many or too few. That may be its mistake, unless one of its lines is a good row by itself.
    return all(len(_split(line, syntax) or ()) != width for line in raw.split(b"\n")[1:])


def _split(raw: bytes, syntax: CsvSyntax) -> Cells | None:
    try:
        return split_row(raw.rstrip(b"\r\n").decode("utf-8", "replace"), syntax)
    except ValueError:
        return None


def _row(raw: bytes, line: int, syntax: CsvSyntax) -> CsvRow:
    is_open = raw.count(syntax.quote_byte) % 2 and syntax.open.fullmatch(raw)
    raw = raw.rstrip(b"\r\n")
    if raw.startswith(BOM):
        reason = "The row starts with a byte order mark, which may only stand at the very start of a body"
        return CsvRow(line, raw, None, reason)
    try:
        return CsvRow(line, raw, split_row(raw.decode(), syntax))
    except UnicodeDecodeError as error:
        return CsvRow(line, raw, None, explain_byte(error, syntax.dialect.encoding))
    except ValueError as error:
        return CsvRow(line, raw, None, _UNCLOSED if is_open else str(error))
