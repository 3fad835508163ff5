"""``image_resize``: an image of another size.

{"op": "image_resize", "column": "photo", "width": 256, "height": 256}
"""

from typing import Literal

from PIL import Image
from pydantic import Field

from gristmill.images.steps.base import MOST_SIDE, Chance, ImageOperation, ImageParameters, Operation, Size
from gristmill.images.steps.examples import example

Fit = Literal["stretch", "contain", "cover"]


class Resize(ImageParameters):
    """Parameters of ``image_resize``."""

    width: int = Field(ge=1, le=MOST_SIDE, description="The width in pixels.")
    height: int = Field(ge=1, le=MOST_SIDE, description="The height in pixels.")
    fit: Fit = Field(
        "stretch",
        description=(
            "`stretch`: exactly this size. `contain`: as large as fits into it, the sides in proportion. `cover`: in "
            "proportion and as small as covers it."
        ),
    )


def _size(step: Resize, before: Size) -> Size:
    if step.fit == "stretch":
        return step.width, step.height
    ratios = (step.width / before[0], step.height / before[1])
    ratio = min(ratios) if step.fit == "contain" else max(ratios)
    return max(1, round(before[0] * ratio)), max(1, round(before[1] * ratio))


def _make(step: Resize) -> Operation:
    def resize(image: Image.Image, chance: Chance) -> Image.Image:
        size = _size(step, image.size)
        if size == image.size:
            return image
        # Pillow does the width first. Of a high and narrow image that would be an image of the new width and the old
        # height, which has more pixels than the image before and the one after.
        if size[0] * image.height > max(size[0] * size[1], image.width * image.height):
            image = image.resize((image.width, size[1]), Image.Resampling.LANCZOS)
        # Source of the filter: Duchon, Lanczos Filtering in One and Two Dimensions, 1979.
        return image.resize(size, Image.Resampling.LANCZOS)

    return resize


RESIZE = ImageOperation(
    "image_resize",
    Resize,
    _make,
    description="Resizes an image, by the Lanczos filter. What is transparent lends its colour to no neighbour.",
    examples=(
        example({"op": "image_resize", "width": 2, "height": 1}, "4b4b22 809bc4"),
        example({"op": "image_resize", "width": 8, "height": 1, "fit": "contain"}, "4b4b22 809bc4"),
    ),
    size=_size,
    least=lambda step: (1, 1) if step.fit == "contain" else (step.width, step.height),
)
