"""Steps on images beside a plain reading of them: what numpy makes of the pixels of one image."""

import base64
import hashlib
import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.support.step_cases import Case, Row, Unfit

Pixels = npt.NDArray[np.uint8]


def written(pixels: Pixels) -> str:
    """Return the base64 of a PNG. pixels: (height, width), or (height, width, 3 or 4)."""
    target = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(target, "PNG", compress_level=6)
    return base64.b64encode(target.getvalue()).decode()


def read(value: str) -> Pixels:
    try:
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(value))))
    except OSError as error:
        raise Unfit from error


def case(step: dict[str, Any], function: Callable[[Pixels], Pixels]) -> Case:
    """Return the case of a step on the column ``image`` that makes the column ``made``."""

    def reference(row: Row) -> list[Row]:
        return [{**row, "made": None if row["image"] is None else written(function(read(row["image"])))}]

    return Case({"column": "image", "as": "made", **step}, reference)


def _in_place(row: Row) -> list[Row]:
    return [{**row, "image": None if row["image"] is None else written(read(row["image"])[:, ::-1])}]


def _centre(width: int, height: int) -> Callable[[Pixels], Pixels]:
    def crop(pixels: Pixels) -> Pixels:
        top, left = (max(0, side - kept) // 2 for side, kept in zip(pixels.shape, (height, width), strict=False))
        return pixels[top : top + height, left : left + width]

    return crop


def _padded(pixels: Pixels, height: int, width: int, fill: Any) -> Pixels:
    made = np.full((height, width, *pixels.shape[2:]), fill, np.uint8)
    top, left = (height - pixels.shape[0]) // 2, (width - pixels.shape[1]) // 2
    made[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return made


def _orange(pixels: Pixels) -> Pixels:
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, 2)
    height, width = max(4, pixels.shape[0]), max(5, pixels.shape[1])
    return _padded(pixels, height, width, [255, 136, 0, 255][: pixels.shape[2]])


def _square(pixels: Pixels) -> Pixels:
    side = max(pixels.shape[:2])
    return _padded(pixels, side, side, [255, 255, 255, 0] if pixels.shape[2:] == (4,) else 255)


def _grey(pixels: Pixels) -> Pixels:
    if pixels.ndim == 2:
        return pixels
    weights = np.array([19595, 38470, 7471])
    grey = ((pixels[..., :3] @ weights + 0x8000) >> 16).astype(np.uint8)
    return grey if pixels.shape[2] == 3 else np.dstack([grey, grey, grey, pixels[..., 3]])


def _stretched(pixels: Pixels) -> Pixels:
    made = pixels.copy().reshape(*pixels.shape[:2], -1)
    seen = made[..., 3] > 0 if made.shape[2] == 4 else np.full(made.shape[:2], True)
    for channel in range(min(3, made.shape[2])):
        values = made[..., channel]
        low, high = int(values[seen].min()), int(values[seen].max())
        if high > low:
            # To the nearest whole number, halves upwards.
            exact = 255 * (values.astype(int) - low) / (high - low)
            made[..., channel] = np.clip(np.floor(exact + 0.5), 0, 255)
    return made.reshape(pixels.shape)


def _random_crop(row: Row) -> list[Row]:
    """What a seed means stays the same from one version to the next: so it is written down once more."""
    if row["image"] is None:
        return [{**row, "made": None}]
    pixels = read(row["image"])
    content = hashlib.blake2b(base64.b64decode(row["image"]), digest_size=16).digest()
    digest = hashlib.blake2b(content, digest_size=16, salt=b"0")
    digest.update(b"7")
    generator = random.Random(digest.digest())
    height, width = max(1, round(pixels.shape[0] * 0.5)), max(1, round(pixels.shape[1] * 0.5))
    left = generator.randint(0, pixels.shape[1] - width)
    top = generator.randint(0, pixels.shape[0] - height)
    return [{**row, "made": written(pixels[top : top + height, left : left + width])}]


def _info(row: Row) -> list[Row]:
    if row["image"] is None:
        return [{**row, "made": None, "format": None}]
    return [{**row, "made": read(row["image"]).shape[1], "format": "png"}]


CASES = [
    case({"op": "image_centre_crop", "width": 1, "height": 2, "unit": "pixels"}, _centre(1, 2)),
    case({"op": "image_flip", "direction": "vertical"}, lambda pixels: pixels[::-1]),
    Case({"op": "image_flip", "column": "image"}, _in_place),
    case({"op": "image_grayscale"}, _grey),
    case({"op": "image_normalise"}, _stretched),
    case({"op": "image_pad", "width": 5, "height": 4, "colour": "#ff8800"}, _orange),
    case({"op": "image_pad", "ratio": 1}, _square),
    Case(
        {"op": "image_random_crop", "column": "image", "as": "made", "width": 0.5, "height": 0.5, "seed": 7},
        _random_crop,
    ),
    case(
        {"op": "image_resize", "width": 2, "height": 1},
        lambda pixels: np.asarray(Image.fromarray(pixels).resize((2, 1), Image.Resampling.LANCZOS)),
    ),
    case({"op": "image_rotate", "degrees": 90}, np.rot90),
    Case({"op": "image_info", "column": "image", "width": "made", "height": None}, _info),
]
