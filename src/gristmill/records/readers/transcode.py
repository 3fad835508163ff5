"""Text in other encodings, read as UTF-8 while it streams: memory does not grow with the body.

A byte that does not fit its encoding costs its own row and not the body: it becomes a mark that no UTF-8 has, which
the reader of rows finds and names. The marks are the code points from U+DC00 on, one for each byte.
"""

import codecs
import io
from typing import BinaryIO

from gristmill.core.errors import Malformed, Violation
from gristmill.records.readers.context import OTHER_BOMS
from gristmill.records.validation.tokens import BOM

_MARKS = 0xDC00
_READ_BYTES = 256 * 1024
_WIDE = ("utf-16", "utf-32")


def _mark(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(_MARKS + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("gristmill.mark", _mark)


def as_utf8(file: BinaryIO, encoding: str) -> BinaryIO:
    """Return a body in ``encoding`` as one in UTF-8, from its start; itself if it is that.

    What is returned reads on where it stopped, whoever else moved ``file`` meanwhile, if that was put back. Raises
    Malformed where a byte order mark says that the body is in another encoding.
    """
    if encoding == "utf-8":
        return file
    _check_mark(file, encoding)
    file.seek(0)
    return io.BufferedReader(_Transcoded(file, encoding), _READ_BYTES)


def explain_byte(error: UnicodeDecodeError, encoding: str) -> str:
    """Return what is wrong with a row that is not UTF-8. encoding: what the body was written in."""
    raw, at = error.object, error.start
    if encoding != "utf-8":
        before = raw[:at].decode("utf-8", "surrogatepass")
        byte = ord(raw[at : at + 3].decode("utf-8", "surrogatepass")) - _MARKS
        return f"Byte 0x{byte:02x} in place of character {len(before) + 1} of the row is not {encoding}"
    wrong = f"Byte {at + 1} of the row, 0x{raw[at]:02x}, is not UTF-8"
    # Windows has letters and quotation marks where Latin-1 has control characters.
    return f"{wrong}: encoding={'cp1252' if any(0x80 <= byte < 0xA0 for byte in raw) else 'latin-1'}?"


def wide_encoding(start: bytes) -> str | None:
    """Return the encoding of two bytes a character that ``start``, of a text without a mark, is in; None for others."""
    zeros = (start[0:200:2].count(0), start[1:200:2].count(0))
    if max(zeros) * 4 < len(start[0:200]):
        return None
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def _check_mark(file: BinaryIO, encoding: str) -> None:
    file.seek(0)
    start = file.read(4)
    marks = {BOM: "UTF-8", **OTHER_BOMS} if encoding.startswith(_WIDE) else OTHER_BOMS
    found = next((name for mark, name in marks.items() if start.startswith(mark)), None)
    if found is not None and not encoding.startswith(found.lower()):
        reason = f"The body starts with the byte order mark of {found}, not of {encoding}: encoding={found.lower()}?"
        raise Malformed(reason, [Violation("", "wrong_encoding", reason, line=1)])


class _Transcoded(io.RawIOBase):
    """A file as UTF-8. Its places are those of the bytes that come out of it."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file, self._encoding = file, encoding
        self._start()

    def _start(self) -> None:
        self._decoder = codecs.getincrementaldecoder(self._encoding)("gristmill.mark")
        self._ready = memoryview(b"")
        self._place = 0
        self._ended = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._ready and not self._ended:
            data = self._file.read(_READ_BYTES)
            self._ended = not data
            text = self._decoder.decode(data, final=self._ended)
            self._ready = memoryview(text.encode("utf-8", "surrogatepass"))
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready, self._place = self._ready[size:], self._place + size
        return size

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place from the start: the text is read again up to there."""
        if whence == io.SEEK_CUR:
            offset += self._place
        elif whence != io.SEEK_SET:
            raise io.UnsupportedOperation("the end of a text is not known before it is read")
        if offset < self._place:
            self._file.seek(0)
            self._start()
        rest = offset - self._place
        while rest and (size := self.readinto(bytearray(min(rest, _READ_BYTES)))):
            rest -= size
        return self._place
