"""Colours of what a step adds to an image: ``#rrggbb``, or transparent."""

from typing import Any

from PIL import Image
from pydantic import Field

Colour = int | tuple[int, int, int] | tuple[int, int, int, int]


def colour_parameter(what: str) -> Any:
    """Return the parameter ``colour``. what: is filled with it."""
    text = (
        f"The colour of {what}, as `#rrggbb`. By default transparent in images that have transparency, and white in "
        "others. A colour in a grey image makes it one of colours."
    )
    return Field(None, pattern="^#[0-9A-Fa-f]{6}$", description=text)


def on_ground(image: Image.Image, colour: str | None) -> tuple[Image.Image, Colour]:
    """Return the image in a mode that has the colour, and the colour as Pillow has it in that mode."""
    if colour is None:
        # A JPEG shows what is transparent as white, so this is what it would become there.
        white: dict[str, Colour] = {"L": 255, "RGB": (255, 255, 255), "RGBA": (255, 255, 255, 0)}
        return image, white[image.mode]
    red, green, blue = bytes.fromhex(colour[1:])
    if image.mode == "RGBA":
        return image, (red, green, blue, 255)
    if image.mode == "L" and red == green == blue:
        return image, red
    return image if image.mode == "RGB" else image.convert("RGB"), (red, green, blue)
