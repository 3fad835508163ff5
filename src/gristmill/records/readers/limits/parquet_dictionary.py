"""The dictionary page of a column of texts: how long the longest of them is.

Source of the format: https://parquet.apache.org/docs/file-format/data-pages/encodings/, "Plain".
"""

import struct
from typing import BinaryIO

import pyarrow as pa

_MAX_BYTES = 16 * 1024 * 1024
# Texts that are looked at in the dictionaries of one file: 0.3 s for each million.
_MAX_TEXTS = 5_000_000
# Codecs as parquet.thrift numbers them. The old LZ4 has frames of its own.
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}


class Dictionaries:
    """The dictionary pages of one file; beyond a number of texts they are not looked through any more."""

    def __init__(self) -> None:
        self._left = _MAX_TEXTS

    def longest_in(self, file: BinaryIO, codec: int, packed: int, unpacked: int, count: int) -> int:
        """Return how many bytes no text of a dictionary page exceeds: its size where it is not looked through.

        file: stands at the page. packed, unpacked: its size. count: how many texts it says that it has.
        """
        size = max(packed, unpacked)
        if size > _MAX_BYTES or count > self._left:
            return size
        self._left -= count
        raw = file.read(packed)
        if codec:
            try:
                raw = pa.Codec(_CODECS[codec]).decompress(raw, unpacked, asbytes=True)
            except (KeyError, pa.ArrowException, OSError, ValueError):
                # Whoever reads the column says what is wrong with it.
                return size
        at = longest = 0
        for _ in range(count):
            if at + 4 > len(raw):
                break
            (length,) = struct.unpack_from("<I", raw, at)
            longest = max(longest, length)
            at += 4 + length
        return min(longest, size)
