"""The body that readers read: a binary file, its limits, where refused records go, and what all formats share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core.errors import MAX_LISTED, Malformed, Violation
from gristmill.records.readers.archive import ArchiveLimits
from gristmill.records.readers.dialect import DEFAULT, CsvDialect
from gristmill.records.reject import Reject
from gristmill.records.validation.rows import MALFORMED, Problems, RecordValidator
from gristmill.records.validation.tokens import BOM

# The largest record in its text form: what fits a payload, and a third more for base64. One line of a body is never
# held longer than this, whatever the body's size.
MAX_RECORD_BYTES = 12 * 1024 * 1024
# Readers take a body in blocks of about this size.
BLOCK_BYTES = 1024 * 1024
# JSON texts are validated in lists of about this size.
LINES_BYTES = 128 * 1024

# Byte order marks of other encodings than UTF-8; that of UTF-32 may start as that of UTF-16 does.
OTHER_BOMS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x00\x00\xfe\xff": "UTF-32",
}

Ords = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ReadContext:
    """What a reader gets: the body, the validator, and where it reports what is wrong.

    rejects: takes the records that are not valid while the others go on; None where one of them refuses the request.
    on_header: gets the names in the header of a CSV body. passed_over: names of CSV columns that are no fields and are
    not read, as a downloaded list of rejects has them. archives: what a zip may be; None where none is read. dialect:
    what CSV is written in.
    """

    file: BinaryIO
    validator: RecordValidator
    problems: Problems
    rejects: Callable[[Reject], None] | None = None
    on_header: Callable[[list[str]], None] | None = None
    passed_over: frozenset[str] = frozenset()
    archives: ArchiveLimits | None = None
    dialect: CsvDialect = DEFAULT


@dataclass(frozen=True, slots=True)
class RecordBlock:
    """Some valid records as payload columns. ords: the index in the request of each, rising."""

    table: pa.Table
    ords: Ords

    def slice(self, start: int, rows: int | None = None) -> "RecordBlock":
        """Return ``rows`` records from ``start`` on, sharing memory; None: all that follow."""
        table = self.table.slice(start, rows)
        return RecordBlock(table, self.ords[start : start + table.num_rows])


class Reader(Protocol):
    """A format. Yields the valid records in steps of at most a few MiB; gives the others to ``refuse``.

    Goes on after a record that is not valid. Raises Invalid or Malformed only where nothing after the place can be
    read, or where the whole body has a shape that does not fit.
    """

    def __call__(self, source: ReadContext) -> Iterator[RecordBlock]: ...


def refuse(
    source: ReadContext,
    record: int,
    line: int | None,
    raw: bytes,
    violations: Sequence[Violation],
    total: int | None = None,
) -> None:
    """Report a record that is not valid: to the ``rejects`` of the context if it has them, else to its ``problems``.

    total: how many errors the violations stand for, if not one each.
    """
    if source.rejects is None:
        source.problems.add(*violations, total=total)
    else:
        source.problems.rejected += 1
        source.rejects(Reject(record, line, raw, tuple(violations[:MAX_LISTED])))


def skip_bom(file: BinaryIO, named: bool = False) -> int:
    """Go to the start, behind a byte order mark of UTF-8, and return where that is.

    named: the encoding of a body may be named. Raises Malformed for the marks of other encodings.
    """
    file.seek(0)
    start = file.read(4)
    for bom, name in OTHER_BOMS.items():
        if start.startswith(bom):
            what = f"encoding={name.lower()}?" if named else "only UTF-8 is taken"
            reason = f"The body starts with the byte order mark of {name}: {what}"
            raise Malformed(reason, [Violation("", "wrong_encoding", reason, line=1)])
    offset = len(BOM) if start.startswith(BOM) else 0
    file.seek(offset)
    return offset


def read_lines(file: BinaryIO, before: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (line number, the line with its end). Raises Malformed at a line beyond 12 MiB.

    before: how many lines of the body come before the file's position.
    """
    for number, line in enumerate(iter(lambda: file.readline(MAX_RECORD_BYTES + 2), b""), before + 1):
        if len(line) > MAX_RECORD_BYTES:
            reason = f"Line {number} is longer than {MAX_RECORD_BYTES} bytes"
            raise Malformed(reason, [Violation("", "too_long", reason, line=number)])
        yield number, line


def read_line_blocks(file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """Yield (number of the first line, lines without their ends) in lists of some lines.

    Raises Malformed at a line beyond 12 MiB, after the lines before it.
    """
    number, pending = 1, b""
    while True:
        # The longer a line gets the more is read of it, so that its parts are not joined again and again.
        data = file.read(max(LINES_BYTES, len(pending)))
        lines = (pending + data).split(b"\n")
        # What follows the last line end is the start of the next line.
        pending = lines.pop() if data else b""
        if lines:
            yield number, lines
            number += len(lines)
        if len(pending) > MAX_RECORD_BYTES:
            reason = f"Line {number} is longer than {MAX_RECORD_BYTES} bytes"
            raise Malformed(reason, [Violation("", "too_long", reason, line=number)])
        if not data:
            return


def malformed(reason: str, record: int | None = None, line: int | None = None) -> Violation:
    """Return the violation for something that cannot be read."""
    return Violation("" if record is None else f"/{record}", MALFORMED, reason, record, line)


def count_from(first: int, rows: int) -> Ords:
    """Return the indexes of ``rows`` records without gaps."""
    return np.arange(first, first + rows, dtype=np.int64)
