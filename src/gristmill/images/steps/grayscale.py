"""``image_grayscale``: an image without colours.

{"op": "image_grayscale", "column": "photo"}
"""

from PIL import Image

from gristmill.images.steps.base import Chance, ImageOperation, ImageParameters, Operation
from gristmill.images.steps.examples import example


class Grayscale(ImageParameters):
    """Parameters of ``image_grayscale``."""


def _make(step: Grayscale) -> Operation:
    def grayscale(image: Image.Image, chance: Chance) -> Image.Image:
        if image.mode == "L":
            return image
        # Transparency stays; there is no mode of grey with it among those that operations take.
        return image.convert("LA").convert("RGBA") if image.mode == "RGBA" else image.convert("L")

    return grayscale


GRAYSCALE = ImageOperation(
    "image_grayscale",
    Grayscale,
    _make,
    description="Takes the colours away: 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601). Transparency stays.",
    examples=(example({"op": "image_grayscale"}, "4c 96 1d ff / 20 40 80 c0"),),
)
