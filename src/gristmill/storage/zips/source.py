"""An archive as a source, like a stored file: read in any order, from an index and the files themselves."""

from gristmill.storage.errors import FileMissing
from gristmill.storage.port import LONGEST_READ, Source, Storage
from gristmill.storage.zips.index import PLACE, directory_of, places_of
from gristmill.storage.zips.layout import Entry, local_header, read_central

# What is read of an index at once: 4,096 places.
_BLOCK = 64 * 1024


class ZipSource:
    """The archive of the files below ``folder`` that the index ``base`` lists. For one reader at a time.

    Raises FileMissing where the index is missing; reading does for a file that is, or that has another size.
    """

    piece = 256 * 1024

    def __init__(self, storage: Storage, base: str, folder: str) -> None:
        self._storage = storage
        self._folder = folder
        self._directory = _Blocks(storage.open(directory_of(base)))
        try:
            self._places = _Blocks(storage.open(places_of(base)))
        except BaseException:
            self._directory.close()
            raise
        self._count = self._places.size // PLACE.size - 1
        self._end = self._place(self._count)[0]
        self.size = self._end + self._directory.size
        self._current: _Current | None = None

    def read(self, start: int, length: int) -> bytes:
        """As ``Source.read``."""
        if not 0 <= length <= LONGEST_READ or start < 0 or start + length > self.size:
            raise ValueError(f"bytes {start} to {start + length} of {self.size} cannot be read at once")
        found = bytearray()
        while len(found) < length:
            at, wanted = start + len(found), length - len(found)
            if at >= self._end:
                found += self._directory.read(at - self._end, wanted)
            else:
                found += self._entry_at(at).read(at, wanted)
        return bytes(found)

    def close(self) -> None:
        for one in (self._directory, self._places, self._current):
            if one is not None:
                one.close()

    def _entry_at(self, at: int) -> "_Current":
        current = self._current
        if current is None or not current.begin <= at < current.end:
            following = 0 if current is None else current.number + 1
            number = following if self._holds(following, at) else self._find(at)
            if current is not None:
                current.close()
                self._current = None
            self._current = current = self._open(number)
        return current

    def _open(self, number: int) -> "_Current":
        (begin, line), (end, line_end) = self._place(number), self._place(number + 1)
        entry = read_central(self._directory.read(line, line_end - line))
        return _Current(self._storage, f"{self._folder}/{entry.name}", number, entry, begin, end)

    def _holds(self, number: int, at: int) -> bool:
        return number < self._count and self._place(number)[0] <= at < self._place(number + 1)[0]

    def _find(self, at: int) -> int:
        """Return the number of the entry that has a byte of the archive."""
        low, high = 0, self._count - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._place(middle)[0] <= at else (low, middle - 1)
        return low

    def _place(self, number: int) -> tuple[int, int]:
        offset, line = PLACE.unpack(self._places.read(number * PLACE.size, PLACE.size))
        return offset, line


class _Current:
    """The entry that is read now. begin, end: where it is in the archive. Its file is opened when it is needed."""

    def __init__(self, storage: Storage, name: str, number: int, entry: Entry, begin: int, end: int) -> None:
        self.number, self.begin, self.end = number, begin, end
        self._storage = storage
        self._name = name
        self._size = entry.size
        self._header = local_header(entry)
        self._source: Source | None = None

    def read(self, at: int, wanted: int) -> bytes:
        """Return bytes of the archive from ``at``, as many as are wanted and there are in one piece."""
        within = at - self.begin
        if within < len(self._header):
            return self._header[within : within + wanted]
        if self._source is None:
            self._source = self._storage.open(self._name)
            if self._source.size != self._size:
                raise FileMissing(f"The file {self._name} has {self._source.size} bytes now, and had {self._size}")
        return self._source.read(within - len(self._header), min(wanted, self.end - at))

    def close(self) -> None:
        if self._source is not None:
            self._source.close()


class _Blocks:
    """A stored file of which the block that was read last is kept."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.size = source.size
        self._start, self._data = 0, b""

    def read(self, start: int, length: int) -> bytes:
        if not (self._start <= start and start + length <= self._start + len(self._data)):
            base = start if length > _BLOCK else start - start % _BLOCK
            wanted = max(_BLOCK, start + length - base)
            self._start, self._data = base, self._source.read(base, min(wanted, self.size - base))
        return self._data[start - self._start : start - self._start + length]

    def close(self) -> None:
        self._source.close()
