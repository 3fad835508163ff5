"""The spool: request bodies and validated chunks on disk, so that no request's memory grows with its size.

Small ones stay in memory. Files have no name (they are unlinked when opened), so a killed process leaves nothing.
"""

import errno
import hashlib
import io
import tempfile
import threading
from collections.abc import Iterator
from typing import BinaryIO

from gristmill.core.errors import Malformed, TooLarge, Unavailable
from gristmill.jobs.submit import NewChunk
from gristmill.records.content_encoding import decompress

# Up to this size a body, or the chunks made of it, are kept in memory.
MEMORY_BYTES = 1024 * 1024


class Spool:
    """The spool of one process: a folder and the bytes that may be in it at any time.

    directory: where the files go, "" for the system's folder for temporary files.
    """

    def __init__(self, directory: str, max_bytes: int) -> None:
        self.directory = directory or None
        self.max_bytes = max_bytes
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes on disk now."""
        return self._used

    def take(self, size: int) -> None:
        """Reserve ``size`` bytes. Raises Unavailable when the spool is full."""
        with self._lock:
            if self._used + size > self.max_bytes:
                raise Unavailable(
                    f"The spool is full: {self._used} of {self.max_bytes} bytes are in use by other requests",
                    retry_after=5,
                )
            self._used += size

    def give_back(self, size: int) -> None:
        with self._lock:
            self._used -= size


class SpoolFile:
    """A file that grows in memory first, on disk later, counted against its spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._memory: io.BytesIO = io.BytesIO()
        self._disk: BinaryIO | None = None
        self.size = 0
        self._taken = 0

    @property
    def on_disk(self) -> bool:
        return self._disk is not None

    @property
    def file(self) -> BinaryIO:
        """The file itself, for reading; the caller seeks."""
        return self._disk or self._memory

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``. Raises Unavailable when the spool or the disk is full."""
        size = len(data)
        if self._disk is None and self.size + size > MEMORY_BYTES:
            self._move_to_disk()
        if self._disk is not None:
            self._spool.take(size)
            self._taken += size
        self._append(self.file, data)
        self.size += size

    def close(self) -> None:
        """Delete the content and free its room in the spool; may be called again."""
        if self._disk is not None:
            self._disk.close()
        self._spool.give_back(self._taken)
        self._memory, self._disk, self._taken, self.size = io.BytesIO(), None, 0, 0

    def _move_to_disk(self) -> None:
        self._spool.take(self.size)
        self._taken = self.size
        try:
            self._disk = tempfile.TemporaryFile(prefix="gristmill-", dir=self._spool.directory)  # noqa: SIM115 - closed in close()
        except OSError as error:
            raise Unavailable(f"The spool cannot be written: {error.strerror}", retry_after=5) from error
        self._append(self._disk, self._memory.getbuffer())
        self._memory = io.BytesIO()

    def _append(self, file: BinaryIO, data: bytes | memoryview) -> None:
        try:
            file.seek(0, io.SEEK_END)
            file.write(data)
            file.flush()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise Unavailable("The disk of the spool is full", retry_after=5) from error
            raise


class BodySpool:
    """A request body while it streams in: spooled, measured and, where it may be a replay, hashed.

    max_bytes: where TooLarge is raised. identity: what else must be equal for a request to be a replay of another
    (method, path, query, content type); None where no replay is possible, as hashing takes a tenth of the time of
    receiving a body.
    """

    def __init__(self, spool: Spool, max_bytes: int, identity: bytes | None) -> None:
        self._spool = spool
        self._content = SpoolFile(spool)
        self._max_bytes = max_bytes
        # Whether the end of what was compressed was left out.
        self.cut = False
        self._digest = None if identity is None else hashlib.sha256(identity + b"\0")

    @property
    def size(self) -> int:
        return self._content.size

    @property
    def on_disk(self) -> bool:
        return self._content.on_disk

    @property
    def body_hash(self) -> str | None:
        return None if self._digest is None else self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Append what arrived. Raises TooLarge, Unavailable."""
        if self.size + len(data) > self._max_bytes:
            raise TooLarge(f"The body is larger than {self._max_bytes} bytes", max_bytes=self._max_bytes)
        if self._digest is not None:
            self._digest.update(data)
        self._content.write(data)

    def identify(self, what: str) -> None:
        """Add to what must be equal for a request to be a replay of another."""
        if self._digest is not None:
            self._digest.update(b"\0" + what.encode())

    def decompress(self, encoding: str, part: bool = False) -> None:
        """Replace the body by what it holds, compressed as ``encoding`` says; the hash stays that of what was sent.

        part: it may be the first part of a stream, and what goes beyond the size of a body is left out.
        Raises TooLarge as soon as that is larger than a body may be, Malformed, Unavailable.
        """
        decompressed = SpoolFile(self._spool)
        try:
            for block in self._inflated(encoding, part):
                if decompressed.size + len(block) > self._max_bytes:
                    if part:
                        decompressed.write(block[: self._max_bytes - decompressed.size])
                        self.cut = True
                        break
                    raise TooLarge(
                        f"The body is larger than {self._max_bytes} bytes once it is inflated",
                        max_bytes=self._max_bytes,
                    )
                decompressed.write(block)
        except BaseException:
            decompressed.close()
            raise
        self._content.close()
        self._content = decompressed

    def _inflated(self, encoding: str, part: bool) -> Iterator[bytes]:
        begun = False
        try:
            for block in decompress(self.open(), encoding):
                begun = True
                yield block
        except Malformed as error:
            if not (part and begun and error.violations[0].code == "truncated"):
                raise
            self.cut = True

    def open(self) -> BinaryIO:
        """Return the body from its start."""
        file = self._content.file
        file.seek(0)
        return file

    def close(self) -> None:
        self._content.close()


class SpooledChunks:
    """Validated chunks waiting for the one transaction that stages them; payloads are read back one at a time."""

    def __init__(self, spool: Spool) -> None:
        self._content = SpoolFile(spool)
        self._index: list[tuple[int, int, int, int]] = []

    def __len__(self) -> int:
        return len(self._index)

    @property
    def records(self) -> int:
        return sum(records for _, records, _, _ in self._index)

    def add(self, chunk: NewChunk) -> None:
        """Append a chunk. Raises Unavailable when the spool is full."""
        offset, payload = self._content.size, chunk.payload or b""
        self._content.write(payload)
        self._index.append((chunk.first_record, chunk.records, offset, len(payload)))

    def __iter__(self) -> Iterator[NewChunk]:
        for first_record, records, offset, size in self._index:
            file = self._content.file
            file.seek(offset)
            yield NewChunk(first_record, records, file.read(size))

    def close(self) -> None:
        self._content.close()
        self._index = []
