"""Joining what the chunks of an export say of their records: metadata.csv, failures.csv, the index of the archive."""

import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence

from gristmill.images.export.chunk import csv_line, part_name, read_entries
from gristmill.kit.pace import Pace
from gristmill.records.export.stored.repository import StoredExport
from gristmill.storage.port import Storage, pieces_of
from gristmill.storage.zips.index import write_index
from gristmill.storage.zips.layout import Entry

METADATA, FAILURES = "metadata.csv", "failures.csv"
FAILURE_COLUMNS = ("key", "code", "reason")
_PIECE = 256 * 1024
_ASK_EVERY = 0.5
Fences = Callable[[], Iterator[tuple[int, int]]]
"""Gives (number, fence) of all parts in the order of the chunks, anew at each call."""


def assemble(
    storage: Storage, export: StoredExport, fields: Sequence[str], fences: Fences, check: Callable[[], None]
) -> int:
    """Write the files and return how long the archive is. Whoever does it writes the same bytes, in constant memory.

    fields: of metadata.csv, beside the name of the file. check: called now and then; what it raises ends this.
    """
    pace = Pace(check, _ASK_EVERY)

    def pieces(kind: str) -> Iterator[bytes]:
        for number, fence in fences():
            yield from _read(storage, part_name(export, number, fence, kind), pace)

    # No field begins with an underscore.
    file_column = "_file" if "file" in fields else "file"
    heads = {METADATA: csv_line([*fields, file_column]), FAILURES: csv_line(FAILURE_COLUMNS)}
    listed = [
        _join(storage, export, name, itertools.chain([head], pieces(name.removesuffix(".csv"))))
        for name, head in heads.items()
    ]
    images = (Entry(name, size, crc) for size, crc, name in read_entries(pieces("entries")))
    return write_index(storage, export.archive, itertools.chain(listed, images))


def _join(storage: Storage, export: StoredExport, name: str, pieces: Iterator[bytes]) -> Entry:
    size = crc = 0
    with storage.write(f"{export.files}/{name}") as file:
        for piece in pieces:
            file.write(piece)
            size, crc = size + len(piece), zlib.crc32(piece, crc)
    return Entry(name, size, crc)


def _read(storage: Storage, name: str, pace: Pace) -> Iterator[bytes]:
    source = storage.open(name)
    try:
        for piece in pieces_of(source, _PIECE):
            pace()
            yield piece
    finally:
        source.close()
