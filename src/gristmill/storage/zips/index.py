"""What an archive is worked out from, as two files: its directory, and where each entry begins."""

import struct
from collections.abc import Iterable

from gristmill.storage.port import Storage
from gristmill.storage.zips.layout import Entry, central_header, end_of_directory, local_header

# Of each entry: where its local header begins in the archive, and where its line begins in the directory. One place
# more says where both end.
PLACE = struct.Struct("<QQ")
_PIECE = 256 * 1024


def directory_of(base: str) -> str:
    return f"{base}.directory"


def places_of(base: str) -> str:
    return f"{base}.places"


def write_index(storage: Storage, base: str, entries: Iterable[Entry]) -> int:
    """Write both files of the archive of ``entries``, which are taken one by one; return how long the archive is.

    base: what the names of both files begin with.
    """
    count = offset = size = 0
    with storage.write(directory_of(base)) as directory, storage.write(places_of(base)) as places:
        lines, starts = bytearray(), bytearray()
        for entry in entries:
            line = central_header(entry, offset)
            starts += PLACE.pack(offset, size)
            lines += line
            count, size = count + 1, size + len(line)
            offset += len(local_header(entry)) + entry.size
            if len(lines) >= _PIECE:
                directory.write(bytes(lines))
                places.write(bytes(starts))
                lines.clear()
                starts.clear()
        end = end_of_directory(count, size, offset)
        directory.write(bytes(lines) + end)
        places.write(bytes(starts) + PLACE.pack(offset, size))
    return offset + size + len(end)
