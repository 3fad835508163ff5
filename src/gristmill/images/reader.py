"""Images of records, which have their bytes or their path below the image folder."""

import contextlib
from collections.abc import Callable

from PIL import Image

from gristmill.images.decode import decode
from gristmill.images.errors import BadImage, NoImageFolder
from gristmill.storage.errors import FileMissing, FileStorageRefused, UnsafeName
from gristmill.storage.port import LONGEST_READ, Source, Storage, pieces_of

# A name that no image has, to see whether the image folder can be read at all.
_PROBE = "gristmill.probe"


class ImageReader:
    """Reads and decodes. Safe to use from several threads.

    open_folder: opens the image folder; None where none is configured. max_file_bytes, max_pixels: of one image.
    """

    def __init__(self, open_folder: Callable[[], Storage] | None, max_file_bytes: int, max_pixels: int) -> None:
        self._open_folder = open_folder
        self._folder: Storage | None = None
        self._max_file_bytes = max_file_bytes
        self.max_pixels = max_pixels

    def read(self, value: bytes | str) -> bytes:
        """Return the bytes of an image. value: they themselves, or a path.

        Raises BadImage, NoImageFolder, FileStorageUnavailable, and FileStorageRefused where the permissions or
        credentials suffice for nothing in the folder; where they do not for this file alone, that is a BadImage.
        """
        if isinstance(value, bytes):
            return value
        folder = self.folder()
        try:
            source = folder.open(value)
            try:
                return self._read(value, source)
            finally:
                source.close()
        except UnsafeName as error:
            raise BadImage("unsafe_path", f"has no safe path: {error.detail}") from error
        except FileMissing as error:
            raise BadImage("image_missing", f"is missing: there is no {value[:200]} in the image folder") from error
        except FileStorageRefused as error:
            _check_readable(folder)
            raise BadImage("image_unreadable", f"may not be read: {error.detail}") from error

    def decode(self, value: bytes | str, near: int | None = None, *, grey: bool = False) -> Image.Image:
        """Return the pixels of an image; near, grey: as ``decode.decode`` has it. Raises as ``read`` does."""
        return decode(self.read(value), self.max_pixels, near, grey=grey)

    def folder(self) -> Storage:
        """Return the image folder. Raises NoImageFolder."""
        if self._open_folder is None:
            raise NoImageFolder("No image folder is configured, and records name images by their paths: set images.url")
        if self._folder is None:
            self._folder = self._open_folder()
        return self._folder

    def _read(self, path: str, source: Source) -> bytes:
        if source.size > self._max_file_bytes:
            most = f"at most {self._max_file_bytes} are allowed (images_max_file_bytes)"
            raise BadImage("image_too_large", f"has {source.size} bytes, and {most}")
        try:
            return b"".join(pieces_of(source, LONGEST_READ))
        except FileMissing as error:
            raise BadImage("image_missing", f"was removed or changed while {path[:200]} was read") from error


def _check_readable(folder: Storage) -> None:
    """Raise FileStorageRefused where the folder refuses whatever is asked for."""
    with contextlib.suppress(FileMissing):
        folder.open(_PROBE).close()
