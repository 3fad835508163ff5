"""``image_resize``: an image of another size.

{"op": "image_resize", "column": "photo", "width": 256, "height": 256}
"""

from typing import Literal

from PIL import Image
from pydantic import Field

from gristmill.images.steps.base import MOST_SIDE, Chance, ImageOperation, ImageParameters, Operation

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


def _make(step: Resize) -> Operation:
    def resize(image: Image.Image, chance: Chance) -> Image.Image:
        size = _size(image.size, step)
        # Source of the filter: Duchon, Lanczos Filtering in One and Two Dimensions, 1979.
        return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)

    return resize


def _size(before: tuple[int, int], step: Resize) -> tuple[int, int]:
    if step.fit == "stretch":
        return step.width, step.height
    ratios = (step.width / before[0], step.height / before[1])
    ratio = min(ratios) if step.fit == "contain" else max(ratios)
    return max(1, min(MOST_SIDE, round(before[0] * ratio))), max(1, min(MOST_SIDE, round(before[1] * ratio)))


RESIZE = ImageOperation(
    "image_resize",
    Resize,
    _make,
    description="Resizes an image, by the Lanczos filter.",
)
