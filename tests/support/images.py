"""Images for tests: real photographs, files in every format that is taken, and files that are hostile or broken."""

import io
import struct
import zlib
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image

# Photographs that scikit-image ships, without its logos, textures and test charts.
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg")


@cache
def photograph(name: str = "astronaut.png", size: tuple[int, int] | None = None) -> Image.Image:
    """Return a photograph in RGB. size: what it is resized to."""
    with (files("skimage") / "data" / name).open("rb") as file:
        image = Image.open(file).convert("RGB")
    return image if size is None else image.resize(size)


def encoded(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    """Return the file of an image, as Pillow writes it."""
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def small(format: str = "PNG", colour: tuple[int, int, int] = (200, 30, 40), size: tuple[int, int] = (12, 8)) -> bytes:
    """Return the file of a small image of one colour."""
    return encoded(Image.new("RGB", size, colour), format)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that says it is so large, and has next to no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(b"\0" * 64))
        + _chunk(b"IEND", b"")
    )


def turned(orientation: int, size: tuple[int, int] = (48, 32)) -> bytes:
    """Return a JPEG of a photograph whose EXIF says that it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photograph(size=size), exif=exif)


def hostile() -> dict[str, bytes]:
    """Return files that are no images, or none that can be decoded, by what is wrong with them."""
    whole = encoded(photograph(size=(256, 256)))
    return {
        "empty": b"",
        "text": b"not an image at all",
        "html": b"<!doctype html><title>404</title>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "truncated_jpeg": whole[: len(whole) // 2],
        "jpeg_start_only": whole[:4],
        "png_start_only": b"\x89PNG\r\n\x1a\n",
        "truncated_png": encoded(photograph(size=(64, 64)), "PNG")[:2000],
        "bomb_png": png_header(50_000, 50_000),
    }


def unusual() -> dict[str, bytes]:
    """Return files that are images, of kinds that readers stumble over, by what is unusual about them."""
    base = photograph(size=(64, 48))
    grey = (np.arange(64 * 48).reshape(48, 64) * 20).astype(np.uint16)
    frames = [base.transpose(Image.Transpose.FLIP_LEFT_RIGHT).convert("P")]
    return {
        "xmp_a8": encoded(base, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>\xa8</x:xmpmeta>"),
        "animated_gif": encoded(base.convert("P"), "GIF", save_all=True, append_images=frames),
        "cmyk": encoded(base.convert("CMYK")),
        "sixteen_bits": encoded(Image.fromarray(grey), "PNG"),
        "bilevel": encoded(base.convert("1"), "PNG"),
        "palette_alpha": encoded(base.convert("P"), "PNG", transparency=0),
        "grey_alpha": encoded(base.convert("LA"), "PNG"),
        "webp": encoded(base, "WEBP"),
        "progressive": encoded(base, progressive=True),
        "turned": turned(6),
    }


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
