"""Bytes to pixels: bounded before anything is decoded, upright, in one of three modes, or BadImage."""

import io
import warnings
from typing import Any

from PIL import Image, ImageFile, UnidentifiedImageError

from gristmill.images.errors import BadImage

_NO_IMAGE = "is no PNG, JPEG, GIF or WebP image"
FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
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
    if not data:
        raise BadImage("image_empty", "is an empty file")
    try:
        with warnings.catch_warnings():
            # Pillow warns of many pixels; ours is the limit.
            warnings.simplefilter("ignore")
            return _decode(data, max_pixels, near, grey)
    except BadImage:
        raise
    except MemoryError:
        raise
    except Exception as error:
        said = str(error).replace("\n", " ")[:200] or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            raise BadImage("not_an_image", _NO_IMAGE) from error
        raise BadImage("image_broken", f"is broken: {said}") from error


def size_of(data: bytes, max_pixels: int) -> tuple[int, int, str]:
    """Return width and height as the image is shown, and its format, without decoding it. Raises BadImage."""
    if not data:
        raise BadImage("image_empty", "is an empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = _open(data, max_pixels)
            width, height = image.size
            return (
                (height, width, str(image.format)) if _orientation(image) >= 5 else (width, height, str(image.format))
            )
    except BadImage:
        raise
    except Exception as error:
        raise BadImage("not_an_image", _NO_IMAGE) from error


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width * height > max_pixels:
        raise BadImage(
            "too_many_pixels",
            f"has {width} × {height} pixels, and at most {max_pixels} are allowed (images_max_pixels)",
        )
    return image


def _decode(data: bytes, max_pixels: int, near: int | None, grey: bool) -> Image.Image:
    image = _open(data, max_pixels)
    found, turned = image.format, _orientation(image)
    if near is not None:
        image.draft("L" if grey else None, (near, near))
    image.load()
    result = _in_plain_mode(image)
    if turned in _UPRIGHT:
        result = result.transpose(_UPRIGHT[turned])
    profile = image.info.get("icc_profile") if result.mode == image.mode else None
    result.info = {} if profile is None else {"icc_profile": profile}
    result.format = found
    return result


def _orientation(image: ImageFile.ImageFile) -> int:
    for name in _XMP:
        image.info.pop(name, None)
    try:
        found: Any = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - one broken tag costs no image
        return 1
    return found if isinstance(found, int) else 1


def _in_plain_mode(image: Image.Image) -> Image.Image:
    """Return the image in the mode L, RGB or RGBA."""
    mode = image.mode
    if mode in ("L", "RGB", "RGBA"):
        if "transparency" in image.info:
            return image.convert("RGBA")
        return image
    if mode == "1":
        return image.convert("L")
    if mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    if mode.startswith("I") or mode == "F":
        return _sixteen_bits(image)
    return image.convert("RGB")


def _sixteen_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits as one of 8: the higher byte, not what is beyond 255 cut off."""
    return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
