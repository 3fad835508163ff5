"""Bytes to pixels: bounded before anything is decoded, upright, in one of three modes, or BadImage."""

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from gristmill.images.errors import CODEC_ERRORS, BadImage

_NO_IMAGE = "is no PNG, JPEG, GIF or WebP image"
FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
# The longest side, in pixels: JPEG and GIF have no longer ones, and resizing takes memory for each pixel of a side.
LONGEST_SIDE = 65_535
# A longer colour profile is left out: it would stand in each image that is made of this one.
MOST_PROFILE_BYTES = 256 * 1024
# Pillow's limit is that of the process: it warns, and refuses twice as much, whatever images.max_pixels says. Ours is
# checked before anything is decoded.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of odd files, which is of no use here. Filters that are set for a while are not safe among threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
# The values of EXIF's tag Orientation, and what turns such an image upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Members of an image's info that say more about orientation, and that Pillow fails on where they are no UTF-8.
_XMP = ("xmp", "XML:com.adobe.xmp", "Raw profile type xmp")


def decode(data: bytes, max_pixels: int, near: int | None = None, *, grey: bool = False) -> Image.Image:
    """Return the image, its first frame if there are several, upright, in the mode L, RGB or RGBA.

    Its format is that of the file. near: the sides, in pixels, from which on detail is not needed; a JPEG is then
    decoded at 1/2, 1/4 or 1/8 of its size, as long as both sides stay at least so long. grey: colours are not needed; a
    JPEG is then decoded without them, and so in the mode L. Raises BadImage.
    """
    try:
        return _decode(data, max_pixels, near, grey)
    except CODEC_ERRORS as error:
        raise _bad(error) from error


def size_of(data: bytes, max_pixels: int) -> tuple[int, int, str]:
    """Return width and height as the image is shown, and its format, without decoding it. Raises BadImage.

    Of a PNG that says behind its pixels that it is turned, they are those before.
    """
    try:
        image = _open(data, max_pixels)
        width, height = image.size
        found = _format(image)
        return (height, width, found) if _orientation(image) >= 5 else (width, height, found)
    except CODEC_ERRORS as error:
        raise _bad(error) from error


def _bad(error: Exception) -> BadImage:
    if isinstance(error, UnidentifiedImageError):
        return BadImage("not_an_image", _NO_IMAGE)
    said = str(error).replace("\n", " ")[:200] or type(error).__name__
    return BadImage("image_broken", f"is broken: {said}")


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    if not data:
        raise BadImage("image_empty", "is an empty file")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width < 1 or height < 1:
        raise BadImage("image_broken", f"is broken: it says that it has {width} × {height} pixels")
    if width * height > max_pixels:
        most = f"at most {max_pixels} are allowed (images_max_pixels)"
        raise BadImage("too_many_pixels", f"has {width} × {height} pixels, and {most}")
    if max(width, height) > LONGEST_SIDE:
        most = f"a side has at most {LONGEST_SIDE}"
        raise BadImage("too_many_pixels", f"has {width} × {height} pixels, and {most}")
    return image


def _format(image: ImageFile.ImageFile) -> str:
    # A camera's JPEG with more pictures behind the first one has a name of its own.
    return "JPEG" if image.format == "MPO" else str(image.format)


def _decode(data: bytes, max_pixels: int, near: int | None, grey: bool) -> Image.Image:
    image = _open(data, max_pixels)
    if near is not None:
        image.draft("L" if grey else None, (near, near))
    image.load()
    # What a PNG says behind its pixels is known only now.
    turned = _orientation(image)
    result = _in_plain_mode(image)
    if turned in _UPRIGHT:
        result = result.transpose(_UPRIGHT[turned])
    profile = image.info.get("icc_profile") if _same_colours(image, result) else None
    result.info = {"icc_profile": profile} if profile and len(profile) <= MOST_PROFILE_BYTES else {}
    result.format = _format(image)
    return result


def _same_colours(image: Image.Image, result: Image.Image) -> bool:
    """Say whether the colour profile of the image is that of the result too."""
    return image.mode == result.mode or (image.mode in ("P", "PA", "RGB", "RGBa") and result.mode in ("RGB", "RGBA"))


def _orientation(image: ImageFile.ImageFile) -> int:
    for name in _XMP:
        image.info.pop(name, None)
    try:
        # That of the class: the one of PNG decodes the image.
        found: Any = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except CODEC_ERRORS:
        return 1
    return found if isinstance(found, int) else 1


def _in_plain_mode(image: Image.Image) -> Image.Image:
    """Return the image in the mode L, RGB or RGBA."""
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        return _sixteen_bits(image)
    if mode == "La":
        return image.convert("LA").convert("RGBA")
    transparency = image.info.get("transparency")
    if mode in ("LA", "PA", "RGBa") or (transparency is not None and mode != "RGBA"):
        if mode == "RGB" and isinstance(transparency, tuple) and max(transparency) > 255:
            # Of 16 bits a channel, as the pixels were before Pillow took the higher byte of each.
            image.info["transparency"] = tuple(value >> 8 for value in transparency)
        return image.convert("RGBA")
    if mode in ("L", "RGB", "RGBA"):
        return image
    return image.convert("L" if mode == "1" else "RGB")


def _sixteen_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits as one of 8: the higher byte, not what is beyond 255 cut off."""
    grey = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    seen = Image.fromarray(np.where(np.asarray(image) == transparent, 0, 255).astype(np.uint8))
    return Image.merge("RGBA", (grey, grey, grey, seen))
