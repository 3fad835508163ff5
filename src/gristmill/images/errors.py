"""Errors of images.

GristmillError
├── Conflict ── NoImageFolder   no image folder is configured, and a record names an image by its path
├── Invalid ── UnusableImage    a call is about an image that is broken, hostile or none
├── NotFound ── ImageMissing    a call is about an image that is null, or whose file is not there
├── TooMany ── TooManyImages    the API process sends as many images as it may at once
└── ImagesNotInstalled          Pillow is not installed

BadImage is no such error: it says what is wrong with the image of one record, which is all that it ends.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from gristmill.core.errors import Conflict, GristmillError, Invalid, NotFound, TooMany
from gristmill.core.logs import get_logger

log = get_logger()


class NoImageFolder(Conflict):
    code = "no_image_folder"
    title = "No image folder is configured"


class UnusableImage(Invalid):
    code = "unusable_image"
    title = "The image cannot be used"


class ImageMissing(NotFound):
    code = "image_missing"
    title = "There is no such image"


class TooManyImages(TooMany):
    code = "too_many_images"
    title = "Too many images at once"


class ImagesNotInstalled(GristmillError):
    """Images exist in contracts, but the library that reads them is not installed on this machine."""

    code = "images_not_installed"
    kind = "unavailable"
    status = 503
    title = "What reads images is not installed"


# What decoders, operations and encoders raise for images that they cannot take, whatever they stumble over. Not all
# exceptions: that the time of the task is over, or that the memory is, is no fault of the image.
CODEC_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError, NameError, OSError),
    *(RuntimeError, SyntaxError, SystemError, TypeError, ValueError, struct.error, zlib.error),
)


class BadImage(Exception):
    """An image that cannot be used. code: stable, as violations have it. reason: a clause without a subject."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@contextmanager
def codec_errors() -> Iterator[None]:
    """Turn what an operation or an encoder stumbles over into BadImage: it fails the record, and not its job."""
    try:
        yield
    except CODEC_ERRORS as error:
        said = str(error).replace("\n", " ")[:200] or type(error).__name__
        log.warning("image.not_made", reason=said, kind=type(error).__name__)
        raise BadImage("image_not_made", f"could not be changed or written: {said}") from error
