"""The records of an export, frozen when it is asked for: their keys, in chunks."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.keys import parse_key
from gristmill.datasets.types import TYPES
from gristmill.images.export.errors import OtherExport
from gristmill.images.export.names import key_text
from gristmill.images.export.repository.selection import read_keys
from gristmill.jobs.submit import NewChunk
from gristmill.records.columns import to_table
from gristmill.records.export.stored.repository import StoredExport
from gristmill.records.export.stored.service import StoredExports
from gristmill.records.payload import decode, encode
from gristmill.records.spool import Spool, SpooledChunks
from gristmill.storage.port import Source, pieces_of

Key = tuple[Any, ...]
FORMAT = "images"
_PIECE = 256 * 1024


class Selections:
    """Freezes selections. chunk_records: records of a chunk."""

    def __init__(self, spool: Spool, exports: StoredExports, chunk_records: int) -> None:
        self._spool = spool
        self._exports = exports
        self._chunk_records = chunk_records

    def matching(self, connection: Connection, contract: Contract, where: Any) -> SpooledChunks:
        """Return the keys of all matching records. Raises Invalid for a bad filter, Unavailable for a full spool."""
        return self._spooled(contract, read_keys(connection, contract, where))

    def failed_of(self, contract: Contract, export_id: str) -> SpooledChunks:
        """Return the keys of the records that failed in an earlier export of the dataset.

        Raises UnknownExport, ExportNotReady, ExportExpired, OtherExport.
        """
        found = self._exports.find(export_id)
        if found.format != FORMAT or found.dataset != contract.name:
            what = f"is one of {found.dataset}" if found.format == FORMAT else f"is a file of {found.dataset}"
            raise OtherExport(f"The export {found.id} {what}, and no export of images of {contract.name}")
        file = self._exports.open_one(export_id, "failures.csv")
        try:
            return self._spooled(contract, _failed_keys(contract, found, file.source))
        finally:
            file.source.close()

    def _spooled(self, contract: Contract, keys: Iterable[Key]) -> SpooledChunks:
        chunks = SpooledChunks(self._spool)
        try:
            waiting: list[Key] = []
            first = 0
            for key in keys:
                waiting.append(key)
                if len(waiting) == self._chunk_records:
                    chunks.add(_chunk(contract, first, waiting))
                    first += len(waiting)
                    waiting = []
            if waiting or not first:
                chunks.add(_chunk(contract, first, waiting))
        except BaseException:
            chunks.close()
            raise
        return chunks


def keys_of(contract: Contract, payload: bytes | None) -> list[Key]:
    """Return the keys of a chunk, in their order."""
    table = decode(payload or b"")
    columns = [TYPES[field.type].key_values(table.column(field.name)) for field in contract.key_fields]
    return list(zip(*columns, strict=True))


def _chunk(contract: Contract, first: int, keys: list[Key]) -> NewChunk:
    rows = [dict(zip(contract.key, key, strict=True)) for key in keys]
    return NewChunk(first, len(keys), encode(to_table(contract.key_fields, rows)))


def _failed_keys(contract: Contract, export: StoredExport, source: Source) -> Iterator[Key]:
    rows = csv.reader(_lines(source))
    next(rows)
    for row in rows:
        key = parse_key(contract, row[0])
        if key_text(contract, key) != row[0]:
            raise OtherExport(f"The key of {contract.name} is another one than when {export.id} was made")
        yield key


def _lines(source: Source) -> Iterator[str]:
    rest = b""
    for piece in pieces_of(source, _PIECE):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode() + "\n" for line in whole)
    if rest:
        yield rest.decode()
