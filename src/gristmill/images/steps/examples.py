"""Examples of steps on images. Pixels are written as text: ``ff0000 00ff00 / 0000ff ffffff`` is two rows of two."""

import base64
from collections.abc import Mapping
from typing import Any

from PIL import Image

from gristmill.images.encode import encode
from gristmill.transforms.spec import Example

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
BEFORE = "ff0000 00ff00 0000ff ffffff / 202020 404040 808080 c0c0c0"


def picture(pixels: str) -> str:
    """Return the base64 of a PNG with these pixels; each has one, three or four bytes in hexadecimal digits."""
    rows = [[bytes.fromhex(pixel) for pixel in row.split()] for row in pixels.split("/")]
    mode = _MODES[len(rows[0][0])]
    image = Image.frombytes(mode, (len(rows[0]), len(rows)), b"".join(pixel for row in rows for pixel in row))
    return base64.b64encode(encode(image, "png")).decode()


def example(step: Mapping[str, Any], after: str, before: str = BEFORE) -> Example:
    """Return the example of a step on a column of images, given the pixels before it and those after it."""
    named = {"op": step["op"], "column": "photo", **step}
    return Example(named, {"photo": "image"}, [{"photo": picture(before)}], [{"photo": picture(after)}])
