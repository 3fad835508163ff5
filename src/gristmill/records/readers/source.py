"""The body that readers read: a binary file, its limits, and the checks of its encoding that all formats share."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from gristmill.core.errors import Malformed, Place
from gristmill.records.validate import MALFORMED, Problems, RecordValidator, Row

# The largest record in its text form: what fits a payload, and a third more for base64. One line of a body is never
# held longer than this, whatever the body's size.
MAX_RECORD_BYTES = 12 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}


@dataclass(frozen=True, slots=True)
class Source:
    """What a reader gets: the body, the validator, where it reports what is wrong, and the nesting limit of JSON."""

    file: BinaryIO
    validator: RecordValidator
    problems: Problems
    max_depth: int


class Reader(Protocol):
    """A format. Yields each valid record with the bytes that it took in the body; reports the others as problems.

    Goes on after a record that is not valid. Raises Malformed only where nothing after the place can be read.
    """

    def __call__(self, source: Source) -> Iterator[tuple[Row, int]]: ...


def skip_bom(file: BinaryIO) -> None:
    """Go to the start, behind a byte order mark of UTF-8; raise Malformed for the marks of other encodings."""
    file.seek(0)
    start = file.read(4)
    for bom, name in _OTHER_BOMS.items():
        if start.startswith(bom):
            reason = f"The body starts with the byte order mark of {name}: only UTF-8 is taken"
            raise Malformed(reason, [Place("", "wrong_encoding", reason, line=1)])
    file.seek(len(_BOM) if start.startswith(_BOM) else 0)


def read_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, the line with its end). Raises Malformed at a line beyond 12 MiB."""
    for number, line in enumerate(iter(lambda: file.readline(MAX_RECORD_BYTES + 2), b""), 1):
        if len(line) > MAX_RECORD_BYTES:
            reason = f"Line {number} is longer than {MAX_RECORD_BYTES} bytes"
            raise Malformed(reason, [Place("", "too_long", reason, line=number)])
        yield number, line


def malformed(reason: str, record: int | None = None, line: int | None = None) -> Place:
    """Return the place of something that cannot be read."""
    return Place("" if record is None else f"/{record}", MALFORMED, reason, record, line)
