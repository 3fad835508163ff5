"""Pixels to bytes: the same bytes for the same pixels, whoever writes them."""

import io
from typing import Any

from PIL import Image

from gristmill.images.errors import BadImage
from gristmill.images.formats import MEDIA_TYPES as MEDIA_TYPES
from gristmill.images.formats import SUFFIXES as SUFFIXES
from gristmill.images.formats import Format as Format

QUALITY = 90
# The longest side that a format takes, in pixels.
LONGEST_SIDES: dict[str, int] = {"jpeg": 65_500, "webp": 16_383}


def format_of(image: Image.Image) -> Format:
    """Return the format that an image is written in unless another one is asked for: its own, PNG for GIF."""
    return "jpeg" if image.format == "JPEG" else "webp" if image.format == "WEBP" else "png"


def encode(image: Image.Image, format: Format, quality: int = QUALITY) -> bytes:
    """Return the file of an image. quality: of JPEG and WebP, 1 to 100. Transparency is put on white in a JPEG.

    Raises BadImage for one that is too long for the format.
    """
    longest = LONGEST_SIDES.get(format)
    if longest is not None and max(image.size) > longest:
        reason = f"would have {image.width} × {image.height} pixels, and a side of {format} has at most {longest}"
        raise BadImage("side_too_long", reason)
    options: dict[str, Any] = {}
    if format == "jpeg":
        image = on_white(image)
        options = {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
    elif format == "webp":
        options = {"quality": quality, "method": 4}
    elif format == "png":
        options = {"compress_level": 6}
    if "icc_profile" in image.info:
        options["icc_profile"] = image.info["icc_profile"]
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def on_white(image: Image.Image) -> Image.Image:
    """Return an image without transparency: in the mode L or RGB."""
    if image.mode != "RGBA":
        return image
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    ground.info = dict(image.info)
    return ground
