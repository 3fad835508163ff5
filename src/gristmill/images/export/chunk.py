"""The work of one chunk: a file for each record, and what is said of it in metadata, failures and archive."""

import contextlib
import struct
import zlib
from collections.abc import Iterator, Sequence

from gristmill.images.errors import BadImage
from gristmill.images.export.change import ImageChange
from gristmill.images.export.names import IMAGES, file_stem, key_text
from gristmill.images.export.records import ChunkRecords, Key
from gristmill.images.export.repository.parts import Part
from gristmill.images.export.repository.rows import ExportedRow
from gristmill.images.formats import SUFFIXES
from gristmill.jobs.handlers import ChunkTask
from gristmill.kit.pace import Pace
from gristmill.records.export.stored.repository import StoredExport
from gristmill.records.rejects.cells import csv_cell
from gristmill.storage.port import Batch, Sink, Storage

# Seconds after which a chunk asks again whether it is still to be done.
_ASK_EVERY = 0.2
_PIECE = 64 * 1024
# Of an entry of the archive: size, CRC-32, length of the name, which follows.
ENTRY = struct.Struct("<QIH")
GONE, NO_IMAGE = "record_gone", "no_image"


def part_name(export: StoredExport, number: int, fence: int, kind: str) -> str:
    """Return the name of what a chunk says of its records. kind: ``metadata``, ``failures``, ``entries``."""
    return f"{export.folder}/parts/{number}.{fence}.{kind}"


def make_part(
    storage: Storage, task: ChunkTask, export: StoredExport, records: ChunkRecords, change: ImageChange
) -> Part:
    """Make all files of a chunk and return its part. When this returns they are durable.

    Raises what ends the attempt, and what the storages and Postgres raise; what is wrong with one image only fails its
    record.
    """
    with contextlib.ExitStack() as stack:
        said = [
            _Lines(stack.enter_context(storage.write(part_name(export, task.number, task.fence, kind))))
            for kind in ("metadata", "failures", "entries")
        ]
        work = _Work(storage, stack.enter_context(storage.batch()), task, export, records, change, *said)
        for place, (key, row) in enumerate(records.read()):
            work.ask()
            work.export(key, row)
            task.report((place + 1) / max(1, task.records))
        for lines in said:
            lines.flush()
        size = work.size + sum(lines.size for lines in said)
        return Part(task.number, task.fence, work.images, task.records - work.images, size)


class _Work:
    def __init__(
        self,
        storage: Storage,
        batch: Batch,
        task: ChunkTask,
        export: StoredExport,
        records: ChunkRecords,
        change: ImageChange,
        metadata: "_Lines",
        failures: "_Lines",
        entries: "_Lines",
    ) -> None:
        self._storage = storage
        self._batch = batch
        self._task = task
        self._export = export
        self._records = records
        self._change = change
        self._metadata, self._failures, self._entries = metadata, failures, entries
        self.ask = Pace(task.check, _ASK_EVERY, at_once=True)
        self.images = self.size = 0

    def export(self, key: Key, row: ExportedRow | None) -> None:
        stem = f"{IMAGES}/{file_stem(self._records.contract, key)}"
        try:
            name, data = self._made(stem, row)
        except BadImage as error:
            self._leave_only(stem, "")
            self._failures.write(csv_line([key_text(self._records.contract, key), error.code, error.reason]))
            return
        self._leave_only(stem, name)
        assert row is not None
        self._batch.put(f"{self._export.files}/{name}", data)
        self._metadata.write(csv_line([*row.cells, name]))
        encoded = name.encode()
        self._entries.write(ENTRY.pack(len(data), zlib.crc32(data), len(encoded)) + encoded)
        self.images += 1
        self.size += len(data)

    def _made(self, stem: str, row: ExportedRow | None) -> tuple[str, bytes]:
        if row is None:
            raise BadImage(GONE, "was deleted after the export was asked for")
        if row.image is None:
            raise BadImage(NO_IMAGE, f"has no image: {self._records.image} is null")
        data, suffix = self._change.make(row.image)
        return f"{stem}.{suffix}", data

    def _leave_only(self, stem: str, name: str) -> None:
        """Remove what an earlier attempt made of a record that was another one then."""
        if self._task.fence > 1:
            for suffix in SUFFIXES.values():
                if f"{stem}.{suffix}" != name:
                    self._storage.remove(f"{self._export.files}/{stem}.{suffix}")


class _Lines:
    """Collects lines for a file, which is written in pieces."""

    def __init__(self, file: Sink) -> None:
        self._file = file
        self._waiting = bytearray()
        self.size = 0

    def write(self, line: bytes) -> None:
        self._waiting += line
        self.size += len(line)
        if len(self._waiting) >= _PIECE:
            self.flush()

    def flush(self) -> None:
        self._file.write(bytes(self._waiting))
        self._waiting.clear()


def csv_line(cells: Sequence[str | None]) -> bytes:
    """Return a line of CSV as exports of records end it."""
    return (",".join(map(csv_cell, cells)) + "\n").encode()


def read_entries(pieces: Iterator[bytes]) -> Iterator[tuple[int, int, str]]:
    """Yield (size, CRC-32, name) of what chunks have written as ``entries``."""
    data = b""
    for piece in pieces:
        data, at = data + piece, 0
        while len(data) >= at + ENTRY.size:
            size, crc, length = ENTRY.unpack_from(data, at)
            end = at + ENTRY.size + length
            if len(data) < end:
                break
            yield size, crc, data[at + ENTRY.size : end].decode()
            at = end
        data = data[at:]
