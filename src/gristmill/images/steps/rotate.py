"""``image_rotate``: an image turned by an angle.

{"op": "image_rotate", "column": "photo", "degrees": 90}
"""

import math

from PIL import Image
from pydantic import Field

from gristmill.images.steps.base import Chance, ImageOperation, ImageParameters, Operation, Size
from gristmill.images.steps.colours import colour_parameter, on_ground
from gristmill.images.steps.examples import example

# Whole quarters move pixels, and make none.
_QUARTERS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


class Rotate(ImageParameters):
    """Parameters of ``image_rotate``."""

    degrees: float = Field(ge=-360, le=360, description="The angle, counter-clockwise; below 0 clockwise.")
    expand: bool = Field(
        True,
        description="Whether the image gets as large as it needs to; else it keeps its size and loses corners.",
    )
    colour: str | None = colour_parameter("the corners")


def _size(step: Rotate, before: Size) -> Size:
    width, height = before
    angle = step.degrees % 360
    if not step.expand or angle in (0, 180):
        return before
    if angle in _QUARTERS:
        return height, width
    # Whole pixels hold the turned rectangle; Pillow may count one more at either end.
    along, across = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return math.ceil(width * along + height * across) + 2, math.ceil(width * across + height * along) + 2


def _make(step: Rotate) -> Operation:
    angle = step.degrees % 360

    def rotate(image: Image.Image, chance: Chance) -> Image.Image:
        if angle == 0:
            return image
        if angle in _QUARTERS and (step.expand or angle == 180 or image.width == image.height):
            return image.transpose(_QUARTERS[int(angle)])
        placed, colour = on_ground(image, step.colour)
        return placed.rotate(angle, Image.Resampling.BICUBIC, expand=step.expand, fillcolor=colour)

    return rotate


ROTATE = ImageOperation(
    "image_rotate",
    Rotate,
    _make,
    description="Turns an image by an angle: by quarters exactly, else by the bicubic filter.",
    examples=(
        example(
            {"op": "image_rotate", "degrees": 90.0}, "ffffff c0c0c0 / 0000ff 808080 / 00ff00 404040 / ff0000 202020"
        ),
        example(
            {"op": "image_rotate", "degrees": -90.0, "expand": False, "colour": "#000000"},
            "000000 404040 00ff00 000000 / 000000 808080 0000ff 000000",
        ),
    ),
    size=_size,
)
