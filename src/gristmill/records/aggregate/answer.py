"""An answer on disk: written there at the speed of Postgres, whole before the first byte is sent.

So no transaction waits for a client, and a failure is a problem and never half an answer.
"""

import errno
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from gristmill.core.errors import Unavailable
from gristmill.records.aggregate.formats import Format
from gristmill.records.spool import Spool

# Room in the spool is reserved in such steps.
STEP_BYTES = 1024 * 1024


class Answer:
    """One answer. size: bytes that Postgres wrote. Close it when it is sent, or is not to be."""

    def __init__(self, spool: Spool, format: Format) -> None:
        """Raises Unavailable where nothing can be written."""
        self.format = format
        self.size = 0
        self.rows = 0
        self._spool = spool
        self._taken = 0
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115 - closed in close()
                buffering=STEP_BYTES, prefix="gristmill-", dir=spool.directory
            )
        except OSError as error:
            raise Unavailable(f"The spool cannot be written: {error.strerror}", retry_after=5) from error

    def write(self, data: Any) -> int:
        """Take what COPY gives: called for each row. Raises Unavailable when the spool or the disk is full."""
        self.size += len(data)
        if self.size > self._taken:
            self._spool.take(STEP_BYTES)
            self._taken += STEP_BYTES
        try:
            return self._file.write(data)
        except OSError as error:
            raise _full(error) from error

    def pieces(self) -> Iterator[bytes]:
        """Yield the answer."""
        try:
            self._file.seek(0)
        except OSError as error:
            raise _full(error) from error
        return self.format.pieces(self._file, self.size)

    def close(self) -> None:
        """Delete it; may be called again."""
        self._file.close()
        self._spool.give_back(self._taken)
        self._taken = 0


def _full(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Unavailable("The disk of the spool is full", retry_after=5)
    return error
