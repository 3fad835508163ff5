"""A small image of a large one: the same bytes for the same file, size and version of Pillow."""

import PIL
from PIL import Image

from gristmill.images.decode import decode, size_of
from gristmill.images.encode import Format, encode

_QUALITY = 85
# What decides the bytes beside the file and the size; it is part of the ETag.
RECIPE = f"1-{PIL.__version__}"


def make_thumbnail(data: bytes, max_pixels: int, size: int) -> tuple[bytes, Format]:
    """Return an image that fits into ``size`` × ``size`` pixels, upright and never enlarged, and its format.

    That is JPEG, or WebP or PNG (as the original is) where something is transparent. Raises BadImage.
    """
    image = decode(data, max_pixels, near=size)
    original = image.format
    sides = image.size
    if original == "JPEG":
        # It may be decoded smaller already, with sides that are rounded.
        sides = size_of(data, max_pixels)[:2]
    if max(sides) > size:
        width, height = (max(1, round(side * size / max(sides))) for side in sides)
        image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if image.mode == "RGBA" and image.getchannel("A").getextrema()[0] == 255:
        image = image.convert("RGB")
    format: Format = "jpeg" if image.mode != "RGBA" else "webp" if original == "WEBP" else "png"
    return encode(image, format, _QUALITY), format
