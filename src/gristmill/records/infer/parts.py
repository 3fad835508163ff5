"""The first part of a file, read as if its last whole line were the end."""

from typing import BinaryIO

_STEP = 64 * 1024


class UpToLastLine:
    """A file without what follows its last line end, as far as readers need one."""

    def __init__(self, file: BinaryIO, newline: bytes) -> None:
        """newline: a line end as the file's encoding has it."""
        self._file = file
        self._end = _last_line_end(file, newline)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset if whence == 0 else self._end + offset)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._end - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))

    def readline(self, size: int = -1) -> bytes:
        left = max(0, self._end - self._file.tell())
        return self._file.readline(left if size < 0 else min(size, left))


def newline_of(file: BinaryIO, encoding: str) -> bytes:
    """Return a line end in an encoding; for one with a byte order mark, in the order that the file's says."""
    if encoding in ("utf-16", "utf-32"):
        file.seek(0)
        encoding += "-be" if file.read(2) in (b"\xfe\xff", b"\0\0") else "-le"
    return "\n".encode(encoding)


def _last_line_end(file: BinaryIO, newline: bytes) -> int:
    """Return the place behind the last line end; the end of a file that has none."""
    width = len(newline)
    size = file.seek(0, 2)
    place = size
    while place > 0:
        start = max(0, place - _STEP) // width * width
        file.seek(start)
        data = file.read(place - start + width - 1)
        found = data.rfind(newline)
        while found >= 0 and found % width:
            found = data.rfind(newline, 0, found + width - 1)
        if found >= 0:
            return start + found + width
        place = start
    return size
