"""Errors of the file storage.

GristmillError
├── Unavailable
│   ├── FileStorageUnavailable      it does not answer in time, or is not there; the chunk waits for it
│   │   └── FileStorageFull         it has no room; the chunk waits until there is some
│   └── FileStorageRefused          it is read-only, or its permissions or credentials do not suffice
├── Conflict ── NoFileStorage       no storage is configured
├── NotFound ── FileMissing         there is no file of that name
├── Invalid ── UnsafeName           the name could lead out of the storage
└── TooLarge ── FileTooLarge        the file is over the limit of one file
"""

import errno

from gristmill.core.errors import Conflict, GristmillError, Invalid, NotFound, TooLarge, Unavailable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
# What a path gives that leads over a symbolic link, or to what is no file (a socket, a device), or is too long.
_UNSAFE = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG)


class FileStorageUnavailable(Unavailable):
    """No attempt is counted: a chunk that needs the storage waits, with the reason, until it is back."""

    code = "file_storage_unavailable"
    title = "The file storage does not answer"
    costs_attempt = False

    def __init__(self, detail: str, retry_after: int = 10) -> None:
        super().__init__(detail, retry_after)


class FileStorageFull(FileStorageUnavailable):
    code = "file_storage_full"
    title = "The file storage is full"


class FileStorageRefused(Unavailable):
    code = "file_storage_refused"
    title = "The file storage refuses"


class NoFileStorage(Conflict):
    code = "no_file_storage"
    title = "No file storage is configured"


class FileMissing(NotFound):
    code = "file_missing"
    title = "There is no such file"


class UnsafeName(Invalid):
    code = "unsafe_name"
    title = "The name of the file is not safe"


class FileTooLarge(TooLarge):
    code = "file_too_large"
    title = "The file is too large"


def error_of(place: str, name: str, error: OSError) -> GristmillError:
    """Return what an error of the operating system means. place: the storage, as messages name it."""
    said = f"{error.strerror or error} ({name})" if name else str(error.strerror or error)
    if error.errno in _FULL:
        return FileStorageFull(f"The file storage {place} has no room: {said}")
    if error.errno in _REFUSED:
        return FileStorageRefused(f"The file storage {place} may not be written or read: {said}")
    if error.errno in _UNSAFE:
        return UnsafeName(f"{name!r} leads over a link, or to something that is no file, in the file storage {place}")
    return FileStorageUnavailable(f"The file storage {place} does not answer: {said}")


def check_size(name: str, size: int, most: int) -> None:
    """Raise FileTooLarge for a file that has more than ``most`` bytes."""
    if size > most:
        raise FileTooLarge(f"The file {name} has more than {most} bytes (storage_max_file_bytes)", limit=most)
