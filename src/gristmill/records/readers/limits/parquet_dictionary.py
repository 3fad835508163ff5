"""The dictionary page of a column of texts: how long the longest of them is.

Source of the format: https://parquet.apache.org/docs/file-format/data-pages/encodings/, "Plain".
"""

import struct
from typing import BinaryIO

import pyarrow as pa

# Looking through a page takes about 0.1 s for each million of texts.
_MAX_BYTES = 16 * 1024 * 1024
# Codecs as parquet.thrift numbers them. The old LZ4 has frames of its own.
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}


def longest_in(file: BinaryIO, codec: int, packed: int, unpacked: int) -> int:
    """Return how many bytes no text of the dictionary page exceeds: ``unpacked`` where the page does not tell.

    file: stands at the page. packed, unpacked: its size.
    """
    if unpacked > _MAX_BYTES or packed > 2 * _MAX_BYTES:
        return unpacked
    raw = file.read(packed)
    if codec:
        try:
            raw = pa.Codec(_CODECS[codec]).decompress(raw, unpacked, asbytes=True)
        except (KeyError, pa.ArrowException, OSError, ValueError):
            # Whoever reads the column says what is wrong with it.
            return unpacked
    at = longest = 0
    while at + 4 <= len(raw):
        (length,) = struct.unpack_from("<I", raw, at)
        longest = max(longest, length)
        at += 4 + length
    return min(longest, unpacked)
