"""A file in memory that one side writes and the other empties now and then: for libraries that write to files alone."""

import io
from typing import Any


class Drain(io.RawIOBase):
    """A file that is only written to. ``drain`` returns what was written since it was called last."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def drain(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data
