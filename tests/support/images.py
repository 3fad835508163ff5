"""Images for tests: real photographs, files in every format that is taken, and files that are hostile or broken."""

import io
import os
import struct
import zlib
from collections.abc import Sequence
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


def png(
    width: int,
    height: int,
    pixels: bytes,
    *,
    depth: int = 8,
    colours: int = 2,
    extra: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """Return a PNG of these rows, each with its filter byte before it. extra: chunks (kind, data) before the pixels.

    colours: the colour type, 0 for grey and 2 for RGB.
    """
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that says it is so large, and has next to no pixels."""
    return png(width, height, b"\0" * 64)


def bomb(width: int, height: int) -> bytes:
    """Return a PNG that has all the pixels it says, in a file a thousand times smaller."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(b"\0" * (1 + 3 * width)) for _ in range(height)) + packer.flush()
    start = png(width, height, b"")
    at = start.index(b"IDAT") - 4
    return start[:at] + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def webp_truncated() -> bytes:
    whole = encoded(photograph(size=(64, 48)), "WEBP")
    return whole[: len(whole) // 2]


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
        "largest_png": png_header(2**31 - 1, 2**31 - 1),
        "narrow_png": png_header(1, 40_000_000),
        "no_width_png": png_header(0, 10),
        "text_bomb_png": png(4, 4, b"\0" * 52, extra=[(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 80_000_000, 9))]),
        "text_bombs_png": png(
            4, 4, b"\0" * 52, extra=[(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 1_000_000, 9))] * 100
        ),
        "gif_start_only": b"GIF89a",
        "gif_without_frames": b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b";",
        "truncated_webp": webp_truncated(),
        "webp_start_only": b"RIFF\x10\0\0\0WEBPVP8 ",
        "jpeg_without_pixels": b"\xff\xd8\xff\xd9",
        "tiff": encoded(photograph(size=(8, 8)), "TIFF"),
        "bmp": encoded(photograph(size=(8, 8)), "BMP"),
    }


def unusual() -> dict[str, bytes]:
    """Return files that are images, of kinds that readers stumble over, by what is unusual about them."""
    base = photograph(size=(64, 48))
    grey = (np.arange(64 * 48).reshape(48, 64) * 20).astype(np.uint16)
    frames = [base.transpose(Image.Transpose.FLIP_LEFT_RIGHT).convert("P")]
    whole = encoded(base)
    deep = b"".join(b"\0" + struct.pack(">192H", *range(0, 192 * 300, 300)) for _ in range(48))
    deep_grey = b"".join(b"\0" + struct.pack(">64H", *range(0, 64 * 1000, 1000)) for _ in range(48))
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta>\xa8</x:xmpmeta>"
    return {
        "xmp_a8": encoded(base, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>\xa8</x:xmpmeta>"),
        "xmp_a8_png": png(64, 48, b"\0" * 193 * 48, extra=[(b"iTXt", xmp)]),
        "exif_garbage": encoded(base, exif=b"Exif\0\0" + bytes(range(256)) * 20),
        "exif_garbage_png": png(64, 48, b"\0" * 193 * 48, extra=[(b"eXIf", b"II*\0" + b"\xff" * 400)]),
        "exif_garbage_webp": encoded(base, "WEBP", exif=b"Exif\0\0MM\0*" + b"\x80" * 300),
        "animated_gif": encoded(base.convert("P"), "GIF", save_all=True, append_images=frames),
        "animated_webp": encoded(base, "WEBP", save_all=True, append_images=frames),
        "animated_png": encoded(base, "PNG", save_all=True, append_images=frames),
        "several_pictures": encoded(base, "MPO", save_all=True, append_images=[base]),
        "cmyk": encoded(base.convert("CMYK")),
        "sixteen_bits": encoded(Image.fromarray(grey), "PNG"),
        "sixteen_bits_rgb": png(64, 48, deep, depth=16),
        "sixteen_bits_clear": png(64, 48, deep_grey, depth=16, colours=0, extra=[(b"tRNS", struct.pack(">H", 2000))]),
        "bilevel": encoded(base.convert("1"), "PNG"),
        "palette_alpha": encoded(base.convert("P"), "PNG", transparency=0),
        "palette_alphas": encoded(base.convert("P"), "PNG", transparency=bytes(range(256))),
        "grey_alpha": encoded(base.convert("LA"), "PNG"),
        "webp": encoded(base, "WEBP"),
        "progressive": encoded(base, progressive=True),
        "garbage_behind": whole + os.urandom(5000),
        "huge_profile": encoded(base, icc_profile=b"\0\0\0\x01" * 500_000),
        "broken_profile": encoded(base, "PNG", icc_profile=b"no profile"),
        "one_column": encoded(base.resize((1, 20_000)), "PNG"),
        "one_row": encoded(base.resize((60_000, 1))),
        "turned": turned(6),
    }


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
