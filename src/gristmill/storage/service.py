"""The storage of this installation: opened when it is first needed, and checked to be the one that all others see."""

import socket
import time
import uuid
from collections.abc import Callable

from gristmill.core.database import Database
from gristmill.kit.ids import uuid7
from gristmill.storage import repository
from gristmill.storage.errors import FileMissing, FileStorageUnavailable, NoFileStorage
from gristmill.storage.port import Storage

MARK = "gristmill.id"
# Seconds for which readers take a storage that was checked to be the same: a folder may be unmounted at any time.
_TRUSTED = 5.0


class Files:
    """Gives the storage to other domains. open: makes it; None where none is configured."""

    def __init__(self, database: Database, open: Callable[[], Storage] | None) -> None:
        self._database = database
        self._open = open
        self._storage: Storage | None = None
        self._trusted_until = 0.0

    @property
    def configured(self) -> bool:
        return self._open is not None

    def get(self, *, fresh: bool = False) -> Storage:
        """Return the storage. Raises NoFileStorage, FileStorageUnavailable, FileStorageRefused.

        fresh: look at it now, as whoever writes must; else it may have been seen some seconds ago.

        Where the API and the workers run on different hosts, a folder that each has for itself would swallow files that
        the others never see. So the first process marks the storage with an id that Postgres has too, and every process
        compares the two.
        """
        if self._open is None:
            raise NoFileStorage("No file storage is configured: set storage.url to a folder or a bucket")
        if self._storage is None:
            self._storage = self._open()
        if fresh or time.monotonic() >= self._trusted_until:
            self._check(self._storage)
            self._trusted_until = time.monotonic() + _TRUSTED
        return self._storage

    def _check(self, storage: Storage) -> None:
        with self._database.autocommit() as connection:
            mark = repository.find_mark(connection)
        if mark is None:
            mark = self._mark(storage)
        found = _read_mark(storage)
        if found != str(mark):
            what = f"its file {MARK} says {found[:40]!r}" if found else f"it has no file {MARK}"
            raise FileStorageUnavailable(
                f"{storage.place} on the host {socket.gethostname()} is not the file storage of this installation:"
                f" {what}, and Postgres says {mark}. Every host that runs the API or a worker needs the same one"
                f" (storage_url); to take this one from now on, write {mark} into its file {MARK}"
            )

    def _mark(self, storage: Storage) -> uuid.UUID:
        """Make this storage the installation's; once in the life of an installation, so the lock may be held."""
        with self._database.transaction() as connection:
            repository.lock_mark(connection)
            mark = repository.find_mark(connection)
            if mark is None:
                mark = _given(_read_mark(storage)) or uuid7()
                with storage.write(MARK) as file:
                    file.write(f"{mark}\n".encode())
                repository.insert_mark(connection, mark, f"{socket.gethostname()}: {storage.place}")
            return mark


def _read_mark(storage: Storage) -> str:
    try:
        source = storage.open(MARK)
    except FileMissing:
        return ""
    try:
        return source.read(0, min(source.size, 100)).decode("utf-8", "replace").strip()
    finally:
        source.close()


def _given(text: str) -> uuid.UUID | None:
    """Return the id that a storage of an earlier database has, so that its files are found again after a restore."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
