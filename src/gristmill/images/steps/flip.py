"""``image_flip``: an image mirrored, each one or a random part of them.

{"op": "image_flip", "column": "photo", "chance": 0.5, "seed": 7}
"""

from typing import Literal

from PIL import Image
from pydantic import Field

from gristmill.images.steps.base import Chance, ImageOperation, ImageParameters, Operation
from gristmill.images.steps.examples import example

_METHODS = {
    "horizontal": Image.Transpose.FLIP_LEFT_RIGHT,
    "vertical": Image.Transpose.FLIP_TOP_BOTTOM,
}


class Flip(ImageParameters):
    """Parameters of ``image_flip``."""

    direction: Literal["horizontal", "vertical"] = Field(
        "horizontal", description="`horizontal`: left and right change places. `vertical`: top and bottom do."
    )
    chance: float = Field(
        1.0, ge=0, le=1, description="The share of images that are flipped; the seed and the bytes of each decide."
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Another seed flips other images; the same one never does.")


def _make(step: Flip) -> Operation:
    def flip(image: Image.Image, chance: Chance) -> Image.Image:
        if step.chance < 1 and chance.generator().random() >= step.chance:
            return image
        return image.transpose(_METHODS[step.direction])

    return flip


FLIP = ImageOperation(
    "image_flip",
    Flip,
    _make,
    description=(
        "Mirrors images: all of them, or with `chance` a random part. Two such steps with a chance get two seeds: with "
        "one seed they decide alike."
    ),
    examples=(
        example({"op": "image_flip"}, "ffffff 0000ff 00ff00 ff0000 / c0c0c0 808080 404040 202020"),
        example(
            {"op": "image_flip", "direction": "vertical"}, "202020 404040 808080 c0c0c0 / ff0000 00ff00 0000ff ffffff"
        ),
    ),
)
