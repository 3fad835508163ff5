"""SQL of stored exports. A row is there before the first byte of its file, and until after the last one."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

_COLUMNS = """id, dataset, format, file_name, state, fence, bytes AS size, encode(sha256, 'hex') AS sha256, rows,
    failed, horizon, secret, keep_seconds, created_at, ready_at, expires_at,
    coalesce(expires_at <= clock_timestamp(), false) AS expired"""
_BEGIN = """
INSERT INTO gristmill.exports (id, dataset, format, file_name, keep_seconds, secret)
VALUES (%(id)s, %(dataset)s, %(format)s, %(file_name)s, %(keep)s, %(secret)s) ON CONFLICT (id) DO NOTHING
"""
# What an attempt that has lost its lease writes down after a later one is refused by the fence.
_WRITTEN = """
UPDATE gristmill.exports SET fence = %(fence)s, bytes = %(size)s, sha256 = %(sha256)s, rows = %(rows)s,
    horizon = %(horizon)s
WHERE id = %(id)s AND state = 'writing' AND (fence IS NULL OR fence < %(fence)s)
"""
_READY = f"""
UPDATE gristmill.exports SET state = 'ready', ready_at = clock_timestamp(),
    expires_at = clock_timestamp() + keep_seconds * interval '1 second'
WHERE id = %(id)s AND state = 'writing' AND fence = %(fence)s RETURNING {_COLUMNS}
"""  # noqa: S608 - constants of this file
_HOLD = f"SELECT {_COLUMNS} FROM gristmill.exports WHERE id = %(id)s FOR UPDATE"  # noqa: S608 - constants of this file
_GROWN = "UPDATE gristmill.exports SET bytes = %(size)s WHERE id = %(id)s AND state = 'writing'"
_FOLDER_READY = f"""
UPDATE gristmill.exports SET state = 'ready', bytes = %(size)s, rows = %(rows)s, failed = %(failed)s,
    ready_at = clock_timestamp(), expires_at = clock_timestamp() + keep_seconds * interval '1 second'
WHERE id = %(id)s AND state = 'writing' RETURNING {_COLUMNS}
"""  # noqa: S608 - constants of this file
_FIND = f"SELECT {_COLUMNS} FROM gristmill.exports WHERE id = %(id)s"  # noqa: S608 - constants of this file
_LIST = f"""
SELECT {_COLUMNS} FROM gristmill.exports
WHERE state = 'ready' AND expires_at > clock_timestamp() AND (%(dataset)s::text IS NULL OR dataset = %(dataset)s)
    AND (%(before)s::uuid IS NULL OR id < %(before)s::uuid)
ORDER BY id DESC LIMIT %(limit)s
"""  # noqa: S608 - constants of this file
_DELETE = "UPDATE gristmill.exports SET state = 'deleted' WHERE id = %(id)s AND state = 'ready' RETURNING id"
# Of those that are being written, jobs that were cancelled or have failed leave some behind: their ends say which.
_DUE = """
SELECT id, state, format, keep_seconds FROM gristmill.exports
WHERE state = 'deleted' OR state = 'writing'
    OR state = 'ready' AND expires_at + %(grace)s * interval '1 second' <= clock_timestamp()
ORDER BY id LIMIT %(limit)s
"""
_REMOVED = "UPDATE gristmill.exports SET state = 'removed' WHERE id = %(id)s AND state IN ('ready', 'deleted')"
_FORGET = "DELETE FROM gristmill.exports WHERE id = %(id)s AND state = 'writing'"
_KNOWN = "SELECT id FROM gristmill.exports WHERE id = ANY(%(ids)s::uuid[]) AND state <> 'removed'"
_STORED = "SELECT coalesce(sum(bytes), 0)::bigint FROM gristmill.exports WHERE state <> 'removed'"
_PRUNE = """
DELETE FROM gristmill.exports WHERE id IN (
    SELECT id FROM gristmill.exports
    WHERE state = 'removed' AND expires_at < clock_timestamp() - %(days)s * interval '1 day' LIMIT 1000)
"""


# Where the file of an export is, or what belongs to its files; and where these are.
FOLDER, FILES_FOLDER = "exports", "output"
# Formats of exports that are many files, chunk by chunk.
FOLDER_FORMATS = ("images",)


class Due(NamedTuple):
    """An export whose files are to go, or, while it is being written, may be."""

    id: uuid.UUID
    state: str
    format: str
    keep_seconds: float


@dataclass(frozen=True, slots=True)
class StoredExport:
    """A row. fence: of the attempt whose file counts. keep_seconds: how long it is kept once it is ready.

    rows, failed: what the export has, and what it was to have and could not be made. size: of the file; of an export
    that is a folder, of the archive of its files.
    """

    id: uuid.UUID
    dataset: str
    format: str
    file_name: str
    state: str
    fence: int | None
    size: int | None
    sha256: str | None
    rows: int | None
    failed: int | None
    horizon: str | None
    secret: bytes
    keep_seconds: float
    created_at: datetime
    ready_at: datetime | None
    expires_at: datetime | None
    expired: bool

    @property
    def folder(self) -> str:
        return folder_of(self.id)

    @property
    def is_folder(self) -> bool:
        """Whether the export is many files, which are read one by one or as an archive."""
        return self.format in FOLDER_FORMATS

    @property
    def files(self) -> str:
        """The folder in the storage that has the files of such an export, and nothing else."""
        return files_of(self.id)

    @property
    def archive(self) -> str:
        """What the names of the index of their archive begin with; see ``storage/zips``."""
        return f"{self.folder}/zip"

    @property
    def stored_name(self) -> str:
        """The name of the file in the storage."""
        return f"{self.folder}/{stored_leaf(self.fence or 0, self.file_name)}"


def files_of(export_id: uuid.UUID) -> str:
    """Return the folder in the storage that has the files of an export of many."""
    return f"{FILES_FOLDER}/{export_id}"


def folder_of(export_id: uuid.UUID) -> str:
    """Return the folder in the storage that all attempts of a job write to."""
    return f"{FOLDER}/{export_id}"


def stored_leaf(fence: int, file_name: str) -> str:
    """Return what an attempt calls its file."""
    return f"{fence}.{file_name.rpartition('.')[2]}"


def begin(connection: Connection, export_id: uuid.UUID, **values: Any) -> StoredExport:
    """Make the row of a job, if it has none, and return it. values: dataset, format, file_name, keep, secret."""
    connection.exec_driver_sql(_BEGIN, {"id": str(export_id), **values})
    found = find(connection, export_id)
    assert found is not None  # nobody deletes the row of a job that runs
    return found


def written(connection: Connection, export_id: uuid.UUID, fence: int, **values: Any) -> bool:
    """Note the file that an attempt has made; false if a later one has. values: size, sha256, rows, horizon."""
    return bool(connection.exec_driver_sql(_WRITTEN, {"id": str(export_id), "fence": fence, **values}).rowcount)


def make_ready(connection: Connection, export_id: uuid.UUID, fence: int) -> StoredExport | None:
    """Give the file to readers, in the transaction that ends the chunk; None if it is not this attempt's any more."""
    return _one(connection.exec_driver_sql(_READY, {"id": str(export_id), "fence": fence}))


def hold(connection: Connection, export_id: uuid.UUID) -> StoredExport | None:
    """Return an export that nobody else changes until the transaction ends."""
    return _one(connection.exec_driver_sql(_HOLD, {"id": str(export_id)}))


def note_size(connection: Connection, export_id: uuid.UUID, size: int) -> None:
    """Note how many bytes an export has so far that is being made."""
    connection.exec_driver_sql(_GROWN, {"id": str(export_id), "size": size})


def make_folder_ready(
    connection: Connection, export_id: uuid.UUID, *, size: int, rows: int, failed: int
) -> StoredExport | None:
    """Give an export that is a folder to readers; None if it is not being made any more."""
    values = {"id": str(export_id), "size": size, "rows": rows, "failed": failed}
    return _one(connection.exec_driver_sql(_FOLDER_READY, values))


def find(connection: Connection, export_id: uuid.UUID) -> StoredExport | None:
    return _one(connection.exec_driver_sql(_FIND, {"id": str(export_id)}))


def list_ready(connection: Connection, dataset: str | None, before: uuid.UUID | None, limit: int) -> list[StoredExport]:
    """Return exports that can be read, newest first."""
    parameters = {"dataset": dataset, "before": None if before is None else str(before), "limit": limit}
    return [_row(row) for row in connection.exec_driver_sql(_LIST, parameters).mappings()]


def delete(connection: Connection, export_id: uuid.UUID) -> bool:
    """Take an export from its readers; the file is removed afterwards. False if it was not ready."""
    return connection.exec_driver_sql(_DELETE, {"id": str(export_id)}).first() is not None


def due(connection: Connection, grace: float, limit: int) -> list[Due]:
    """Return exports whose files are to go, or, for ``writing``, may be, if their jobs have ended."""
    rows = connection.exec_driver_sql(_DUE, {"grace": grace, "limit": limit})
    return [Due(*row) for row in rows]


def note_removed(connection: Connection, export_id: uuid.UUID) -> None:
    """Note that an export has no file any more; an export that never was ready is forgotten."""
    connection.exec_driver_sql(_REMOVED, {"id": str(export_id)})
    connection.exec_driver_sql(_FORGET, {"id": str(export_id)})


def known(connection: Connection, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the ids that may have files."""
    return {row[0] for row in connection.exec_driver_sql(_KNOWN, {"ids": [str(one) for one in ids]})}


def stored_bytes(connection: Connection) -> int:
    """Return the bytes of all files."""
    found: int = connection.exec_driver_sql(_STORED).scalar_one()
    return found


def prune(connection: Connection, days: float) -> int:
    """Forget exports that have had no file for a while; return how many."""
    return connection.exec_driver_sql(_PRUNE, {"days": days}).rowcount


def _one(result: Any) -> StoredExport | None:
    row = result.mappings().first()
    return None if row is None else _row(row)


def _row(row: Any) -> StoredExport:
    return StoredExport(**{**row, "secret": bytes(row["secret"])})
