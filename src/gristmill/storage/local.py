"""A folder of this machine, or one that several machines share.

Every step of a path is opened relative to the one before it and never follows a symbolic link: whoever may write to the
folder cannot make Gristmill read or write outside of it, not even by exchanging a part of a path in the right moment.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from gristmill.core.errors import GristmillError
from gristmill.storage.errors import FileMissing, FileStorageUnavailable, check_size, error_of
from gristmill.storage.names import parts_of
from gristmill.storage.port import LONGEST_READ
from gristmill.storage.sync import sync_file_system

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 256 * 1024


class LocalFolder:
    """Files below ``root``, each of at most ``most_bytes``. The root itself may be a link, and is not created."""

    def __init__(self, root: str | os.PathLike[str], most_bytes: int) -> None:
        self._root = Path(root)
        self._most_bytes = most_bytes
        self.place = str(self._root)

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator["_LocalSink"]:
        *folders, leaf = parts_of(name)
        # Nobody else uses this name. What a killed process leaves, ``clear`` and ``remove_unfinished`` remove.
        part = f".{leaf}.{secrets.token_hex(4)}"
        with contextlib.ExitStack() as stack:
            with self._errors(name):
                folder = stack.enter_context(self._folder(folders, make=True))
                assert folder is not None  # it was made where it was not there
                file = os.open(part, _NEW, 0o666, dir_fd=folder)
            try:
                try:
                    yield _LocalSink(self, name, file)
                    with self._errors(name):
                        os.fsync(file)
                finally:
                    os.close(file)
                with self._errors(name):
                    os.rename(part, leaf, src_dir_fd=folder, dst_dir_fd=folder)
                    os.fsync(folder)
            except BaseException:
                with contextlib.suppress(OSError):  # What cannot be removed now is removed by ``clear``.
                    os.unlink(part, dir_fd=folder)
                raise

    @contextlib.contextmanager
    def batch(self) -> Iterator["_LocalBatch"]:
        yield _LocalBatch(self)
        with self._errors(""), self._folder(()) as root:
            assert root is not None
            sync_file_system(root)

    def put(self, name: str, data: bytes) -> None:
        """Write a whole file that need not be durable yet."""
        check_size(name, len(data), self._most_bytes)
        *folders, leaf = parts_of(name)
        part = f".{leaf}.{secrets.token_hex(4)}"
        with self._errors(name), self._folder(folders, make=True) as folder:
            assert folder is not None  # it was made where it was not there
            file = os.open(part, _NEW, 0o666, dir_fd=folder)
            try:
                try:
                    _write_all(file, data)
                finally:
                    os.close(file)
                os.rename(part, leaf, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):  # What cannot be removed now is removed by ``clear``.
                    os.unlink(part, dir_fd=folder)
                raise

    def open(self, name: str) -> "_LocalSource":
        *folders, leaf = parts_of(name)
        with self._errors(name), self._folder(folders) as folder:
            try:
                if folder is None:
                    raise FileNotFoundError(errno.ENOENT, "no such folder")
                # Without waiting: a pipe of that name would hold the process up.
                file = os.open(leaf, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            except FileNotFoundError:
                raise FileMissing(f"There is no file {name} in the file storage {self.place}") from None
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                os.close(file)
                raise OSError(errno.EISDIR, "not a file")
            return _LocalSource(self, name, file, found.st_size)

    def remove(self, name: str) -> None:
        *folders, leaf = parts_of(name)
        with self._errors(name), self._folder(folders) as folder:
            if folder is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(leaf, dir_fd=folder)

    def clear(self, folder: str, keep: Collection[str] = ()) -> int:
        *above, leaf = parts_of(folder)
        with self._errors(folder), self._folder(above) as parent:
            if parent is None:
                return 0
            removed, empty = _clear(parent, leaf, keep)
            if empty:
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(leaf, dir_fd=parent)
            return removed

    def remove_unfinished(self, folder: str) -> None:
        with self._errors(folder), self._folder(parts_of(folder)) as found:
            if found is None:
                return
            # One by one: a folder may have a million files.
            with os.scandir(found) as children:
                for child in children:
                    if child.name.startswith(".") and not child.is_dir(follow_symlinks=False):
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(child.name, dir_fd=found)

    def children(self, folder: str) -> list[str]:
        with self._errors(folder), self._folder(parts_of(folder)) as found:
            # Those that begin with a dot are being written.
            return [] if found is None else sorted(name for name in os.listdir(found) if not name.startswith("."))

    @contextlib.contextmanager
    def _folder(self, parts: Collection[str], make: bool = False) -> Iterator[int | None]:
        """Give the descriptor of a folder, None where there is none. make: make it."""
        try:
            at = os.open(self._root, _FOLDER)
        except OSError as error:
            raise FileStorageUnavailable(f"The folder {self.place} cannot be opened: {error.strerror}") from error
        try:
            for part in parts:
                below = _enter(at, part, make)
                os.close(at)
                at = -1
                if below is None:
                    break
                at = below
            yield None if at < 0 else at
        finally:
            if at >= 0:
                os.close(at)

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self.error(name, error) from error

    def error(self, name: str, error: OSError) -> GristmillError:
        return error_of(self.place, name, error)

    @property
    def most_bytes(self) -> int:
        return self._most_bytes


class _LocalBatch:
    def __init__(self, storage: LocalFolder) -> None:
        self._storage = storage

    def put(self, name: str, data: bytes) -> None:
        self._storage.put(name, data)


class _LocalSink:
    def __init__(self, storage: LocalFolder, name: str, file: int) -> None:
        self._storage = storage
        self._name = name
        self._file = file
        self._size = 0

    def write(self, data: bytes) -> None:
        self._size += len(data)
        check_size(self._name, self._size, self._storage.most_bytes)
        try:
            _write_all(self._file, data)
        except OSError as error:
            raise self._storage.error(self._name, error) from error


class _LocalSource:
    piece = _PIECE

    def __init__(self, storage: LocalFolder, name: str, file: int, size: int) -> None:
        self._storage = storage
        self._name = name
        self._file = file
        self.size = size

    def read(self, start: int, length: int) -> bytes:
        if not 0 <= length <= LONGEST_READ or start < 0 or start + length > self.size:
            raise ValueError(f"bytes {start} to {start + length} of {self.size} cannot be read at once")
        found = bytearray()
        try:
            while len(found) < length:
                block = os.pread(self._file, length - len(found), start + len(found))
                if not block:
                    raise FileMissing(f"The file {self._name} became shorter while it was read")
                found += block
        except OSError as error:
            if error.errno == errno.ESTALE:
                raise FileMissing(f"The file {self._name} was removed while it was read") from error
            raise self._storage.error(self._name, error) from error
        return bytes(found)

    def close(self) -> None:
        os.close(self._file)


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _enter(at: int, part: str, make: bool) -> int | None:
    """Open a folder within another one."""
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
    except FileNotFoundError:
        if not make:
            return None
    with contextlib.suppress(FileExistsError):  # Somebody else has just made it.
        os.mkdir(part, dir_fd=at)
        os.fsync(at)
    return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)


def _clear(parent: int, name: str, keep: Collection[str]) -> tuple[int, bool]:
    """Remove what is in a folder; return how many files that were, and whether the folder is empty now."""
    found = _enter(parent, name, make=False)
    if found is None:
        return 0, False
    removed, empty = 0, True
    try:
        # One by one: a folder may have a million files.
        with os.scandir(found) as children:
            for child in children:
                if child.name in keep:
                    empty = False
                    continue
                with contextlib.suppress(FileNotFoundError):
                    if child.is_dir(follow_symlinks=False):
                        removed += _clear(found, child.name, ())[0]
                        os.rmdir(child.name, dir_fd=found)
                    else:
                        os.unlink(child.name, dir_fd=found)
                        removed += 1
    finally:
        os.close(found)
    return removed, empty
