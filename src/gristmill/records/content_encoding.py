"""Content-Encoding of request bodies: gzip (RFC 1952) and zstd (RFC 8878), decompressed block by block.

Both may hold several members or frames, one after the other, as concatenated files do.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa

from gristmill.core.errors import Malformed, UnsupportedMedia, Violation

READ_BYTES = 64 * 1024
# Most bytes that one step yields, however well the body is compressed.
STEP_BYTES = 1024 * 1024
# zlib's number for a gzip wrapper with the largest window.
_GZIP = 16 + zlib.MAX_WBITS


def content_encoding(header: str) -> str | None:
    """Return the encoding that a Content-Encoding header names, None for a plain body. Raises UnsupportedMedia."""
    name = header.strip().lower()
    if name in ("", "identity"):
        return None
    if name == "x-gzip":
        return "gzip"
    if name not in _DECOMPRESS:
        valid = ", ".join([*_DECOMPRESS, "identity"])
        raise UnsupportedMedia(f"The Content-Encoding {name[:80]!r} is not supported; valid are: {valid}")
    return name


def decompress(body: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yield what ``body`` holds, in blocks of at most 1 MiB.

    Raises Malformed naming the byte of the body (for damage: that of the block) when it is damaged or ends too early.
    """
    return _DECOMPRESS[encoding](body)


def _gzip(body: BinaryIO) -> Iterator[bytes]:
    member, begun, offset = zlib.decompressobj(_GZIP), False, 0
    while block := body.read(READ_BYTES):
        while block:
            if member.eof:
                # Some tools fill the end up with zeros; anything else is the next member.
                rest = block.lstrip(b"\0")
                offset, block = offset + len(block) - len(rest), rest
                if not rest:
                    continue
                member = zlib.decompressobj(_GZIP)
            try:
                data = member.decompress(block, STEP_BYTES)
            except zlib.error as error:
                raise _damaged("gzip", offset, str(error).split(": ")[-1]) from error
            rest = member.unused_data if member.eof else member.unconsumed_tail
            offset, block, begun = offset + len(block) - len(rest), rest, True
            if data:
                yield data
    if not begun or not member.eof:
        raise _truncated("gzip", offset)


def _zstd(body: BinaryIO) -> Iterator[bytes]:
    counted = _Counted(body)
    stream = pa.CompressedInputStream(pa.PythonFile(counted, mode="r"), "zstd")
    try:
        while block := stream.read(STEP_BYTES):
            yield block
    except OSError as error:
        if "Truncated" in str(error):
            raise _truncated("zstd", counted.taken) from error
        raise _damaged("zstd", counted.taken, str(error).split(": ")[-1]) from error
    if not counted.taken:
        raise _truncated("zstd", 0)


class _Counted:
    """A file that knows how much was read from it; Arrow closes what it reads from, and the body is needed again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.taken = 0
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(min(size, READ_BYTES) if size >= 0 else READ_BYTES)
        self.taken += len(block)
        return block

    def close(self) -> None:
        self.closed = True


_DECOMPRESS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {"gzip": _gzip, "zstd": _zstd}


def _truncated(encoding: str, offset: int) -> Malformed:
    return _refuse("truncated", offset, f"it ends at byte {offset}, before its {encoding} stream is complete")


def _damaged(encoding: str, offset: int, what: str) -> Malformed:
    return _refuse("malformed", offset, f"near byte {offset} it is no {encoding}: {what}")


def _refuse(code: str, offset: int, reason: str) -> Malformed:
    return Malformed(f"The body cannot be inflated: {reason}", [Violation("", code, reason)], byte=offset)
