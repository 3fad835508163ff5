"""A zip of metadata and images: its members, all checked before one is read; nothing is ever written by their names."""

import errno
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import BinaryIO

from gristmill.core.errors import TooLarge
from gristmill.datasets.describe import shorten
from gristmill.records.readers.limits.zip_directory import check_directory, refuse_zip
from gristmill.records.spool import Spool, SpoolFile
from gristmill.storage.errors import UnsafeName
from gristmill.storage.names import parts_of

_READ_BYTES = 256 * 1024
_ENCRYPTED = 0x1 | 0x40
# Others unpack with windows of gigabytes (LZMA), or are not known to the standard library.
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".zst", ".bz2", ".xz", ".7z", ".rar")
# What file managers put into an archive beside what is meant.
_CLUTTER = ("__MACOSX/", ".DS_Store", "Thumbs.db")
# What the standard library raises for bytes that make no sense. OSError: for places before the start of the file.
_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    NotImplementedError,
    RuntimeError,
    ValueError,
    EOFError,
    OverflowError,
    IndexError,
    struct.error,
    zlib.error,
    OSError,
)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What a zip may be. spool: where its metadata is unpacked to. max_bytes: of all members, unpacked."""

    spool: Spool
    max_bytes: int
    max_entries: int


class BadMember(Exception):
    """A member that cannot be used for a record. code: as violations have it. reason: a sentence."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Archive:
    """The members of a zip, by their names.

    Raises Malformed for what is no zip, is damaged, or has a member that is unsafe, encrypted, of another compression,
    no plain file, an archive itself, or there twice; TooLarge beyond the limits.
    """

    def __init__(self, file: BinaryIO, limits: ArchiveLimits) -> None:
        self._limits = limits
        check_directory(file, limits.max_entries)
        try:
            self._zip = zipfile.ZipFile(file)
        except _BROKEN as error:
            raise refuse_zip("malformed", f"The zip is damaged: {_reason(error)}") from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = info.orig_filename
            if _is_clutter(name):
                continue
            _check(info, name)
            if info.is_dir():
                continue
            if name in self._members:
                raise refuse_zip("duplicate_member", f"The zip has two members {shorten(name)}")
            self._members[name] = info
        self._given = 0
        self._take(sum(info.file_size for info in self._members.values()), "holds")
        self._given = 0

    def metadata(self, extensions: Collection[str]) -> tuple[str, str]:
        """Return the name of the metadata file, and which of ``extensions`` it has. Raises Malformed."""
        top = [name for name in self._members if "/" not in name and _extension(name) in extensions]
        named = [name for name in top if name.rpartition(".")[0].lower() == "metadata"] or top
        valid = ", ".join(f"metadata.{one}" for one in extensions)
        if not named:
            raise refuse_zip("no_metadata", f"The zip has no metadata file at its top: one of {valid}")
        if len(named) > 1:
            shown = ", ".join(map(shorten, named[:5]))
            raise refuse_zip(
                "several_metadata", f"The zip has {len(named)} metadata files ({shown}): it has to have one"
            )
        return named[0], _extension(named[0])

    def unpack(self, name: str) -> SpoolFile:
        """Return a member as a file, for the caller to close. Raises Malformed where it is damaged, Unavailable."""
        unpacked = SpoolFile(self._limits.spool)
        self._take(self._members[name].file_size, "holds")
        try:
            with self._zip.open(self._members[name]) as member:
                while data := member.read(_READ_BYTES):
                    unpacked.write(data)
            if unpacked.size != self._members[name].file_size:
                raise zipfile.BadZipFile("its size is another one than the directory says")
        except _BROKEN as error:
            unpacked.close()
            _raise_unless_damage(error)
            raise refuse_zip(
                "malformed", f"The member {shorten(name)} of the zip is damaged: {_reason(error)}"
            ) from error
        except BaseException:
            unpacked.close()
            raise
        return unpacked

    def read(self, name: str, most: int) -> bytes:
        """Return the bytes of an image. most: how many it may have.

        Raises BadMember; TooLarge where the members that were asked for are larger together than a body may be.
        """
        info = self._members.get(name)
        if info is None:
            raise BadMember("image_missing", f"The zip has no member {shorten(name)}")
        if info.file_size > most:
            raise BadMember(
                "too_large", f"The member {shorten(name)} has {info.file_size} bytes: at most {most} are allowed"
            )
        # One member may be named by any number of records, each of which is stored with it.
        self._take(info.file_size, "gives its records")
        try:
            with self._zip.open(info) as member:
                data = member.read(info.file_size + 1)
        except _BROKEN as error:
            _raise_unless_damage(error)
            raise BadMember("damaged_member", f"The member {shorten(name)} is damaged: {_reason(error)}") from error
        if len(data) != info.file_size:
            what = f"it has {len(data)} bytes, and the directory of the zip says {info.file_size}"
            raise BadMember("damaged_member", f"The member {shorten(name)} is damaged: {what}")
        return data

    def _take(self, size: int, what: str) -> None:
        self._given += size
        if self._given > self._limits.max_bytes:
            most = f"at most {self._limits.max_bytes} are allowed (api_max_body_bytes)"
            raise TooLarge(f"The zip {what} more than {most}, unpacked", max_bytes=self._limits.max_bytes)


def _check(info: zipfile.ZipInfo, name: str) -> None:
    """Raise Malformed for a member that is not taken, whether or not a record names it."""
    shown = shorten(name)
    try:
        parts_of(name.removesuffix("/") if info.file_size == 0 else name)
    except UnsafeName as error:
        raise refuse_zip("unsafe_member", f"The zip has an unsafe member: {error.detail}") from error
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        what = "a symbolic link" if stat.S_ISLNK(mode) else "a device or pipe"
        raise refuse_zip("not_a_file", f"The member {shown} of the zip is {what}: only files are taken")
    if info.flag_bits & _ENCRYPTED:
        raise refuse_zip("encrypted_member", f"The member {shown} of the zip is encrypted: send it without a password")
    if info.compress_type not in _METHODS:
        valid = "stored and deflated are taken"
        raise refuse_zip(
            "unsupported_compression", f"The member {shown} is compressed by method {info.compress_type}: {valid}"
        )
    if name.lower().endswith(_ARCHIVES):
        raise refuse_zip("nested_archive", f"The member {shown} of the zip is an archive itself: only files are taken")


def _is_clutter(name: str) -> bool:
    first, last = name.partition("/")[0] + "/", name.rpartition("/")[2]
    return first in _CLUTTER or last in _CLUTTER


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def _raise_unless_damage(error: BaseException) -> None:
    """Raise the error again where the disk is what failed."""
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        raise error


def _reason(error: BaseException) -> str:
    return shorten(str(error)) if str(error) else type(error).__name__
