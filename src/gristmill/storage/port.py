"""The port for files: written whole or not at all, read in bounded pieces, never outside of the storage's root."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

# The most that one call of ``read`` gives.
LONGEST_READ = 16 * 1024 * 1024


class Sink(Protocol):
    """A file that is being written."""

    def write(self, data: bytes) -> None:
        """Append. Raises FileTooLarge, FileStorageFull, FileStorageRefused, FileStorageUnavailable."""
        ...


class Source(Protocol):
    """A file that is open to be read; it stays readable when it is removed meanwhile, or says that it is gone.

    size: bytes. piece: how many bytes are best read at once.
    """

    size: int
    piece: int

    def read(self, start: int, length: int) -> bytes:
        """Return exactly these bytes, at most LONGEST_READ and none behind the end.

        Raises FileMissing when the file is gone or was replaced, FileStorageUnavailable.
        """
        ...

    def close(self) -> None: ...


class Batch(Protocol):
    """Many small files that become durable together."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file that is in memory. It may be there at once or at the end of the batch, whole in any case.

        Raises what ``Storage.write`` and its sink raise, perhaps for a file that was given before.
        """
        ...


class Storage(Protocol):
    """One kind of storage. Names are as ``names.parts_of`` has them, folders too; all methods raise UnsafeName.

    They raise FileStorageFull, FileStorageRefused, and FileStorageUnavailable within a bounded time.
    """

    place: str
    """The storage, as messages name it; no credentials."""

    def write(self, name: str) -> AbstractContextManager[Sink]:
        """Write a file. It is there, whole and durable, when the block has ended; nothing is if the block raises.

        A file of that name is replaced at once. A process that is killed leaves nothing under the name.
        """
        ...

    def batch(self) -> AbstractContextManager[Batch]:
        """Write many files. All are there, whole and durable, when the block has ended.

        If it raises, or the process is killed, each is there whole or not at all; which ones, nobody knows. Making a
        file durable by itself takes longer than writing it where files are small.
        """
        ...

    def open(self, name: str) -> Source:
        """Open a file to be read. Raises FileMissing."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def clear(self, folder: str, keep: Collection[str] = ()) -> int:
        """Remove all files of a folder but those named ``keep``, unfinished ones included; return how many."""
        ...

    def remove_unfinished(self, folder: str) -> None:
        """Remove what killed processes were writing directly within a folder, as far as it can be seen there.

        Whoever still writes what was removed gets FileStorageUnavailable at the end. A bucket shows no file before it
        is complete: there nothing is removed.
        """
        ...

    def children(self, folder: str) -> list[str]:
        """Return the names of files and folders directly within a folder; none where there is no such folder."""
        ...


def pieces_of(source: Source, piece: int) -> Iterator[bytes]:
    """Yield a whole file in pieces of so many bytes. Raises as ``Source.read`` does."""
    for start in range(0, source.size, piece):
        yield source.read(start, min(piece, source.size - start))
